"""The PostgreSQL store: the same statements, prepared once and run on asyncpg."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import Any, Final, Self, TypeAlias, TypeVar

import asyncpg
from typing_extensions import override

from tertulia.errors import InvalidInput, OutcomeUnknown, StoreBusy, StoreUnavailable, TertuliaError
from tertulia.stores.base import Health, StoreOptions
from tertulia.stores.sql.database import Clash, Database, Unit
from tertulia.stores.sql.statements import Connection, Params, Row, Statement, joined
from tertulia.stores.sql.store import SqlStore
from tertulia.stores.sql.urls import dsn_of

T = TypeVar("T")

_Raw: TypeAlias = Any
"""An asyncpg connection, which has no types."""

_LOG: Final = logging.getLogger(__name__)

_TRIES: Final = 10
"""More than a pool has connections: all of them may have been cut at once."""
_CONNECT_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 5.0
_COMMAND_SECONDS: Final = 30.0
_SHORT_SECONDS: Final = 5.0
"""For what takes a server no time: to begin a transaction, and to undo it."""

_AGAIN: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_BROKEN: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
_CUT: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    ConnectionError,
)
_SHUTTING: Final = (
    asyncpg.TooManyConnectionsError,
    asyncpg.CannotConnectNowError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)

_IS_ABOVE_POLICIES: Final = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
_ABOVE_POLICIES: Final = (
    "row-level security does not bind the database's user: "
    "connect as a plain one that is a member of tertulia_app"
)

_joined = lru_cache(maxsize=512)(joined)


class PostgreSQLStore(SqlStore):
    """Everything in one PostgreSQL database, shared by any number of processes."""

    def __init__(self, database: "PostgreSQLDatabase") -> None:
        super().__init__(database)
        self._concern = database.concern

    @override
    @classmethod
    def from_url(cls, url: str, options: StoreOptions) -> Self:
        return cls(PostgreSQLDatabase(url, options))

    @override
    async def health(self) -> Health:
        found, concern = await super().health(), self._concern()
        return Health(ready=True, detail=f"{found.detail}; {concern}") if found.ready and concern else found


class _Bare(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A connection that leaves nothing behind between uses, so that it need not be reset."""

    def get_reset_query(self) -> str:
        return ""


class PostgreSQLDatabase(Database):
    """A pool for work; other event loops than its own (lease renewal) get a connection for each use.

    Every unit has a transaction, in which alone it is said whose rows can be seen: the policies of
    the tables show nothing to a connection that says nothing.
    """

    dialect = "postgresql"

    def __init__(self, url: str, options: StoreOptions) -> None:
        self.dsn = dsn_of(url)
        self._options = options
        self._pool: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._door = threading.Lock()  # never held while anything is waited for
        self._is_above_policies = False

    @override
    async def open(self) -> None:
        if self._is_open:
            return
        async with _errors():
            pool = await asyncpg.create_pool(
                self.dsn,
                min_size=1,
                max_size=self._options.connections,
                max_inactive_connection_lifetime=300,
                init=_prepared,
                **_OPTIONS,
            )
            try:
                is_above_policies = bool(await pool.fetchval(_IS_ABOVE_POLICIES))
            except BaseException:
                pool.terminate()
                raise
        if not self._kept(pool, is_above_policies=is_above_policies):
            await _ended(pool)
        elif is_above_policies:
            _LOG.warning(_ABOVE_POLICIES)

    @property
    def _is_open(self) -> bool:
        """Whether there is a pool; one whose event loop has ended is of no use to anybody."""
        return self._pool is not None and self._loop is not None and not self._loop.is_closed()

    def _kept(self, pool: _Raw, *, is_above_policies: bool) -> bool:
        """Keep a pool of the running loop, unless somebody else has opened one meanwhile."""
        with self._door:
            if self._is_open:
                return False
            self._pool, self._loop = pool, asyncio.get_running_loop()
            self._is_above_policies = is_above_policies
            return True

    def concern(self) -> str | None:
        """Return what an operator should know of a database that works nevertheless."""
        return _ABOVE_POLICIES if self._is_above_policies else None

    @override
    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await _ended(pool)

    @override
    async def check_room(self) -> None:
        """Do nothing: a full disk is the business of the server, which keeps the room to recover."""

    @override
    async def write(self, unit: Unit[T], *, tenant: int | None) -> T:
        begin = f"BEGIN; {_seeing(tenant)}"
        return await self._tried(lambda: self._once(unit, begin=begin, end=_commit))

    @override
    async def read(self, unit: Unit[T], *, tenant: int | None) -> T:
        begin = f"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; {_seeing(tenant)}"
        return await self._tried(lambda: self._once(unit, begin=begin, end=_let_go))

    async def _tried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        for left in reversed(range(_TRIES)):
            try:
                return await attempt()
            except _AGAIN as error:
                if not left:
                    raise StoreBusy("the database is too busy; ask again", retry_after=1.0) from error
            except _Undone as undone:
                if not left:
                    raise _translated(undone.error) from undone.error
        raise AssertionError("not reached")

    async def _once(self, unit: Unit[T], *, begin: str, end: Callable[[_Raw], Awaitable[None]]) -> T:
        async with self._acquired() as raw:
            try:
                await raw.execute(begin, timeout=_SHORT_SECONDS)
                result = await unit(_AsyncpgConnection(raw))
            except BaseException as error:
                was_cut = isinstance(error, _CUT) or (isinstance(error, _BROKEN) and _is_lost(raw))
                await _undo(raw, after=error)
                if isinstance(error, Exception) and was_cut:
                    raise _Undone(error) from error
                raise
            await end(raw)
            return result

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Any]:
        if self._pool is None:
            raise StoreUnavailable("the store is not open")
        async with _errors():
            if asyncio.get_running_loop() is self._loop:
                async with self._pool.acquire(timeout=_CONNECT_SECONDS) as raw:
                    yield raw
            else:
                raw = await asyncpg.connect(self.dsn, **_OPTIONS)
                try:
                    await _prepared(raw)
                    yield raw
                finally:
                    await _leave(raw)


class _Undone(Exception):
    """The connection was lost before COMMIT was sent: nothing has happened, and it may be tried again."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


async def _ended(pool: _Raw) -> None:
    try:
        await asyncio.wait_for(pool.close(), _CLOSE_SECONDS)
    except _BROKEN:
        pool.terminate()


def _seeing(tenant: int | None) -> str:
    """Return the statement that says, for this transaction only, whose rows can be seen."""
    return f"SET LOCAL tertulia.tenant = '{'*' if tenant is None else int(tenant)}'"


async def _commit(raw: _Raw) -> None:
    try:
        said = await raw.execute("COMMIT")
    except _AGAIN:
        raise
    except _BROKEN as error:
        _drop(raw)
        raise OutcomeUnknown from error
    if said != "COMMIT":  # a transaction in which something has failed is ended so without an error
        raise StoreUnavailable("the transaction was given up by the database")


async def _let_go(raw: _Raw) -> None:
    try:
        await raw.execute("COMMIT", timeout=_SHORT_SECONDS)
    except _BROKEN:  # what was to be read has been read
        _drop(raw)


async def _undo(raw: _Raw, *, after: BaseException) -> None:
    if isinstance(after, TimeoutError):  # the server would have given up earlier: nothing comes through
        _drop(raw)
    if _is_lost(raw):
        return
    try:
        await raw.execute("ROLLBACK", timeout=_SHORT_SECONDS)
    except _BROKEN:
        _drop(raw)


def _is_lost(raw: _Raw) -> bool:
    try:
        return bool(raw.is_closed())
    except asyncpg.InterfaceError:  # the pool has taken it back already, which it does when it is lost
        return True


def _drop(raw: _Raw) -> None:
    with suppress(asyncpg.InterfaceError):
        raw.terminate()


async def _leave(raw: _Raw) -> None:
    with suppress(*_BROKEN):
        await raw.close(timeout=_CLOSE_SECONDS)


_OPTIONS: Final[dict[str, Any]] = {
    "connection_class": _Bare,
    "timeout": _CONNECT_SECONDS,
    "command_timeout": _COMMAND_SECONDS,
    "statement_cache_size": 512,
    "max_cached_statement_lifetime": 0,
    "server_settings": {
        "application_name": "tertulia",
        "lock_timeout": "5s",
        # Earlier than ours, so that it is the server that gives up and tells.
        "statement_timeout": "25s",
        # As long as a lease: a process that stands still may not keep its run's rows from its heir.
        "idle_in_transaction_session_timeout": "10s",
    },
}


async def _prepared(raw: _Raw) -> None:
    await raw.set_type_codec("uuid", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary")


class _AsyncpgConnection(Connection):
    """Runs statements on one asyncpg connection."""

    def __init__(self, raw: _Raw) -> None:
        self._raw = raw

    @override
    async def all(self, statement: Statement, params: Params) -> Sequence[Row]:
        ready = statement.postgresql
        rows: Sequence[Row] = await self._raw.fetch(ready.sql, *ready.bind(params))
        return rows

    @override
    async def one(self, statement: Statement, params: Params) -> Row | None:
        ready = statement.postgresql
        row: Row | None = await self._raw.fetchrow(ready.sql, *ready.bind(params))
        return row

    @override
    async def run(self, statement: Statement, params: Params) -> None:
        ready = statement.postgresql
        await self._raw.fetch(ready.sql, *ready.bind(params))

    @override
    async def together(self, work: Sequence[tuple[Statement, Params]]) -> None:
        if not work:
            return
        sql, _ = _joined(tuple(statement for statement, _ in work))
        values = [value for statement, params in work for value in statement.postgresql.bind(params)]
        await self._raw.fetch(sql, *values)


@asynccontextmanager
async def _errors() -> AsyncIterator[None]:
    """Turn what asyncpg raises into ours."""
    try:
        yield
    except _AGAIN:
        raise
    except asyncpg.IntegrityConstraintViolationError as error:
        raise Clash(str(error.constraint_name)) from error
    except asyncpg.UndefinedTableError as error:
        raise StoreUnavailable("the database has no tables yet; run: tertulia db upgrade") from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise StoreUnavailable(
            "the database does not let its user do this; make it a member of the role tertulia_app"
        ) from error
    except _SHUTTING as error:
        raise StoreBusy("the database is too busy; ask again", retry_after=1.0) from error
    except _BROKEN as error:
        raise _translated(error) from error


def _translated(error: Exception) -> TertuliaError:
    if isinstance(error, (asyncpg.DataError, ValueError)):  # the latter is how asyncpg refuses an argument
        return InvalidInput(
            "the database cannot keep this: text with a character, or a number, that it has not"
        )
    return StoreUnavailable(f"the database cannot be reached or used ({type(error).__name__}); ask again")
