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
from urllib.error import URLError
from urllib.request import urlopen

import pytest

ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 60
START: Final = "make serve\n"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")


def commands() -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)


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
        with suppress(URLError, ConnectionError), urlopen(url, timeout=1) as answer:  # noqa: S310
            if answer.status == 200:
                return
        with suppress(subprocess.TimeoutExpired):
            server.wait(1 / 20)
            break
    raise AssertionError("the server did not become ready")


def test_the_readme_begins_with_the_start_of_the_server() -> None:
    assert commands()[0] == START
    assert "\nserve:" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_command_of_the_readme_works(tmp_path: Path, environment: dict[str, str], server: str) -> None:
    told = {}

    for block in commands()[1:]:
        ran = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", block.replace("127.0.0.1:8000", server)],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert ran.returncode == 0, f"{block}\n{ran.stdout}\n{ran.stderr}"
        told[block] = ran.stdout

    answers = [json_values(out) for block, out in told.items() if "curl" in block]
    chef, conversation, reply, desserts, said, _ = answers
    assert conversation == [{**conversation[0], "id": "dinner"}]  # type: ignore[dict-item]  # Any JSON object.
    assert reply == [{"conversation_id": "dinner", "response": "Paella"}]
    assert desserts == [reply[0], reply[0]]
    assert [exchange["user_message"] for exchange in said[0]] == [  # type: ignore[attr-defined]
        "There are five of us, and one is allergic to peanuts.",
        "And for dessert?",
    ]
    assert chef[0]
