"""The tutorial, followed by a stranger from the beginning to the end, with a server that runs."""

import asyncio
import json
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from tertulia.parts import ToolCall
from tertulia.testing.fake_openai import FakeOpenAI
from tests.docs.conftest import wait_until_ready
from tests.docs.following import ROOT, SECONDS, carry_out
from tests.docs.trying import Block, blocks, with_next

PAGE: Final = "docs/tutorial.md"
FACTS: Final = "What is known about the user"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")


def answer(request: dict[str, Any]) -> object:
    """Answer as the page says, from what the model is shown and nothing else."""
    *_, newest = shown = [str(message["content"]) for message in request["messages"]]
    if request["messages"][-1]["role"] == "tool":
        return f"The next ferry leaves at {newest}."
    if "next ferry" in newest:
        return ToolCall(id="call_1", name="next_ferry", arguments='{"place": "Rota"}')
    if "How often" in newest:
        questions = [each for each in request["messages"] if each["role"] == "user"]
        return f"You have asked me {sum(FACTS not in each['content'] for each in questions)} times."
    name = re.search(r"name(?: is |\W+)(Ana|Ben)", "\n".join(shown))
    if newest.startswith("My name is"):
        return f"Welcome, {name[1] if name else newest}! We begin at the market."
    return f"Your name is {name[1]}." if name else "You have not told me your name."


class Stranger:
    """Somebody who types what the page says into an empty folder."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder, self._environment = folder, environment
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._address = f"127.0.0.1:{free.getsockname()[1]}"
        self._server: subprocess.Popen[bytes] | None = None

    async def follow(self, block: Block) -> str:
        """Do what a block says; return what it prints."""
        if block.language == "python":
            name = block.text.partition("\n")[0].removeprefix("# ")
            (self._folder / name).write_text(block.text, encoding="utf-8")
            return ""
        if "tertulia serve" in block.text:
            return await asyncio.to_thread(self._serve, block.text.strip())
        return await asyncio.to_thread(carry_out, block.text, self._address, self._folder, self._environment)

    def _serve(self, command: str) -> str:
        port = self._address.rpartition(":")[2]
        shell = ["/bin/bash", "-c", f"exec env {command} --port {port}"]
        with (self._folder / "server.log").open("wb") as log:
            self._server = subprocess.Popen(
                shell, cwd=self._folder, env=self._environment, stdout=log, stderr=log
            )
        wait_until_ready(f"http://{self._address}/readyz", self._server)
        return ""

    def leave(self) -> str:
        """Stop the server; return what it has logged."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait(SECONDS)
        return (self._folder / "server.log").read_text() if self._server else ""


@pytest.fixture
async def model() -> AsyncIterator[FakeOpenAI]:
    """A model that answers from what it is shown."""
    async with FakeOpenAI() as fake:
        fake.script([answer] * 100)  # type: ignore[list-item]  # what it returns can be said
        yield fake


@pytest.fixture
async def stranger(tmp_path: Path, environment: dict[str, str], model: FakeOpenAI) -> AsyncIterator[Stranger]:
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    theirs = {"TERTULIA_MODEL": "openai-chat:fake", "OPENAI_BASE_URL": model.base_url}
    stranger = Stranger(tmp_path, environment | theirs)
    try:
        yield stranger
    finally:
        sys.stderr.write(await asyncio.to_thread(stranger.leave))


async def test_every_step_works_and_prints_what_the_page_says(stranger: Stranger, model: FakeOpenAI) -> None:
    for block, following in with_next(blocks(PAGE)):
        if block.language not in ("python", "bash"):
            continue
        printed = await stranger.follow(block)
        told = following if following and following.language in ("text", "json") else None
        assert printed.strip() == (told.text.strip() if told else ""), f"{PAGE}, line {block.line}"

    # The conversation of Monday was shown as one, whichever program answered.
    asked = [each["content"] for each in model.requests[-1]["messages"] if each["role"] == "user"]
    assert [text for text in asked if FACTS not in text] == [
        "My name is Ana.",
        "When does the next ferry to Rota leave?",
        "What is my name?",
        "How often have I asked you something?",
    ]


async def test_the_steps_before_tools_need_no_key(tmp_path: Path, environment: dict[str, str]) -> None:
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    theirs = {"TERTULIA_MODEL": "local", "TERTULIA_RUNTIME_DIR": str(tmp_path / "run")}
    stranger = Stranger(tmp_path, environment | theirs)
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    until = text.count("\n", 0, text.index("\n## 3. "))

    steps = [each for each in blocks(PAGE) if each.line < until and each.language in ("python", "bash")]
    printed = [await stranger.follow(block) for block in steps]

    # Two answers of each step, whatever the embedded model says.
    said = [each for block, each in zip(steps, printed, strict=True) if block.language == "bash"]
    assert len(said) == 2
    assert all(len(each.strip()) > 2 for each in said)
    session = json.loads((tmp_path / "session.json").read_text())
    assert [each["role"] for each in session["messages"]] == ["user", "assistant"] * 2


async def test_a_model_that_cannot_use_tools_says_which_one_can(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    theirs = {"TERTULIA_MODEL": "local", "TERTULIA_RUNTIME_DIR": str(tmp_path / "run")}
    (block,) = [each for each in blocks(PAGE) if each.text.startswith("# town.py")]
    (tmp_path / "town.py").write_text(block.text, encoding="utf-8")
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "town.py", "ana", "monday", "My name is Ana."),
        cwd=tmp_path,
        env=environment | theirs,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(SECONDS):
        _, failed = await program.communicate()

    assert program.returncode == 1
    assert "ModelRefused" in failed.decode()
    assert "tools" in failed.decode()
