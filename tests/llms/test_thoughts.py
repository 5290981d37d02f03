"""Reasoning told from what is said."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.errors import ModelMalformed
from tertulia.llms.wire import speech
from tertulia.llms.wire.speech import Speech
from tertulia.llms.wire.thoughts import parts_of, thought_beside

WORDS = st.lists(
    st.sampled_from(["<think>", "</think>", "<think", "</", " ", "\n", "Hm.", "So", "<", ">"]), max_size=8
)


def split(*pieces: str) -> tuple[str, str]:
    speech = Speech()
    for piece in pieces:
        speech.hear(piece, "")
    speech.end()
    return speech.thought, speech.text


@pytest.mark.parametrize(
    ("text", "thought", "said"),
    [
        ("<think>Hm.</think>So.", "Hm.", "So."),
        ("\n<think>\nHm.\n</think>\n\nSo.\n", "Hm.", "So.\n"),
        ("<think></think>So.", "", "So."),
        ("<think>Hm.</think>So: <think>no</think>", "Hm.", "So: <think>no</think>"),
        ("<think>Hm, and on", "Hm, and on", ""),
        ("So <think>no</think>", "", "So <think>no</think>"),
        ("Hm.</think>So.", "", "Hm.</think>So."),
        ("<thinking>no</thinking>", "", "<thinking>no</thinking>"),
        ("<thi", "", "<thi"),
        ("  So.", "", "  So."),
        ("", "", ""),
    ],
)
def test_only_thoughts_at_the_beginning_are_no_words(text: str, thought: str, said: str) -> None:
    assert split(text) == (thought, said)
    assert split(*text) == (thought, said)


@given(words=WORDS, places=st.lists(st.integers(0, 60)))
def test_thoughts_do_not_depend_on_where_text_is_cut(words: list[str], places: list[int]) -> None:
    text = "".join(words)
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]

    assert split(*(text[start:end] for start, end in itertools.pairwise(edges))) == split(text)


@pytest.mark.parametrize(
    ("delta", "thought"),
    [
        ({"reasoning_content": "Hm."}, "Hm."),
        ({"reasoning": "Hm."}, "Hm."),
        ({"reasoning": "Hm.", "reasoning_content": "Hm."}, "Hm."),
        ({"reasoning": None, "reasoning_content": ["Hm."]}, ""),
        ({}, ""),
    ],
)
def test_every_spelling_of_reasoning_is_read(delta: dict[str, object], thought: str) -> None:
    assert thought_beside(delta) == thought


def test_content_in_parts_is_read() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    parts = [thinking, {"type": "thinking", "thinking": " Yes."}, {"type": "text", "text": "So."}, "?", {}]

    assert parts_of(parts) == ("So.", "Hm. Yes.")


def test_content_that_is_neither_text_nor_parts_is_malformed() -> None:
    with pytest.raises(ModelMalformed):
        parts_of(7)


def test_words_and_thoughts_beyond_all_measure_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "MAX_ANSWER", 10)
    said = Speech()
    said.hear("12345", "12345")

    with pytest.raises(ModelMalformed, match="too long"):
        said.hear("", "6")
