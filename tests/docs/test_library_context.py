"""The page about context providers: its examples are carried out, its own provider keeps the contract."""

import re
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import pytest

from tertulia import Agent, RunContext
from tertulia.memory import CONTEXTS
from tertulia.parts import ToolCall
from tertulia.testing.fake_openai import FakeOpenAI
from tests.docs.following import ROOT, carry_out, json_values
from tests.docs.trying import blocks, carry_out_all, carry_out_contract
from tests.memory.context.fake_mem0 import running

PAGE: Final = "docs/context.md"
TEXT: Final = (ROOT / PAGE).read_text(encoding="utf-8")
THEIRS: Final = "http://127.0.0.1:8888"


def answer(request: dict[str, Any]) -> object:
    """Answer from what the model is shown."""
    *before, newest = request["input"]
    known = str(before)
    if newest.get("type") == "function_call_output":
        return f"It cost {re.findall(r'[0-9.]+', newest['output'])[-1]}."
    said = str(newest)
    if "order 5" in said:
        sql = "SELECT total FROM orders WHERE id = 5"
        return ToolCall(id="call_1", name="query_shop", arguments=f'{{"sql": "{sql}"}}')
    if "do you know" in said:
        return "You are Ana and live in Cádiz." if "Ana" in known and "Cádiz" in known else "Nothing yet."
    if "allergic to anything" in said:
        return "You are allergic to peanuts." if "peanuts" in known else "I do not know."
    return "I see."


@pytest.fixture
async def model(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeOpenAI]:
    """A server that speaks as OpenAI's does, and is the one of the environment."""
    async with FakeOpenAI() as fake:
        fake.script([answer] * 100)  # type: ignore[list-item]  # what it returns can be said
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-test")
        monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)
        yield fake


@pytest.fixture
def orders(tmp_path: Path) -> None:
    """The database of the page's shop."""
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop, shop:
        shop.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, product TEXT, total REAL, card TEXT)")
        shop.execute("INSERT INTO orders VALUES (5, 'a lamp', 12.5, '4111')")


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path, orders: None) -> dict[str, str]:
    """A stranger's environment, with the databases of the page."""
    (told,) = [block.text for block in blocks(PAGE) if block.language == "json"]
    file = tmp_path / "databases.json"
    file.write_text(told, encoding="utf-8")
    return environment | {"TERTULIA_DATABASES_FILE": str(file)}


async def test_every_example_works(
    model: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, orders: None
) -> None:
    monkeypatch.chdir(tmp_path)

    async with running() as mem0:
        made = await carry_out_all(PAGE, put={THEIRS: mem0.base_url})
        for each in made.values():
            if isinstance(each, Agent):
                await each.close()

    assert made["sizes"]("I take size 41.", {}) == {"shoe size": 41}
    assert "4111" not in str(model.requests)


def test_the_provider_of_the_page_keeps_the_contract(tmp_path: Path) -> None:
    assert carry_out_contract(PAGE, tmp_path) > 10


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")
def test_the_command_makes_an_agent_with_context_providers(
    tmp_path: Path, environment: dict[str, str], server: str
) -> None:
    (command,) = [block.text for block in blocks(PAGE) if block.text.startswith("curl")]

    [made] = json_values(carry_out(command, server, tmp_path, environment))

    chosen = made["context_providers"]  # type: ignore[index]  # it is an object
    assert chosen == [{"type": "user_facts"}, {"type": "database", "name": "shop"}]


def test_every_provider_for_stored_agents_has_its_row() -> None:
    rows = re.findall(r"^\| `(\w+)\(.*?\| `(\w+)` \|$", TEXT, re.M)

    assert {name: CONTEXTS.get(name).__name__ for name in CONTEXTS} == {name: kind for kind, name in rows}


def test_every_field_of_a_context_is_documented() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ", TEXT, re.M)

    assert sorted(rows) == sorted(field.name for field in fields(RunContext))
