"""The SQLite store: one writer thread that groups commits, one reader thread beside it."""

import asyncio
import logging
import sqlite3
import threading
from pathlib import Path
from typing import Final, Self, TypeVar

from typing_extensions import override

from tertulia.errors import StoreUnavailable
from tertulia.stores.base import Health, StoreOptions
from tertulia.stores.sql.ballast import Ballast
from tertulia.stores.sql.database import Database, SeesOwners, Unit
from tertulia.stores.sql.migrate import upgrade_sqlite
from tertulia.stores.sql.owners import Owners
from tertulia.stores.sql.store import SqlStore
from tertulia.stores.sql.urls import path_of
from tertulia.stores.sql.worker import DISK_FULL, Worker, translated

T = TypeVar("T")

OLDEST: Final = (3, 35)
"""SQLite's version that has all that our statements ask for (RETURNING came last)."""

_LOG: Final = logging.getLogger(__name__)


class SQLiteStore(SqlStore):
    """Everything in one SQLite file (WAL), to which other processes may write as well."""

    @override
    @classmethod
    def from_url(cls, url: str, options: StoreOptions) -> Self:
        return cls(SQLiteDatabase(path_of(url), options))

    @override
    async def health(self) -> Health:
        try:
            await self.database.check_room()
        except StoreUnavailable as error:
            return Health(ready=False, detail=str(error))
        return await super().health()


class SQLiteDatabase(Database, SeesOwners):
    """One file, two threads."""

    dialect = "sqlite"

    def __init__(self, path: Path, options: StoreOptions) -> None:
        self.path = path
        self._options = options
        self._writer: Worker | None = None
        self._reader: Worker | None = None
        self._owners: Owners | None = None
        self._door = threading.Lock()  # waited for in threads only, whose event loops go on meanwhile
        self._ballast = Ballast(path.with_name(f"{path.name}-ballast"))

    @override
    async def open(self) -> None:
        await asyncio.to_thread(self._open_once)

    def _open_once(self) -> None:
        with self._door:
            if self._writer is None:
                self._begin()

    def _begin(self) -> None:
        refuse_old(sqlite3.sqlite_version_info)
        writing, reading = self._prepare()
        self._reader = Worker("tertulia-reader", reading, begin="BEGIN")
        self._writer = Worker(
            "tertulia-writer", writing, begin="BEGIN IMMEDIATE", give_room=self._give_up_ballast
        )
        _LOG.info("SQLite %s keeps %s", sqlite3.sqlite_version, self.path)

    def _prepare(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        try:
            upgrade_sqlite(self.path, busy_seconds=self._options.busy_seconds)
            self._owners = Owners(self.path.with_name(f"{self.path.name}-owners"))
        except (sqlite3.Error, OSError) as error:
            raise translated(error, self.path) from error
        if not self._ballast.make():
            _LOG.warning("the disk is full: nothing new is taken in until there is room")
        writing = self._connect()
        try:
            return writing, self._connect()
        except StoreUnavailable:
            writing.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        try:
            raw = sqlite3.connect(
                self.path,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=512,
                timeout=self._options.busy_seconds,
            )
            raw.execute("PRAGMA journal_mode = WAL")
            raw.execute(f"PRAGMA synchronous = {self._options.synchronous}")
            raw.execute("PRAGMA secure_delete = ON")
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        return raw

    def _give_up_ballast(self) -> bool:
        had = self._ballast.give_up()
        if had:
            _LOG.warning("the disk is full: what is under way is ended, nothing new is taken in")
        return had

    @override
    async def close(self) -> None:
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        with self._door:
            for worker in (self._writer, self._reader):
                if worker is not None:
                    worker.stop()
            self._writer = self._reader = None
            if self._owners is not None:
                self._owners.close()
                self._owners = None

    @override
    def hold(self, owner: str) -> None:
        if self._owners is not None:
            self._owners.hold(owner)

    @override
    def is_gone(self, owner: str) -> bool:
        return self._owners is not None and self._owners.is_gone(owner)

    @override
    async def check_room(self) -> None:
        self._open(self._writer)
        if self._ballast.is_whole():
            return
        if not await asyncio.to_thread(self._ballast.make_again):
            raise StoreUnavailable(DISK_FULL, retry_after=1.0)
        _LOG.warning("there is room on the disk again")

    @override
    async def write(self, unit: Unit[T], *, tenant: int | None) -> T:
        return await self._open(self._writer).submit(unit)

    @override
    async def read(self, unit: Unit[T], *, tenant: int | None) -> T:
        return await self._open(self._reader).submit(unit)

    def _open(self, worker: Worker | None) -> Worker:
        if worker is None:
            raise StoreUnavailable("the store is not open")
        return worker

    @property
    def commits(self) -> int:
        """Transactions committed by this process so far."""
        return self._open(self._writer).commits

    async def pragma(self, name: str) -> object:
        """Return what a pragma says on the writer's own connection."""
        return await self._open(self._writer).pragma(name)


def refuse_old(version: tuple[int, ...]) -> None:
    """Raise ``StoreUnavailable`` for a SQLite that lacks what we need."""
    if version < OLDEST:
        found, oldest = (".".join(map(str, each)) for each in (version, OLDEST))
        raise StoreUnavailable(
            f"SQLite {found} is too old, {oldest} or newer is needed: "
            "use a Python that was built with a newer one"
        )
