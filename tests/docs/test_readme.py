"""The README, followed by a stranger: every command of it is carried out, in order."""

import re
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.docs.following import ROOT, carry_out, commands, json_values

START: Final = "make serve\n"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")


def test_the_readme_begins_with_the_start_of_the_server() -> None:
    assert commands()[0] == START
    assert "\nserve:" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_command_about_runs_works(tmp_path: Path, environment: dict[str, str], server: str) -> None:
    # In one shell: what one block has learnt, the next ones use.
    told = carry_out("echo ----\n".join(commands("docs/runs.md")), server, tmp_path, environment).split(
        "----"
    )

    _, plain, stream, whose, resumed, cancelled, branch, marked, closing, lists = told
    assert json_values(plain)[0]["messages"][0]["content"][0]["text"] == "Paella"  # type: ignore[index]
    kinds = re.findall(r"^event: (.*)$", stream, re.M)
    assert (kinds[0], kinds[-2:]) == ("run.started", ["turn.finished", "run.finished"])
    assert json_values(whose)[1]["user_id"] == "ana@example.com"  # type: ignore[index]
    assert re.findall(r"^id: (.*)$", resumed, re.M)[0] == "2"
    assert json_values(cancelled)[0]["status"] in {"completed", "cancelled"}  # type: ignore[index]
    assert [each["number"] for each in json_values(branch)[2]["data"]] == [1, 2, 3, 4]  # type: ignore[index]
    assert json_values(marked)[1]["deleted"]  # type: ignore[index]
    assert [row["closed"] for row in json_values(closing)] == ["The tour is over.", None]  # type: ignore[index]
    assert [page["data"] for page in json_values(lists)] == [[], []]  # type: ignore[index]


def test_every_command_of_the_readme_works(tmp_path: Path, environment: dict[str, str], server: str) -> None:
    told = {block: carry_out(block, server, tmp_path, environment) for block in commands()[1:]}

    [drink] = [out for block, out in told.items() if "stream" in block]
    assert drink.rstrip().splitlines()[-2] == "event: run.finished"
    answers = [json_values(out) for block, out in told.items() if "curl" in block and out is not drink]
    chef, conversation, reply, desserts, said, _ = answers
    assert conversation == [{**conversation[0], "id": "dinner"}]  # type: ignore[dict-item]  # Any JSON object.
    assert reply == [{"conversation_id": "dinner", "response": "Paella", "closed": None}]
    assert desserts == [reply[0], reply[0]]
    assert [exchange["user_message"] for exchange in said[0]] == [  # type: ignore[attr-defined]
        "There are five of us, and one is allergic to peanuts.",
        "And for dessert?",
        "And to drink?",
    ]
    assert chef[0]
