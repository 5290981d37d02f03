"""The page about reducers: its examples are carried out, its figures are those of the benchmark."""

import re
from pathlib import Path
from typing import Any, Final

import pytest

from benchmarks import prompt_cache
from tertulia import Agent, Message
from tertulia.memory import Reducer, reducers
from tests.docs.following import ROOT
from tests.docs.trying import carry_out_all

PAGE: Final = "docs/reducers.md"
TEXT: Final = (ROOT / PAGE).read_text(encoding="utf-8")


@pytest.fixture
async def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the examples of the page have made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-test")
    made = await carry_out_all(PAGE)
    for each in made.values():
        if isinstance(each, Agent):
            await each.close()
    return made


async def test_every_example_works_and_its_own_reducer_keeps_the_law(made: dict[str, Any]) -> None:
    reducer: Reducer = made["WithoutCardNumbers"]()
    said: list[Message] = [*made["said"], Message.from_dict({"role": "user", "content": "4111111111111111"})]

    whole = await reducer.reduce(said)

    assert whole[-1].text == "[card]"
    for place in range(len(said)):
        assert await reducer.reduce([*await reducer.reduce(said[:place]), *said[place:]]) == whole


@pytest.mark.parametrize("name", prompt_cache.WAYS)
async def test_the_figures_are_those_of_the_benchmark(name: str) -> None:
    [(tokens, share, cuts, paid)] = re.findall(rf"^\| {name} \| (.*) \| (.*) \| (.*) \| (.*) \|$", TEXT, re.M)

    found = await prompt_cache.measure(name)

    assert tokens == f"{found.tokens:,}"
    assert share == f"{found.share:.1%}"
    assert cuts == f"{found.cuts}"
    assert paid == f"{found.paid:,.0f}"


def test_every_reducer_has_its_row() -> None:
    rows = re.findall(r"^\| `(\w+)\(", TEXT, re.M)

    assert set(rows) == {name for name in reducers.__all__ if name.endswith("Reducer")} - {
        "CostlyReducer",
        "Reducer",
    }
