"""The page about tools: its examples are carried out, its table is true."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tertulia.definitions import decode_tool
from tertulia.parts import ToolCall
from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.tool_contract import a_context
from tertulia.tools.base import ToolRules
from tertulia.tools.functions import Rules
from tertulia.tools.loading import open_toolbox
from tertulia.tools.using import use
from tests.docs.following import carry_out, commands

PAGE = (Path(__file__).parents[2] / "docs" / "tools.md").read_text(encoding="utf-8")


WAITING = "curl -sS 'http://127.0.0.1:8000/v1/runs?status=waiting' | grep -q approval"
"""Succeeds when something waits for an approval."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


async def test_the_examples_are_a_toolbox_that_agents_can_choose_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (module,) = blocks("python")
    servers, choices = blocks("json")
    (tmp_path / "my_documented_tools.py").write_text(module, encoding="utf-8")
    (tmp_path / "mcp.json").write_text(servers, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SHOP_KEY", "sk-1")

    box = open_toolbox("my_documented_tools, tertulia.tools.web:web_page", tmp_path / "mcp.json")

    assert box.names() == ["count", "order", "web_page", "mcp:files", "mcp:shop"]
    box.check([decode_tool(choice) for choice in json.loads(choices)])
    tools = await box.pick(["count", "order"])
    for name, arguments, text in (
        ("count", '{"fruit": "apples"}', "3"),
        ("order", '{"fruit": "pears"}', '{"fruit":"pears","pieces":1,"receipt":"key"}'),
        ("order", '{"fruit": "pears", "pieces": 101}', "the market sells at most 100 pieces"),
    ):
        call = ToolCall(id="call_1", name=name, arguments=arguments)
        assert (await use(tools[name], call, a_context("key"))).text == text


def test_the_documented_rules_are_the_rules() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", PAGE, re.MULTILINE)

    rules = ToolRules()
    defaults = {name: getattr(rules, name) for name in Rules.__annotations__}
    assert {
        name: json.dumps(value) if isinstance(value, str) else str(value) for name, value in defaults.items()
    } == dict(rows)


@pytest.fixture
async def model() -> AsyncIterator[FakeOpenAI]:
    """A model that orders a pear, and then says so."""
    async with FakeOpenAI() as fake:
        order = ToolCall(id="call_1", name="order", arguments='{"fruit": "pears"}')
        fake.script([order, "One pear is on its way."])
        yield fake


@pytest.fixture
def environment(environment: dict[str, str], model: FakeOpenAI, tmp_path: Path) -> dict[str, str]:
    """A stranger's environment, with the tools of the page and a model that uses them."""
    (tmp_path / "my_tools.py").write_text(blocks("python")[0], encoding="utf-8")
    path = os.pathsep.join((environment["PYTHONPATH"], str(tmp_path)))
    ours = {"PYTHONPATH": path, "TERTULIA_TOOLS": "my_tools", "TERTULIA_MODEL": "openai-chat:fake"}
    return environment | ours | {"OPENAI_BASE_URL": model.base_url}


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")
async def test_the_commands_approve_what_waits(
    tmp_path: Path, environment: dict[str, str], server: str
) -> None:
    made, seen, decided = (block for block in commands("docs/tools.md"))
    until_it_waits = f"until {WAITING}; do sleep 0.05; done >&2"
    # In one shell: what one block has learnt, the next ones use.
    block = "\n".join((made, until_it_waits, "echo ----", seen, "echo ----", decided))

    told = await asyncio.to_thread(carry_out, block, server, tmp_path, environment)

    _, waiting, approved = told.split("----")
    assert "'tool': 'order'" in waiting
    assert "pears" in waiting
    _, _, stream = approved.strip().partition("\n")
    ended: dict[str, Any] = json.loads(re.findall(r"^data: (.*)$", stream, re.M)[-1])
    assert ended["messages"][-1]["content"] == [{"type": "text", "text": "One pear is on its way."}]
