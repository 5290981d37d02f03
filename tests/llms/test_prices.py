"""Prices: an installation's own before those that providers list."""

from pathlib import Path

import pytest

from tertulia.errors import InvalidInput
from tertulia.llms.listed_prices import find_listed
from tertulia.llms.prices import Prices
from tertulia.llms.rates import Price, Rates
from tertulia.usage import Usage

MILLION = 1_000_000


def dollars(price: Price | None, **tokens: int) -> float | None:
    assert price is not None
    return price(Usage(model_calls=1, **tokens))


def a_file(folder: Path, text: str) -> Path:
    file = folder / "prices.json"
    file.write_text(text)
    return file


def test_cached_input_has_its_own_rate_and_thoughts_are_output() -> None:
    rates = Rates(input=2, cached_input=0.5, output=8)

    cost = rates.cost(
        Usage(
            input_tokens=MILLION, cached_tokens=MILLION // 2, output_tokens=MILLION, reasoning_tokens=MILLION
        )
    )

    assert cost == 1 + 0.25 + 8


def test_cached_input_without_a_rate_of_its_own_is_input() -> None:
    assert Rates(input=2, output=8).cost(Usage(input_tokens=MILLION, cached_tokens=MILLION)) == 2


def test_what_was_not_counted_has_no_price_unless_it_is_free() -> None:
    assert Rates(input=2, output=8).cost(Usage(model_calls=1)) is None
    assert Rates(input=0, output=0).cost(Usage(model_calls=1)) == 0


@pytest.mark.parametrize(("provider", "model"), [("local", ""), ("scripted", "echo")])
async def test_what_runs_in_our_own_processes_is_free(provider: str, model: str) -> None:
    assert dollars(await Prices().find(provider, ("as it calls itself", model)), input_tokens=9) == 0


async def test_own_prices_go_before_listed_ones(tmp_path: Path) -> None:
    file = a_file(tmp_path, '{"openai:gpt-5-mini": {"input": 100, "output": 0}}')

    price = await Prices.of_file(file).find("openai", ("gpt-5-mini-2025-08-07", "gpt-5-mini"))

    assert dollars(price, input_tokens=MILLION) == 100


async def test_the_longest_pattern_counts_and_a_whole_name_more(tmp_path: Path) -> None:
    rates = {"acme:*": 1, "acme:big-*": 2, "acme:big-one": 3}
    prices = Prices({name: Rates(input=rate, output=0) for name, rate in rates.items()})

    found = [await prices.find("acme", (model,)) for model in ("small", "big-two", "big-one")]

    assert [dollars(price, input_tokens=MILLION) for price in found] == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is no JSON"),
        ("[]", "must be an object"),
        ('{"acme:big": null}', "at 'acme:big'"),
        ('{"acme:big": {"input": 1}}', "lack 'output'"),
        ('{"acme:big": {"input": "1", "output": 2}}', "'input' must be a number"),
        ('{"acme:big": {"input": -1, "output": 2}}', "'input' must lie between"),
        ('{"acme:big": {"input": 1, "output": 2, "cached": 1}}', "unknown setting 'cached'"),
        ('{"acme:*-big": {"input": 1, "output": 2}}', r"at 'acme:\*-big'"),
        ('{"": {"input": 1, "output": 2}}', "provider:model"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told) as raised:
        Prices.of_file(a_file(tmp_path, text))

    assert "prices.json" in str(raised.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such file"):
        Prices.of_file(tmp_path / "none.json")


async def test_listed_prices_are_found_under_either_name() -> None:
    for names in (("gpt-5-mini-2025-08-07", "gpt-5-mini"), ("an alias", "gpt-5-mini")):
        price = await Prices().find("openai", names)

        assert dollars(price, input_tokens=MILLION, cached_tokens=MILLION) == 0.025
        assert dollars(price, output_tokens=MILLION, reasoning_tokens=MILLION) == 2


def test_a_price_that_rises_with_the_length_does() -> None:
    price = find_listed("google", ("gemini-2.5-pro",))

    short, long = (
        dollars(price, input_tokens=count, cached_tokens=count // 2) for count in (100_000, 300_000)
    )

    assert short is not None
    assert long is not None
    assert long > 3 * short


@pytest.mark.parametrize(
    ("address", "model", "is_known"),
    [
        ("https://api.groq.com/openai/v1", "llama-3.3-70b-versatile", True),
        ("https://api.groq.com/openai/v1", "gpt-5-mini", False),
        # All who sell it ask the same.
        ("http://127.0.0.1:4000/v1", "gpt-5-mini", True),
        # Some ask more than others.
        ("http://127.0.0.1:4000/v1", "gpt-oss-20b", False),
        ("http://127.0.0.1:4000/v1", "fake-1", False),
    ],
)
def test_who_is_asked_elsewhere_is_told_by_the_address(address: str, model: str, is_known: bool) -> None:
    assert (find_listed("openai-chat", (model,), address) is not None) is is_known


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "whisper-1"), ("openai", ""), ("ollama", "mistral-small-latest"), ("nobody", "x")],
)
def test_what_has_no_price_by_the_token_has_none(provider: str, model: str) -> None:
    assert find_listed(provider, (model,)) is None
