"""One thread with one SQLite connection; what comes while it commits forms the next group."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, TypeAlias, TypeVar

from typing_extensions import override

from tertulia.errors import InvalidInput, StoreBusy, StoreError, StoreUnavailable, TertuliaError
from tertulia.stores.sql.database import Clash, Unit
from tertulia.stores.sql.statements import Connection, Params, Row, Statement

T = TypeVar("T")

DISK_FULL: Final = "the disk is full; free some space and ask again"
_MAX_GROUP: Final = 256
_THEIRS: Final = (sqlite3.Error, UnicodeEncodeError, OverflowError)
_BUSY_CODES: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
"""The last is what a reader ends with that was never let in, after some ten seconds."""
_NO_ROOM: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})
"""The last two are what quotas, limits and a full memory file system come out as."""


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
        """Answer everyone with this: whatever they found out was not kept."""
        for job in self.jobs:
            job.error = error

    def begin_again(self) -> None:
        for job in self.jobs:
            job.result = job.error = None

    def deliver(self) -> None:
        for loop in {job.loop for job in self.jobs}:
            mine = [job for job in self.jobs if job.loop is loop]
            try:
                loop.call_soon_threadsafe(_settle, mine)
            except RuntimeError:  # the loop was closed: nobody waits any more
                continue


_Command: TypeAlias = "_Job | None"


def _no_room_to_give() -> bool:
    return False


class Worker:
    """Carries out units of work in groups; ``give_room`` is asked for room on a full disk."""

    def __init__(
        self,
        name: str,
        raw: sqlite3.Connection,
        *,
        begin: str,
        give_room: Callable[[], bool] = _no_room_to_give,
    ) -> None:
        self._raw, self._begin, self._give_room = raw, begin, give_room
        self._connection = _SQLiteConnection(raw)
        self._queue: SimpleQueue[_Command] = SimpleQueue()
        self._closed = False
        self.commits = 0
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def submit(self, unit: Unit[T]) -> T:
        """Have a unit carried out; returns once its group is committed."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(_Job(unit, loop, future))
        return await future

    async def pragma(self, name: str) -> object:
        """Return what a pragma says."""

        async def ask(db: Connection) -> object:
            return self._raw.execute(f"PRAGMA {name}").fetchone()[0]

        return await self.submit(ask)

    def stop(self) -> None:
        """Finish what was handed in, and end."""
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
        """Carry out a group; once more if it was given the room that it lacked."""
        if self._attempt(group) and self._give_room():
            group.begin_again()
            self._attempt(group)

    def _attempt(self, group: _Group) -> bool:
        """Carry out a group; return whether it failed for want of room."""
        try:
            self._raw.execute(self._begin)
            for job in group.jobs:
                self._do(job, is_alone=len(group.jobs) == 1)
            if self._raw.in_transaction:  # a unit that was alone and failed has ended it
                self._raw.execute("COMMIT")
                self.commits += 1
        except sqlite3.Error as error:
            self._undo()
            group.fail(translated(error))
            return _lacks_room(error)
        except _GroupEnded:
            group.fail(StoreUnavailable("the transaction was given up by the database"))
        return False

    def _undo(self) -> None:
        if self._raw.in_transaction:
            with suppress(sqlite3.Error):  # it may fail as the rest did; this thread must live on
                self._raw.execute("ROLLBACK")

    def _do(self, job: _Job, *, is_alone: bool) -> None:
        """Carry out one unit; what it wrote is undone if it fails, the others' stays."""
        if not is_alone:
            self._raw.execute("SAVEPOINT unit")
        try:
            job.result = _finished(job.unit(self._connection))
        except BaseException as error:
            if _lacks_room(error):
                raise  # the whole group, in whose transaction SQLite may have left nothing
            if not self._raw.in_transaction:
                raise _GroupEnded from error
            job.error = translated(error) if isinstance(error, _THEIRS) else error
            self._raw.execute("ROLLBACK" if is_alone else "ROLLBACK TO unit")
        if not is_alone:
            self._raw.execute("RELEASE unit")


class _GroupEnded(Exception):
    """SQLite has rolled the whole transaction back by itself."""


def _lacks_room(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorcode", 0) in _NO_ROOM


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


def translated(error: Exception, path: Path | None = None) -> StoreError | InvalidInput:
    """Return our error for one that SQLite, or Python in its place, has raised."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    where = f" {path}" if path else ""
    if isinstance(error, (UnicodeEncodeError, OverflowError)):
        return InvalidInput("the database cannot keep this: a character, or a number, that it has not")
    if isinstance(error, sqlite3.IntegrityError):
        return Clash(str(error))
    if code in _BUSY_CODES:
        return StoreBusy("another process is writing to the database; ask again", retry_after=1.0)
    if code == sqlite3.SQLITE_FULL:
        return StoreUnavailable(DISK_FULL)
    if isinstance(error, OSError):
        return StoreUnavailable(f"the database{where} cannot be opened: {error.strerror}")
    return StoreUnavailable(f"the database{where} cannot be used: {error}")
