"""The SQLite store: one writer thread that groups commits, one reader thread beside it."""

import asyncio
import sqlite3
import threading
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Self, TypeAlias, TypeVar

from typing_extensions import override

from tertulia.errors import InvalidInput, StoreBusy, StoreError, StoreUnavailable, TertuliaError
from tertulia.stores.base import StoreOptions
from tertulia.stores.sql.database import Clash, Database, SeesOwners, Unit
from tertulia.stores.sql.migrate import upgrade_sqlite
from tertulia.stores.sql.owners import Owners
from tertulia.stores.sql.statements import Connection, Params, Row, Statement
from tertulia.stores.sql.store import SqlStore
from tertulia.stores.sql.urls import path_of

T = TypeVar("T")

_MAX_GROUP: Final = 256
_THEIRS: Final = (sqlite3.Error, UnicodeEncodeError, OverflowError)
_BUSY_CODES: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


class SQLiteStore(SqlStore):
    """Everything in one SQLite file (WAL), to which other processes may write as well."""

    @override
    @classmethod
    def from_url(cls, url: str, options: StoreOptions) -> Self:
        return cls(SQLiteDatabase(path_of(url), options))


class SQLiteDatabase(Database, SeesOwners):
    """One file, two threads."""

    dialect = "sqlite"

    def __init__(self, path: Path, options: StoreOptions) -> None:
        self.path = path
        self._options = options
        self._writer: _Worker | None = None
        self._reader: _Worker | None = None
        self._owners: Owners | None = None

    @override
    async def open(self) -> None:
        await asyncio.to_thread(self._prepare)
        self._writer = _Worker("tertulia-writer", self._connect(), begin="BEGIN IMMEDIATE")
        self._reader = _Worker("tertulia-reader", self._connect(), begin="BEGIN")

    def _prepare(self) -> None:
        try:
            upgrade_sqlite(self.path, busy_seconds=self._options.busy_seconds)
            self._owners = Owners(self.path.with_name(f"{self.path.name}-owners"))
        except (sqlite3.Error, OSError) as error:
            raise _translated(error, self.path) from error

    def _connect(self) -> sqlite3.Connection:
        try:
            raw = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, cached_statements=512
            )
            raw.execute(f"PRAGMA busy_timeout = {int(self._options.busy_seconds * 1000)}")
            raw.execute("PRAGMA journal_mode = WAL")
            raw.execute(f"PRAGMA synchronous = {self._options.synchronous}")
            raw.execute("PRAGMA secure_delete = ON")
        except sqlite3.Error as error:
            raise _translated(error, self.path) from error
        return raw

    @override
    async def close(self) -> None:
        for worker in (self._writer, self._reader):
            if worker is not None:
                await asyncio.to_thread(worker.stop)
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
    async def write(self, unit: Unit[T]) -> T:
        return await self._open(self._writer).submit(unit)

    @override
    async def read(self, unit: Unit[T]) -> T:
        return await self._open(self._reader).submit(unit)

    def _open(self, worker: "_Worker | None") -> "_Worker":
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


@dataclass(slots=True)
class _Job:
    unit: Unit[Any]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    result: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class _Group:
    """Jobs that share a transaction, in order."""

    jobs: list[_Job] = field(default_factory=list)

    def fail(self, error: TertuliaError) -> None:
        for job in self.jobs:
            job.error = job.error or error

    def deliver(self) -> None:
        for loop in {job.loop for job in self.jobs}:
            mine = [job for job in self.jobs if job.loop is loop]
            try:
                loop.call_soon_threadsafe(_settle, mine)
            except RuntimeError:  # the loop was closed: nobody waits any more
                continue


_Command: TypeAlias = "_Job | None"


class _Worker:
    """One thread with one connection; what comes while it commits forms the next group."""

    def __init__(self, name: str, raw: sqlite3.Connection, *, begin: str) -> None:
        self._raw, self._begin = raw, begin
        self._connection = _SQLiteConnection(raw)
        self._queue: SimpleQueue[_Command] = SimpleQueue()
        self._closed = False
        self.commits = 0
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def submit(self, unit: Unit[T]) -> T:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(_Job(unit, loop, future))
        return await future

    async def pragma(self, name: str) -> object:
        async def ask(db: Connection) -> object:
            return self._raw.execute(f"PRAGMA {name}").fetchone()[0]

        return await self.submit(ask)

    def stop(self) -> None:
        self._closed = True
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while True:
            group, is_last = self._next_group()
            if group.jobs:
                self._carry_out(group)
                group.deliver()
            if is_last:
                self._raw.close()
                self._refuse_the_rest()
                return

    def _refuse_the_rest(self) -> None:
        """Answer what was handed in while the last of the work was done."""
        late = _Group()
        while not self._queue.empty():
            if isinstance(command := self._queue.get(), _Job):
                late.jobs.append(command)
        late.fail(StoreUnavailable("the store is closed"))
        late.deliver()

    def _next_group(self) -> tuple[_Group, bool]:
        group, command = _Group(), self._queue.get()
        while isinstance(command, _Job):
            group.jobs.append(command)
            if len(group.jobs) >= _MAX_GROUP or self._queue.empty():
                return group, False
            command = self._queue.get()
        return group, True

    def _carry_out(self, group: _Group) -> None:
        try:
            self._raw.execute(self._begin)
            for job in group.jobs:
                self._do(job, is_alone=len(group.jobs) == 1)
            if self._raw.in_transaction:  # a unit that was alone and failed has ended it
                self._raw.execute("COMMIT")
                self.commits += 1
        except sqlite3.Error as error:
            if self._raw.in_transaction:
                self._raw.execute("ROLLBACK")
            group.fail(_translated(error))
        except _GroupEnded:
            group.fail(StoreUnavailable("the transaction was given up by the database"))

    def _do(self, job: _Job, *, is_alone: bool) -> None:
        """Carry out one unit; what it wrote is undone if it fails, the others' stays."""
        if not is_alone:
            self._raw.execute("SAVEPOINT unit")
        try:
            job.result = _finished(job.unit(self._connection))
        except BaseException as error:
            job.error = _translated(error) if isinstance(error, _THEIRS) else error
            if not self._raw.in_transaction:
                raise _GroupEnded from error
            self._raw.execute("ROLLBACK" if is_alone else "ROLLBACK TO unit")
        if not is_alone:
            self._raw.execute("RELEASE unit")


class _GroupEnded(Exception):
    """SQLite has rolled the whole transaction back by itself (full disk, I/O error)."""


def _finished(work: Coroutine[Any, Any, T]) -> T:
    """Run a unit to its end; on this thread nothing in it ever has to wait."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise RuntimeError("a unit of work waited for something other than its connection")


def _settle(jobs: Iterable[_Job]) -> None:
    for job in jobs:
        if job.future.done():  # its caller was cancelled
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


class _SQLiteConnection(Connection):
    """Runs statements at once, on the thread that owns the connection."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    @override
    async def all(self, statement: Statement, params: Params) -> Sequence[Row]:
        return self._raw.execute(statement.sqlite.sql, statement.sqlite.bind(params)).fetchall()

    @override
    async def one(self, statement: Statement, params: Params) -> Row | None:
        row: Row | None = self._raw.execute(statement.sqlite.sql, statement.sqlite.bind(params)).fetchone()
        return row

    @override
    async def run(self, statement: Statement, params: Params) -> None:
        self._raw.execute(statement.sqlite.sql, statement.sqlite.bind(params))

    @override
    async def together(self, work: Sequence[tuple[Statement, Params]]) -> None:
        for statement, params in work:
            self._raw.execute(statement.sqlite.sql, statement.sqlite.bind(params))


def _translated(error: Exception, path: Path | None = None) -> StoreError | InvalidInput:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    where = f" {path}" if path else ""
    if isinstance(error, (UnicodeEncodeError, OverflowError)):
        return InvalidInput("the database cannot keep this: a character, or a number, that it has not")
    if isinstance(error, sqlite3.IntegrityError):
        return Clash(str(error))
    if code in _BUSY_CODES:
        return StoreBusy("another process is writing to the database; ask again", retry_after=1.0)
    if code == sqlite3.SQLITE_FULL:
        return StoreUnavailable("the disk is full; free some space and ask again")
    if isinstance(error, OSError):
        return StoreUnavailable(f"the database{where} cannot be opened: {error.strerror}")
    return StoreUnavailable(f"the database{where} cannot be used: {error}")
