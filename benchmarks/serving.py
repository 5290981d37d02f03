"""Starts what is measured, each in a process of its own: servers, and the model that they ask."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import meter

ROOT: Final = Path(__file__).parents[1]
SERVER_CPU: Final = 0
CLIENT_CPU: Final = 1
"""The load and the model stay off the server's CPU, where there are two."""

_SECONDS: Final = 30.0
_LOOK: Final = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that listens."""

    pid: int
    url: str

    @property
    def cpu_seconds(self) -> float:
        """CPU time of its process and all below."""
        return meter.cpu_seconds(self.pid)


@contextmanager
def model() -> Iterator[str]:
    """Run a model server that answers at once; give its base URL, without the version part."""
    command = [sys.executable, "-m", "tertulia.testing.fake_openai", "--forget"]
    with (
        meter.on_cpu(CLIENT_CPU),
        subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as server,
    ):
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip().removesuffix("/v1")
        finally:
            server.terminate()


@contextmanager
def serving(command: Sequence[str], *, place: Path, settings: Mapping[str, str]) -> Iterator[Server]:
    """Run a server; ``{port}`` in its command becomes a free one. What it says goes to a file."""
    port = _free_port()
    filled = [part.replace("{port}", str(port)) for part in command]
    with (place / "server.log").open("ab") as log, meter.on_cpu(SERVER_CPU):
        running = subprocess.Popen(
            filled, cwd=place, env=environment(settings), stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_for(port, running, place / "server.log")
        yield Server(pid=running.pid, url=f"http://127.0.0.1:{port}")
    finally:
        running.terminate()
        try:
            running.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a program that is measured: nobody's settings but those given."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("TERTULIA_", "OPENAI_"))
    }
    paths = [*filter(None, [kept.get("PYTHONPATH")]), str(ROOT), str(ROOT / "src")]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), **(settings or {})}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_for(port: int, running: subprocess.Popen[bytes], log: Path) -> None:
    begun = time.monotonic()
    while running.poll() is None and time.monotonic() - begun < _SECONDS:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(_LOOK)
    raise RuntimeError(f"the server did not start:\n{log.read_text(errors='replace')[-2000:]}")
