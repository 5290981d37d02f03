"""A file beside the database that gives its room up when the disk is full."""

import glob
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, time
from typing import Final, TypeAlias
from uuid import uuid4

SIZE: Final = 2 * 2**20
"""Bytes: enough for some hundred answers."""

_PAUSE: Final = 1.0
_LEFT_BEHIND: Final = 60.0
"""Seconds after which nobody goes on with a file that has not taken its place."""
_Clock: TypeAlias = Callable[[], float]
_Free: TypeAlias = Callable[[Path], int]


def _free(directory: Path) -> int:
    """Return how many bytes its disk has room for."""
    return shutil.disk_usage(directory).free


class Ballast:
    """Room that is kept for the end of what is under way.

    The file itself tells, to every process that uses the database, how things stand: while it is not
    whole, the disk is full and nothing new is taken in.
    """

    def __init__(self, path: Path, *, clock: _Clock = monotonic, free: _Free = _free) -> None:
        self._path, self._clock, self._free = path, clock, free
        self._trying = threading.Lock()
        self._tried: float | None = None

    def is_whole(self) -> bool:
        """Whether all of its room is kept."""
        try:
            return self._path.stat().st_size >= SIZE
        except OSError:
            return False

    def make(self) -> bool:
        """Keep the room, if there is as much again beside it; whether it is kept now."""
        return self.is_whole() or (self._has_room_beside() and self._filled())

    def make_again(self) -> bool:
        """Do as :meth:`make`, but not more than once a second; from any thread."""
        if not self._trying.acquire(blocking=False):
            return False
        try:
            now = self._clock()
            if self._tried is not None and now - self._tried < _PAUSE:
                return self.is_whole()
            self._tried = now
            return self.make()
        finally:
            self._trying.release()

    def give_up(self) -> bool:
        """Give the room back; whether there was any."""
        try:
            had = self._path.stat().st_size > 0
            os.truncate(self._path, 0)  # to remove a file may itself need room, on some systems
        except OSError:
            return False
        return had

    def _has_room_beside(self) -> bool:
        # Else it would take from those under way the very room that it has just given them.
        with suppress(OSError):
            return self._free(self._path.parent) >= 2 * SIZE
        return False

    def _filled(self) -> bool:
        self._clear_up()
        # Its own name, since other processes may open the database at the same moment.
        new = self._path.with_name(f"{self._path.name}-new-{uuid4().hex}")
        try:
            _fill(new)
            new.replace(self._path)
        except OSError:  # no room after all
            with suppress(OSError):
                new.unlink()
        return self.is_whole()

    def _clear_up(self) -> None:
        """Remove what processes have left behind that ended while they made it."""
        for left in self._path.parent.glob(f"{glob.escape(self._path.name)}-new*"):
            with suppress(OSError):
                if left.stat().st_mtime < time() - _LEFT_BEHIND:
                    left.unlink()


def _fill(path: Path) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        rest = memoryview(os.urandom(SIZE))  # what can neither be compressed nor left out as a hole
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    finally:
        os.close(file)
