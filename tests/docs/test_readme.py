"""The README, followed by a stranger: every command of it is carried out, in order."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import pytest

ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 60
START: Final = "make serve\n"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")


def commands(page: str = "README.md") -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)


def json_values(text: str) -> list[object]:
    """Return the JSON values that stand one after another in a text."""
    found, decoder, rest = [], json.JSONDecoder(), text.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:].lstrip()
    return found


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A stranger's environment, but for the model: one that says the same every time, at once."""
    ours = ("TERTULIA_", "OPENAI_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    program = tmp_path / ".venv" / "bin" / "tertulia"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tertulia "$@"\n')
    program.chmod(0o755)
    return kept | {"TERTULIA_MODEL": "scripted:text=Paella", "PYTHONPATH": str(ROOT / "src")}


@pytest.fixture
def server(tmp_path: Path, environment: dict[str, str]) -> Iterator[str]:
    """The address of a server, started where the stranger stands."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = [".venv/bin/tertulia", "serve", "--port", str(port)]
    log = tmp_path / "server.log"
    with log.open("wb") as output:
        running = subprocess.Popen(arguments, cwd=tmp_path, env=environment, stdout=output, stderr=output)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/readyz", running)
        yield f"127.0.0.1:{port}"
    except BaseException:
        sys.stderr.write(log.read_text())
        raise
    finally:
        running.terminate()
        running.wait(SECONDS)


def wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(SECONDS * 20):
        with suppress(OSError), urlopen(url, timeout=1) as answer:  # noqa: S310
            if answer.status == 200:
                return
        with suppress(subprocess.TimeoutExpired):
            server.wait(1 / 20)
            break
    raise AssertionError("the server did not become ready")


def test_the_readme_begins_with_the_start_of_the_server() -> None:
    assert commands()[0] == START
    assert "\nserve:" in (ROOT / "Makefile").read_text(encoding="utf-8")


def carry_out(block: str, server: str, folder: Path, environment: dict[str, str]) -> str:
    """Do what a block of commands says, on this server; return what it prints."""
    ran = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", block.replace("127.0.0.1:8000", server)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, f"{block}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def test_every_command_about_runs_works(tmp_path: Path, environment: dict[str, str], server: str) -> None:
    # In one shell: what one block has learnt, the next ones use.
    told = carry_out("echo ----\n".join(commands("docs/runs.md")), server, tmp_path, environment).split(
        "----"
    )

    _, plain, stream, resumed, cancelled, branch, marked, closing, lists = told
    assert json_values(plain)[0]["messages"][0]["content"][0]["text"] == "Paella"  # type: ignore[index]
    kinds = re.findall(r"^event: (.*)$", stream, re.M)
    assert (kinds[0], kinds[-2:]) == ("run.started", ["turn.finished", "run.finished"])
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
