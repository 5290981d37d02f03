"""A stranger who follows a page: an empty folder, an environment, and a server started there."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.docs.following import ROOT, SECONDS


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
