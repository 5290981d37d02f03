"""What a turn leaves in the database, and how often it commits: read from outside, like everything here."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final

import asyncpg
from typing_extensions import override

_MESSAGES: Final = frozenset({"message", "messages"})


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes in a database, indexes included."""

    messages: int
    bookkeeping: int


class Storage(ABC):
    """A database that a server works on."""

    @abstractmethod
    async def commits(self) -> tuple[int, int]:
        """Return an era and the writing transactions committed in it; only within an era they compare."""

    @abstractmethod
    async def size(self) -> Size:
        """Return what lies in it."""


class SQLiteStorage(Storage):
    """A SQLite file in WAL mode; its commits are counted in the write-ahead log."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @override
    async def commits(self) -> tuple[int, int]:
        return _wal_commits(self._path.with_name(f"{self._path.name}-wal"))

    @override
    async def size(self) -> Size:
        query = (
            "SELECT tbl_name, sum(pgsize) FROM dbstat('main', 1) AS used "
            "JOIN sqlite_master ON sqlite_master.name = used.name GROUP BY tbl_name"
        )
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as raw:
            return _sized(dict(raw.execute(query).fetchall()))


class PostgreSQLStorage(Storage):
    """A PostgreSQL database; transactions that write are counted by the numbers they are given."""

    def __init__(self, url: str) -> None:
        self._url = url

    @override
    async def commits(self) -> tuple[int, int]:
        raw = await asyncpg.connect(self._url)
        try:
            query = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
            return 0, await raw.fetchval(query)
        finally:
            await raw.close()

    @override
    async def size(self) -> Size:
        raw = await asyncpg.connect(self._url)
        try:
            query = "SELECT relname, pg_total_relation_size(relid) FROM pg_stat_user_tables"
            return _sized({name: size for name, size in await raw.fetch(query)})
        finally:
            await raw.close()


def _sized(tables: Mapping[str, int]) -> Size:
    messages = sum(size for name, size in tables.items() if name in _MESSAGES)
    return Size(messages, sum(tables.values()) - messages)


_WAL_HEADER: Final = Struct(">8xII8s8x")
"""Page size, number of the checkpoint, salts."""
_FRAME_HEADER: Final = Struct(">4xI8s8x")
"""Size of the database after a commit (0: no commit), salts."""


def _wal_commits(path: Path) -> tuple[int, int]:
    """Count the commits since the write-ahead log was begun anew; the file may end in older frames."""
    log = path.read_bytes() if path.exists() else b""
    if len(log) < _WAL_HEADER.size:
        return 0, 0
    page, checkpoint, salts = _WAL_HEADER.unpack_from(log)
    commits = 0
    for place in range(_WAL_HEADER.size, len(log) - page, _FRAME_HEADER.size + page):
        pages, own = _FRAME_HEADER.unpack_from(log, place)
        if own != salts:
            break
        commits += pages > 0
    return checkpoint, commits
