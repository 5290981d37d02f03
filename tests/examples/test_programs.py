"""The programs with the library, started as their readers would."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from tertulia.testing.fake_openai import FakeOpenAI

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples"
SECONDS: Final = 30


def answer(request: dict[str, Any]) -> str:
    """Answer from what the model is shown."""
    shown = str([message["content"] for message in request["messages"]])
    if "send it back" in shown:
        return "Within 30 days [1]." if "within 30 days" in shown else "I do not know."
    name = re.search(r"name(?: is |\W+)(Ana|Ben)", shown)
    return f"You are {name[1]}." if name else "We have not met."


@pytest.fixture
async def model() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as fake:
        fake.script([answer] * 20)
        yield fake


async def started(
    name: str, *arguments: str, model: FakeOpenAI, folder: Path, typed: str = ""
) -> tuple[str, str]:
    """Start an example, type something, and return what it has printed, and what of errors."""
    ours = {"PYTHONPATH": str(ROOT / "src"), "OPENAI_BASE_URL": model.base_url}
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(EXAMPLES / name), *arguments),
        cwd=folder,
        env=os.environ | ours | {"TERTULIA_MODEL": "openai-chat:fake"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(SECONDS):
        printed, failed = await program.communicate(typed.encode())
    assert program.returncode == 0, failed.decode()
    return printed.decode(), failed.decode()


async def test_a_chat_knows_its_user_again_and_nobody_else(model: FakeOpenAI, tmp_path: Path) -> None:
    async def chat(user: str, typed: str) -> str:
        arguments = ("chat_with_memory.py", "--user", user)
        return (await started(*arguments, model=model, folder=tmp_path, typed=typed))[0]

    first = await chat("ana", "Who am I?\nMy name is Ana.\n")
    again = await chat("ana", "Who am I?\n")
    other = await chat("ben", "Who am I?\n")

    assert first == "> We have not met.\n> You are Ana.\n> "
    assert again == "> You are Ana.\n> "
    assert other == "> We have not met.\n> "


async def test_a_chat_goes_on_after_a_failure(model: FakeOpenAI, tmp_path: Path) -> None:
    model.fault("400")

    printed, failed = await started(
        "chat_with_memory.py", model=model, folder=tmp_path, typed="My name is Ana.\nWho am I?\n"
    )

    assert printed == "> > You are Ana.\n> "
    assert failed.strip()
    assert "Traceback" not in failed


async def test_a_session_goes_on_in_another_process(model: FakeOpenAI, tmp_path: Path) -> None:
    async def say(text: str) -> str:
        return (await started("save_and_restore.py", "s.json", text, model=model, folder=tmp_path))[0]

    assert await say("My name is Ana.") == "You are Ana.\n"
    assert await say("Who am I?") == "You are Ana.\n"

    saved = json.loads((tmp_path / "s.json").read_text())
    assert len(saved["messages"]) == 4


async def test_support_answers_from_documents_and_names_them(model: FakeOpenAI, tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "terms.txt").write_text("Parcels: send it back within 30 days.")
    name, question = "support_with_knowledge.py", "May I send it back?"

    of_its_own, _ = await started(name, question, model=model, folder=tmp_path)
    of_a_folder, _ = await started(name, "--documents", "papers", question, model=model, folder=tmp_path)

    assert of_its_own == "Within 30 days [1].\n- returns.md, Returns\n"
    assert of_a_folder == "Within 30 days [1].\n- terms.txt\n"


def test_every_example_is_in_the_list() -> None:
    listed = re.findall(r"^- `(\w+\.py)`", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.M)

    assert sorted(listed) == sorted(path.name for path in EXAMPLES.glob("*.py"))
