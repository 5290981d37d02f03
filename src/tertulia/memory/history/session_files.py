"""Files of sessions: how they are named, written and mended; all of it blocks."""

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from tertulia.memory.history.encoding import message_of
from tertulia.memory.history.locked_files import acquire, put, read, reading, replace, sync, writing
from tertulia.memory.history.session_lines import (
    Line,
    first_line,
    head_of,
    id_of,
    lines_of,
    remembered,
    rewritten,
    whole_lines,
    without_head,
)
from tertulia.memory.sessions import ProviderSession
from tertulia.messages import Message

_BLOCK: Final = 32_768
_KEPT_IDS: Final = 200_000
"""Ids of messages that are kept in mind at most, unless one session alone has more."""
_SHOWN: Final = 40


@dataclass(slots=True)
class _Known:
    """What was found in a file when it was last written."""

    inode: int = 0
    head: bytes = b""
    """Its first line, which tells it from one with the same inode that was there before or came after."""
    end: int = 0
    """Where its last whole append ends."""
    changed: int = 0
    ids: set[str] = field(default_factory=set)
    """Of its messages, and of those that were forgotten."""
    one_writes: threading.Lock = field(default_factory=threading.Lock)

    def note(self, stat: os.stat_result, *, end: int, ids: Collection[str]) -> None:
        """Take in what was written."""
        self.inode, self.end, self.changed = stat.st_ino, end, stat.st_mtime_ns
        self.ids.update(ids)


class SessionFiles:
    """A directory of them, for any number of threads and processes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._guard = threading.Lock()

    def read(self, session: ProviderSession) -> list[Message]:
        """Return all messages of a session."""
        with reading(self._path(session)) as file:
            if file is None:
                return []
            lines, _ = whole_lines(read(file, 0))
        return [message_of(line) for line in remembered(without_head(lines, session))]

    def read_end(self, session: ProviderSession, *, limit: int) -> list[Message]:
        """Return the newest messages of a session, without reading many more."""
        if limit < 1:
            return []
        with reading(self._path(session)) as file:
            if file is None:
                return []
            lines = _last_lines(file, session, limit)
        return [message_of(line) for line in lines[-limit:]]

    def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
        """Write those messages that the session does not have, and see to it that they are on the disk."""
        with self._held(session) as (file, known):
            _write(file, known, session, messages)

    def forget(self, session: ProviderSession, ids: Collection[str]) -> None:
        """Write the file anew without the content of these messages, and see to it that it is on the disk."""
        path = self._path(session)
        with self._held(session) as (file, known):
            before = read(file, 0)
            after = rewritten(before, session, without=dict.fromkeys(ids))
            stat = os.fstat(file) if after == before else replace(path, after)
            known.head = first_line(after)
            known.note(stat, end=len(after), ids=ids)

    @contextmanager
    def _held(self, session: ProviderSession) -> Iterator[tuple[int, _Known]]:
        """Open the file of a session for writing, and find out what stands in it."""
        path = self._path(session)
        known = self._of(path.name)
        acquire(known.one_writes)
        try:
            self._make_directory()
            before = known.inode
            with writing(path) as file:
                _catch_up(file, known, session)
                yield file, known
                # Whoever made the file may have died before its name was on the disk.
                if known.inode != before:
                    sync(self._directory)
        except BaseException:
            known.inode = 0  # what is in the file is to be found out anew
            raise
        finally:
            known.one_writes.release()
        self._forget_some(path.name)

    def _path(self, session: ProviderSession) -> Path:
        shown = re.sub("[^a-z0-9]+", "-", session.id.lower())[:_SHOWN].strip("-")
        return self._directory / f"{shown or 'session'}-{sha256(head_of(session)).hexdigest()[:32]}.jsonl"

    def _make_directory(self) -> None:
        if not self._directory.is_dir():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync(self._directory.parent)

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


def _catch_up(file: int, known: _Known, session: ProviderSession) -> None:
    """Find out what stands in a file, as far as that is not known; cut off what is not whole."""
    stat = os.fstat(file)
    has_grown = stat.st_ino == known.inode and stat.st_size > known.end
    if stat.st_ino == known.inode and (stat.st_size, stat.st_mtime_ns) == (known.end, known.changed):
        return
    if not has_grown or os.pread(file, len(known.head), 0) != known.head:
        known.end, known.ids = 0, set()
    text = read(file, known.end)
    lines, length = whole_lines(text)
    known.ids.update(id_of(line) for line in (lines if known.end else without_head(lines, session)))
    known.head = known.head if known.end else first_line(text)
    known.end += length
    if known.end < stat.st_size:
        os.ftruncate(file, known.end)


def _write(file: int, known: _Known, session: ProviderSession, messages: Sequence[Message]) -> None:
    """Put what is new at the end of a file; if that fails, nothing of it stays."""
    fresh = _fresh(messages, known.ids)
    is_first = bool(fresh) and not known.end
    lines = [head_of(session), *lines_of(fresh)] if is_first else lines_of(fresh)
    text = b"".join(line + b"\n" for line in lines)
    try:
        put(file, text, known.end)
        os.fsync(file)  # even if nothing is new: whoever wrote it may have died before he could
    except OSError:
        os.ftruncate(file, known.end)
        raise
    known.head = first_line(text) if is_first else known.head
    known.note(os.fstat(file), end=known.end + len(text), ids=[message.id for message in fresh])


def _fresh(messages: Sequence[Message], known: set[str]) -> list[Message]:
    found: dict[str, Message] = {}
    for message in messages:
        if message.id not in known:
            found.setdefault(message.id, message)
    return list(found.values())


def _last_lines(file: int, session: ProviderSession, limit: int) -> list[Line]:
    """Return the newest lines of a file that have messages, ``limit`` of them if it has so many."""
    size, length = os.fstat(file).st_size, _BLOCK
    while length < size:
        text = read(file, size - length)
        lines = remembered(whole_lines(text[text.find(b"\n") + 1 :])[0])
        if len(lines) >= limit:
            return lines
        length *= 4
    return remembered(without_head(whole_lines(read(file, 0))[0], session))
