"""Estimated tokens."""

import pytest
from hypothesis import given
from hypothesis.strategies import text

from tertulia.memory.tokens import MESSAGE_TOKENS, estimate


def test_nothing_costs_nothing() -> None:
    assert estimate("") == 0


# Counted with the vocabulary of SmolLM2.
@pytest.mark.parametrize(
    ("said", "counted"),
    [
        ("The quick brown fox jumps over the lazy dog.", 10),
        ("There are five of us, and one is allergic to peanuts. What shall I cook?", 18),
        ("Wir sind zu fünft, und einer von uns verträgt keine Erdnüsse. Was soll ich kochen?", 34),
        ("for (int i = 0; i < n; i++) { total += values[i]; }", 23),
        ('{"a":[1,2,3],"b":{"c":"d"}}', 19),
        ("今日は天気がいいですね。", 21),
        ("우리는 다섯 명이고 한 명은 땅콩 알레르기가 있어요.", 61),
        ("Здравствуйте, как дела?", 19),
        ("👩‍🍳🍝🎉😀", 17),
        ("0192f0c1-7b3a-7c11-9a0e-2b7d1f9a0c3e", 36),
    ],
)
def test_the_estimate_is_near_what_a_small_vocabulary_counts(said: str, counted: int) -> None:
    estimated = estimate(said)

    assert counted / 2 <= estimated <= 1.5 * counted


def test_a_cjk_character_counts_several_times_a_latin_one() -> None:
    assert estimate("語" * 1_000) > 6 * estimate("a" * 1_000)


def test_a_message_costs_more_than_its_text() -> None:
    assert MESSAGE_TOKENS >= 3


@given(said=text(min_size=1))
def test_every_text_costs_something(said: str) -> None:
    assert estimate(said) >= 1


@given(front=text(), back=text())
def test_texts_together_cost_what_they_cost_apart_within_a_token(front: str, back: str) -> None:
    apart = estimate(front) + estimate(back)

    together = estimate(front + back)

    assert apart - 1 <= together <= apart


def test_half_a_surrogate_pair_can_be_estimated() -> None:
    assert estimate("\ud83d") == 2
