"""The PostgreSQL store: the same statements, prepared once and run on asyncpg."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Final, Self, TypeAlias, TypeVar

import asyncpg
from typing_extensions import override

from tertulia.errors import InvalidInput, StoreBusy, StoreUnavailable, TertuliaError
from tertulia.stores.base import StoreOptions
from tertulia.stores.sql.database import Clash, Database, Unit
from tertulia.stores.sql.statements import Connection, Params, Row, Statement, joined
from tertulia.stores.sql.store import SqlStore
from tertulia.stores.sql.urls import dsn_of

T = TypeVar("T")

_Raw: TypeAlias = Any
"""An asyncpg connection, which has no types."""

_TRIES: Final = 5
_CONNECT_SECONDS: Final = 10.0
_COMMAND_SECONDS: Final = 30.0
_AGAIN: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_BROKEN: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
_SHUTTING: Final = (
    asyncpg.TooManyConnectionsError,
    asyncpg.CannotConnectNowError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)

_joined = lru_cache(maxsize=512)(joined)


class PostgreSQLStore(SqlStore):
    """Everything in one PostgreSQL database, shared by any number of processes."""

    @override
    @classmethod
    def from_url(cls, url: str, options: StoreOptions) -> Self:
        return cls(PostgreSQLDatabase(url, options))


class _Bare(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A connection that leaves nothing behind between uses, so that it need not be reset."""

    def get_reset_query(self) -> str:
        return ""


class PostgreSQLDatabase(Database):
    """A pool for work; other event loops than its own (lease renewal) get a connection for each use."""

    dialect = "postgresql"

    def __init__(self, url: str, options: StoreOptions) -> None:
        self.dsn = dsn_of(url)
        self._options = options
        self._pool: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @override
    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with _errors():
            self._pool = await asyncpg.create_pool(
                self.dsn,
                min_size=1,
                max_size=self._options.connections,
                max_inactive_connection_lifetime=300,
                init=_prepared,
                **_OPTIONS,
            )

    @override
    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), _CONNECT_SECONDS)
            except (TimeoutError, OSError, asyncpg.PostgresError):
                pool.terminate()

    @override
    async def write(self, unit: Unit[T]) -> T:
        for attempt in range(1, _TRIES + 1):
            try:
                return await self._once(unit)
            except _AGAIN as error:
                if attempt == _TRIES:
                    raise StoreBusy("the database is too busy; ask again", retry_after=1.0) from error
        raise AssertionError("not reached")

    async def _once(self, unit: Unit[T]) -> T:
        async with self._acquired() as raw:
            await raw.execute("BEGIN")
            try:
                result = await unit(_AsyncpgConnection(raw))
            except BaseException:
                if not raw.is_closed():
                    await raw.execute("ROLLBACK")
                raise
            await raw.execute("COMMIT")
            return result

    @override
    async def read(self, unit: Unit[T]) -> T:
        async with self._acquired() as raw:
            return await unit(_AsyncpgConnection(raw))

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
                    await raw.close(timeout=_CONNECT_SECONDS)


_OPTIONS: Final[dict[str, Any]] = {
    "connection_class": _Bare,
    "timeout": _CONNECT_SECONDS,
    "command_timeout": _COMMAND_SECONDS,
    "statement_cache_size": 512,
    "max_cached_statement_lifetime": 0,
    "server_settings": {
        "application_name": "tertulia",
        "lock_timeout": "5s",
        "idle_in_transaction_session_timeout": "60s",
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
