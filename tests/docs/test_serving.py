"""The page about serving: its modules are served as it says, by themselves and mounted."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from fastapi import FastAPI

from tertulia.parts import ToolCall
from tertulia.registry import load
from tertulia.testing.fake_openai import FakeOpenAI
from tests.docs.following import carry_out, commands
from tests.docs.trying import blocks

PAGE: Final = "docs/serving.md"


def modules() -> dict[str, str]:
    """Return the modules of the page, by their names."""
    found = (re.match(r"# (\w+)\.py\n", block.text) for block in blocks(PAGE))
    texts = [block.text for block in blocks(PAGE) if block.language == "python"]
    return {name[1]: text for name, text in zip(filter(None, found), texts, strict=True)}


@pytest.fixture
async def model() -> AsyncIterator[FakeOpenAI]:
    """A model that looks before it speaks."""
    async with FakeOpenAI() as fake:
        look = ToolCall(id="call_1", name="in_stock", arguments='{"fruit": "figs"}')
        fake.script([look, lambda request: f"There are {request['messages'][-1]['content']} figs."])
        yield fake


@pytest.fixture
def environment(environment: dict[str, str], model: FakeOpenAI, tmp_path: Path) -> dict[str, str]:
    """A stranger's environment, with the modules of the page."""
    for name, text in modules().items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    ours = {"TERTULIA_AGENTS": served_by(), "TERTULIA_MODEL": "openai-chat:fake"}
    return environment | ours | {"OPENAI_BASE_URL": model.base_url}


def served_by() -> str:
    """Return what the page has served."""
    return commands(PAGE)[0].split()[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")
async def test_the_command_asks_the_agent_of_the_page(
    tmp_path: Path, environment: dict[str, str], server: str
) -> None:
    _, asked = commands(PAGE)

    told = json.loads(await asyncio.to_thread(carry_out, asked, server, tmp_path, environment))

    [shown] = [json.loads(block.text) for block in blocks(PAGE) if block.language == "json"]
    assert {**told, "conversation_id": "conv_…"} == shown
    assert commands(PAGE)[0] == ".venv/bin/tertulia serve kitchen:chef\n"


@pytest.fixture
def here(tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stand where the modules are, which are forgotten in the end."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TERTULIA_AGENTS")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in modules():
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("module", ["shop", "shop_with_lifespan"])
async def test_the_applications_of_the_page_answer(module: str) -> None:
    app: FastAPI = load(f"{module}:app")
    body = {"agent_id": "chef", "message": "How many figs are there?"}
    transport = httpx2.ASGITransport(app)

    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        answer: dict[str, Any] = (await client.post("/chat/agents/chat-agent", json=body)).json()
        docs = await client.get("/chat/docs")
        menu = await client.get("/menu")

    assert answer["response"] == "There are 12 figs."
    assert docs.status_code == 200
    assert menu.status_code == (200 if module == "shop" else 404)
