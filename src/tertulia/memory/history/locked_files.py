"""Files that are read and written under a lock, by any number of processes; all of it blocks."""

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_SECONDS: Final = 10.0
"""How long to wait for whoever writes the same file."""
_PAUSES: Final = (0.001, 0.02)
_BUSY: Final = "somebody else writes the session"
_WRITE: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


@contextmanager
def writing(path: Path) -> Iterator[int]:
    """Open a file that nobody else reads or writes meanwhile; it is made if it is not there."""
    file = _opened(path, _WRITE, fcntl.LOCK_EX)
    try:
        yield file
    finally:
        os.close(file)


@contextmanager
def reading(path: Path) -> Iterator[int | None]:
    """Open a file while nobody writes it; None if there is none."""
    file = None
    with suppress(FileNotFoundError):
        file = _opened(path, _READ, fcntl.LOCK_SH)
    try:
        yield file
    finally:
        if file is not None:
            os.close(file)


def replace(path: Path, text: bytes) -> os.stat_result:
    """Have a file hold another text, or what it held if that fails; return what it is then.

    Only for who holds it by :func:`writing`: it is another file afterwards, and is held no more. That its
    name is on the disk is left to :func:`sync`.
    """
    # Always the same name: what a crash has left there is written over, and holds nothing for long.
    beside = path.with_name(f"{path.name}.new")
    file = os.open(beside, _WRITE | os.O_TRUNC, 0o600)
    try:
        put(file, text, 0)
        os.fsync(file)
        found = os.fstat(file)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
    return found


def put(file: int, text: bytes, place: int) -> None:
    """Write all of a text at a place of a file."""
    view = memoryview(text)
    while view:
        written = os.pwrite(file, view, place)
        view, place = view[written:], place + written


def read(file: int, place: int) -> bytes:
    """Return what stands in a file from a place on."""
    pieces = []
    while piece := os.pread(file, max(os.fstat(file).st_size - place, 1), place):
        pieces.append(piece)
        place += len(piece)
    return b"".join(pieces)


def sync(directory: Path) -> None:
    """See to it that the names in a directory are on the disk."""
    opened = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def acquire(lock: threading.Lock) -> None:
    """Wait until a lock of this process can be had, no longer than for a file."""
    if not lock.acquire(timeout=_SECONDS):
        raise _busy()


def _opened(path: Path, flags: int, how: int) -> int:
    while True:
        file = os.open(path, flags, 0o600)
        try:
            _lock(file, how)
            if os.fstat(file).st_nlink:  # else it was taken away or replaced before it was locked
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _lock(file: int, how: int) -> None:
    """Wait until the file can be had, which ends when it is closed."""
    limit, (pause, longest) = time.monotonic() + _SECONDS, _PAUSES
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > limit:
                raise _busy() from None
            time.sleep(pause)
            pause = min(2 * pause, longest)
        else:
            return


def _busy() -> TimeoutError:
    return TimeoutError(errno.ETIMEDOUT, _BUSY)
