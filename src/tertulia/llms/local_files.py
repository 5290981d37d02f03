"""What the embedded model's one server and its many users agree on: a few files in one directory.

``alive`` is locked by the server for as long as it lives, ``users`` is locked (shared) by everyone
who has the model open, ``endpoint`` says where it listens. Locks, not process ids, tell who is
there: the kernel lets go of a lock however its holder dies, and nobody can inherit it by accident.
"""

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the server listens, and the secret that it wants to hear."""

    pid: int
    url: str
    key: str = field(repr=False)


class Lock:
    """A lock on a file, held by this process until it is closed."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> bool:
        """Take the lock alone, if nobody has it; return whether that worked."""
        return self._try(fcntl.LOCK_EX)

    def share(self) -> bool:
        """Take the lock together with others who share it; return whether that worked."""
        return self._try(fcntl.LOCK_SH)

    def let_go(self) -> None:
        """Give the lock back, keeping the file open."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the lock back for good; may be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """The files of one model."""

    directory: Path

    @property
    def log(self) -> Path:
        """What the server's library wrote."""
        return self.directory / "server.log"

    def alive(self) -> Lock:
        """Return the lock that the server holds."""
        return Lock(self.directory / "alive")

    def users(self) -> Lock:
        """Return the lock that everyone shares who has the model open."""
        return Lock(self.directory / "users")

    def is_alive(self) -> bool:
        """Whether there is a server."""
        with self.alive() as lock:
            return not lock.share()

    def write(self, endpoint: Endpoint) -> None:
        """Tell where the server listens, at once and as a whole."""
        draft = self.directory / f"endpoint.{endpoint.pid}"
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(asdict(endpoint)))
        draft.replace(self._endpoint)

    def read(self) -> Endpoint | None:
        """Return where the server listens, if it has told yet; true only while it is alive."""
        try:
            return Endpoint(**json.loads(self._endpoint.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def remove_endpoint(self) -> None:
        """Take back what was told."""
        self._endpoint.unlink(missing_ok=True)

    @property
    def _endpoint(self) -> Path:
        return self.directory / "endpoint"
