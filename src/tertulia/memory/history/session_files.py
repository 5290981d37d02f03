"""Files of sessions: how they are named, locked, written and mended; all of it blocks.

The first line names the session. Then comes one line for each message; where an append had several,
``left`` says how many of them still follow. An append is there when its last line is, with its end.
"""

import errno
import fcntl
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

import orjson

from tertulia.errors import ProviderError
from tertulia.memory.history.encoding import encode, message_of, parse
from tertulia.memory.sessions import ProviderSession
from tertulia.messages import Message, check_text

_SECONDS: Final = 10.0
"""How long to wait for whoever writes the same session."""
_PAUSES: Final = (0.001, 0.02)
_BLOCK: Final = 32_768
_KEPT_IDS: Final = 200_000
"""Ids of messages that are kept in mind at most, unless one session alone has more."""
_LEFT: Final = "left"
_BUSY: Final = "somebody else writes the session"
_SHOWN: Final = 40
_WRITE: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(slots=True)
class _Known:
    """What was found in a file when it was last written."""

    inode: int = 0
    end: int = 0
    """Where its last whole append ends."""
    changed: int = 0
    ids: set[str] = field(default_factory=set)
    one_writes: threading.Lock = field(default_factory=threading.Lock)


class SessionFiles:
    """A directory of them, for any number of threads and processes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._guard = threading.Lock()

    def read(self, session: ProviderSession) -> list[Message]:
        """Return all messages of a session."""
        with self._opened(session) as file:
            if file is None:
                return []
            lines, _ = _whole_lines(_read(file, 0))
        return [message_of(line) for line in _without_head(lines, session)]

    def read_end(self, session: ProviderSession, *, limit: int) -> list[Message]:
        """Return the newest messages of a session, without reading many more."""
        if limit < 1:
            return []
        with self._opened(session) as file:
            if file is None:
                return []
            lines = _last_lines(file, session, limit)
        return [message_of(line) for line in lines[-limit:]]

    def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
        """Write those messages that the session does not have, and see to it that they are on the disk."""
        path = self._path(session)
        known = self._of(path.name)
        if not known.one_writes.acquire(timeout=_SECONDS):
            raise TimeoutError(errno.ETIMEDOUT, _BUSY)
        try:
            self._make_directory()
            is_first = not known.inode
            with _locked(path) as file:
                _catch_up(file, known, session)
                _write(file, known, session, messages)
                if is_first:  # whoever made the file may have died before its name was on the disk
                    _sync(self._directory)
        except BaseException:
            known.inode = 0  # what is in the file is to be found out anew
            raise
        finally:
            known.one_writes.release()
        self._forget_some(path.name)

    @contextmanager
    def _opened(self, session: ProviderSession) -> Iterator[int | None]:
        """Open the file of a session while nobody writes it; None if there is none."""
        try:
            file = os.open(self._path(session), _READ)
        except FileNotFoundError:
            yield None
            return
        try:
            _lock(file, fcntl.LOCK_SH)
            yield file
        finally:
            os.close(file)

    def _path(self, session: ProviderSession) -> Path:
        shown = re.sub("[^a-z0-9]+", "-", session.id.lower())[:_SHOWN].strip("-")
        return self._directory / f"{shown or 'session'}-{sha256(_head(session)).hexdigest()[:32]}.jsonl"

    def _make_directory(self) -> None:
        if not self._directory.is_dir():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync(self._directory.parent)

    def _of(self, name: str) -> _Known:
        with self._guard:
            known = self._known.setdefault(name, _Known())
            self._known.move_to_end(name)
            return known

    def _forget_some(self, name: str) -> None:
        """Keep what is known within its bounds; what is forgotten is read again."""
        with self._guard:
            count = sum(len(known.ids) + 1 for known in self._known.values())
            for other in list(self._known):
                if count <= _KEPT_IDS:
                    return
                if other != name:
                    count -= len(self._known.pop(other).ids) + 1


def _head(session: ProviderSession) -> bytes:
    """Return the first line of a session's file, by which it is known."""
    names = {"agent": session.agent, "session": session.id}
    checked = {key: check_text(name, what="the name of a session") for key, name in names.items()}
    return orjson.dumps({"tertulia": 1, "tenant": session.tenant, **checked})


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Open a file that nobody else reads or writes meanwhile."""
    while True:
        file = os.open(path, _WRITE, 0o600)
        try:
            _lock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink:  # else it was taken away before it was locked
                yield file
                return
        finally:
            os.close(file)


def _lock(file: int, how: int) -> None:
    """Wait until the file can be had, which ends when it is closed."""
    limit, (pause, longest) = time.monotonic() + _SECONDS, _PAUSES
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > limit:
                raise TimeoutError(errno.ETIMEDOUT, _BUSY) from None
            time.sleep(pause)
            pause = min(2 * pause, longest)
        else:
            return


def _catch_up(file: int, known: _Known, session: ProviderSession) -> None:
    """Find out what stands in a file, as far as that is not known; cut off what is not whole."""
    stat = os.fstat(file)
    has_grown = stat.st_ino == known.inode and stat.st_size > known.end
    if stat.st_ino == known.inode and (stat.st_size, stat.st_mtime_ns) == (known.end, known.changed):
        return
    if not has_grown:
        known.end, known.ids = 0, set()
    lines, length = _whole_lines(_read(file, known.end))
    for line in lines if known.end else _without_head(lines, session):
        known.ids.add(message_of(line).id)
    known.end += length
    if known.end < stat.st_size:
        os.ftruncate(file, known.end)


def _write(file: int, known: _Known, session: ProviderSession, messages: Sequence[Message]) -> None:
    """Put what is new at the end of a file; if that fails, nothing of it stays."""
    fresh = _fresh(messages, known.ids)
    lines = [encode(each, **_left(len(fresh) - place)) for place, each in enumerate(fresh, start=1)]
    if fresh and not known.end:
        lines.insert(0, _head(session))
    text = b"".join(line + b"\n" for line in lines)
    try:
        _put(file, text, known.end)
        os.fsync(file)  # even if nothing is new: whoever wrote it may have died before he could
    except OSError:
        os.ftruncate(file, known.end)
        raise
    stat = os.fstat(file)
    known.inode, known.end, known.changed = stat.st_ino, known.end + len(text), stat.st_mtime_ns
    known.ids.update(message.id for message in fresh)


def _fresh(messages: Sequence[Message], known: set[str]) -> list[Message]:
    found: dict[str, Message] = {}
    for message in messages:
        if message.id not in known:
            found.setdefault(message.id, message)
    return list(found.values())


def _left(count: int) -> dict[str, int]:
    return {_LEFT: count} if count else {}


def _put(file: int, text: bytes, place: int) -> None:
    view = memoryview(text)
    while view:
        written = os.pwrite(file, view, place)
        view, place = view[written:], place + written


def _read(file: int, place: int) -> bytes:
    """Return what stands in a file from a place on."""
    pieces = []
    while piece := os.pread(file, max(os.fstat(file).st_size - place, 1), place):
        pieces.append(piece)
        place += len(piece)
    return b"".join(pieces)


def _whole_lines(text: bytes) -> tuple[list[dict[str, object]], int]:
    """Return the lines of all appends that are whole, and how many bytes these take."""
    texts = text.split(b"\n")
    length = len(text) - len(texts.pop())
    lines = [parse(each) for each in texts]
    while lines and lines[-1].get(_LEFT):
        lines.pop()
        length -= len(texts.pop()) + 1
    return lines, length


def _without_head(lines: list[dict[str, object]], session: ProviderSession) -> list[dict[str, object]]:
    if lines and lines[0] != orjson.loads(_head(session)):
        raise ProviderError("the file of the history is another session's, or of another version")
    return lines[1:]


def _last_lines(file: int, session: ProviderSession, limit: int) -> list[dict[str, object]]:
    """Return the newest lines of a file, ``limit`` of them if it has so many."""
    size, length = os.fstat(file).st_size, _BLOCK
    while length < size:
        text = _read(file, size - length)
        lines, _ = _whole_lines(text[text.find(b"\n") + 1 :])
        if len(lines) >= limit:
            return lines
        length *= 4
    return _without_head(_whole_lines(_read(file, 0))[0], session)


def _sync(directory: Path) -> None:
    """See to it that the names in a directory are on the disk."""
    opened = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
