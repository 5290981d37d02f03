"""The page about knowledge: its examples are carried out, its tables are true."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tertulia.definitions import decode_context
from tertulia.memory.context import CONTEXTS, Means
from tertulia.memory.knowledge.limits import ReadingLimits
from tertulia.memory.knowledge.readers import SUFFIXES
from tertulia.stores.in_memory import InMemoryStore
from tests.docs.following import ROOT, SECONDS, carry_out, commands, json_values

PAGE = (ROOT / "docs" / "knowledge.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_program_answers_from_its_documents(tmp_path: Path) -> None:
    [program] = blocks("python")
    (tmp_path / "leave.md").write_text("# Leave\n\nEvery employee has 25 days of leave a year.\n")
    scripted = program.replace("openai:gpt-5-mini", "scripted:echo")
    assert scripted != program

    ran = subprocess.run(
        [sys.executable, "-c", scripted],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )

    answer, *found = ran.stdout.splitlines()
    assert answer
    assert found[0].startswith("leave.md Leave # Leave")
    assert (tmp_path / "knowledge.db").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")
async def test_the_commands_send_and_find_documents(
    tmp_path: Path, environment: dict[str, str], server: str
) -> None:
    shown: list[Any] = []
    for block in commands("docs/knowledge.md"):
        told = await asyncio.to_thread(carry_out, block, server, tmp_path, environment)
        shown += json_values(told)

    leave, lunch, hits, collections, documents = shown
    assert (leave["name"], lunch["name"]) == ("leave.md", "lunch.txt")
    assert [hit["document"] for hit in hits["data"]] == ["leave.md"]
    assert [(each["name"], each["documents"]) for each in collections["data"]] == [("handbook", 2)]
    assert documents["data"] == [leave, lunch]


def test_the_stored_agent_can_be_built() -> None:
    [example] = blocks("json")

    [choice] = map(decode_context, json.loads(example)["context_providers"])
    provider = CONTEXTS.get(choice.name).build(choice.options, Means(store=InMemoryStore()))

    assert provider.name == "KnowledgeProvider:handbook"


def test_the_documented_kinds_and_limits_are_the_ones_that_hold() -> None:
    rows = re.findall(r"^\| .* \| ((?:`\.\w+` ?)+)\|", PAGE, re.MULTILINE)

    named = re.findall(r"`(\.\w+)`", " ".join(rows))
    limits = ReadingLimits()
    assert named == [*SUFFIXES]
    assert limits.max_bytes == 10_000_000
    assert limits.max_characters == 1_000_000
    assert f"{limits.max_pages:,} pages" in PAGE
    assert f"{limits.within_seconds:g} seconds" in PAGE
