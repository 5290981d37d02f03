"""The page about history: its examples are carried out, its own provider keeps the contract."""

import inspect
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tertulia import Agent
from tertulia.memory import HISTORIES, Recording
from tertulia.testing.fake_openai import FakeOpenAI
from tests.docs.following import ROOT
from tests.docs.trying import carry_out_all, carry_out_contract
from tests.valkey import ValkeyServer

PAGE: Final = "docs/history.md"
TEXT: Final = (ROOT / PAGE).read_text(encoding="utf-8")
THEIRS: Final = "redis://127.0.0.1:6379/0"


@pytest.fixture(scope="module")
def valkey_url() -> Iterator[str]:
    with ValkeyServer() as server:
        yield server.url


@pytest.fixture
async def model(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeOpenAI]:
    """A server that speaks as OpenAI's does, and is the one of the environment."""
    async with FakeOpenAI() as fake:
        fake.script([answer] * 100)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-test")
        monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)
        yield fake


def answer(request: dict[str, Any]) -> str:
    """Answer from what the model is shown."""
    asks_how_many = "For how many" in str(request["input"][-1])
    knows = "There are five of us." in str(request["input"][:-1])
    return f"For {'five' if knows else 'how many?'}." if asks_how_many else "I see."


async def test_every_example_works(
    model: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, valkey_url: str
) -> None:
    monkeypatch.chdir(tmp_path)

    made = await carry_out_all(PAGE, put={THEIRS: valkey_url})

    for each in made.values():
        if isinstance(each, Agent):
            await each.close()
    # With a history at the service, only what is new was sent; moved away from it, everything was.
    sent = [request for request in model.requests if "favourite" in str(request["input"][-1])]
    assert [len(request["input"]) for request in sent] == [1, 1, 5]  # Hello? was refused
    assert [bool(request.get("previous_response_id")) for request in sent] == [False, True, False]


def test_the_provider_of_the_page_keeps_the_contract(tmp_path: Path) -> None:
    assert carry_out_contract(PAGE, tmp_path) > 40


def test_every_provider_has_its_row() -> None:
    rows = re.findall(r"^\| `(\w+)\(", TEXT, re.M)

    ours = {HISTORIES.get(name).__name__ for name in HISTORIES}
    assert set(rows) == ours | {"ServiceHistoryProvider", "Recording"}


def test_every_flag_of_a_recording_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", TEXT, re.M)

    _, *flags = inspect.signature(Recording).parameters.values()
    assert rows == [(flag.name, str(flag.default)) for flag in flags]
