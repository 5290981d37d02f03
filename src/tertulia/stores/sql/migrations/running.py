"""Runs alembic's scripts in this process; imported only when there is something to do."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, event, inspect, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tertulia.errors import StoreUnavailable
from tertulia.stores.sql.migrate import a_stranger, refuse_unknown
from tertulia.stores.sql.schema import METADATA

_LOCK: Final = 7_237_115
"""Number of the PostgreSQL lock under which one process migrates at a time."""
_CONNECT_SECONDS: Final = 10.0

SEE_EVERYONE: Final = text("SELECT set_config('tertulia.tenant', '*', true)")
"""Until the transaction ends: without it the policies show a migration no rows to change, owner or not."""


def configuration(connection: Connection | None = None) -> Config:
    """Return alembic's configuration; no file of the user's is involved."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade_sqlite(path: Path, busy_seconds: float) -> None:
    """Bring a SQLite file up to the newest migration, holding its write lock meanwhile.

    Raises what SQLite raises.
    """
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(path, timeout=busy_seconds, isolation_level=None),
        poolclass=NullPool,
    )

    @event.listens_for(engine, "connect")
    def use_wal(raw: DBAPIConnection, _: object) -> None:
        cursor = raw.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    try:
        with engine.begin() as connection:
            _migrate(connection)
    except DBAPIError as error:
        raise error.orig or error from error


def upgrade_postgresql(dsn: str) -> None:
    """Bring a PostgreSQL database up to the newest migration; others wait for it.

    Raises :class:`~tertulia.errors.StoreUnavailable`.
    """
    with _errors():
        asyncio.run(_upgrade(dsn))


async def _upgrade(dsn: str) -> None:
    async def connect(*_: object, **__: object) -> object:
        return await asyncpg.connect(dsn, timeout=_CONNECT_SECONDS)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            await connection.execute(SEE_EVERYONE)
            await connection.run_sync(_migrate)
    finally:
        await engine.dispose()


def _migrate(connection: Connection) -> None:
    found = MigrationContext.configure(connection).get_current_revision()
    refuse_unknown(found)
    if found is None and set(METADATA.tables) & set(inspect(connection).get_table_names()):
        raise a_stranger()
    command.upgrade(configuration(connection), "head")


@contextmanager
def _errors() -> Iterator[None]:
    """Turn what asyncpg and SQLAlchemy raise into ours, in one line."""
    try:
        yield
    except DBAPIError as error:
        raise StoreUnavailable(f"the database cannot be migrated: {_line(error.orig or error)}") from error
    except asyncpg.InterfaceError as error:  # its text may hold the URL
        raise StoreUnavailable(f"the database cannot be reached ({type(error).__name__})") from error
    except (asyncpg.PostgresError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"the database cannot be reached: {_line(error)}") from error


def _line(error: BaseException) -> str:
    said = str(error).strip().partition("\n")[0]
    return said or type(error).__name__
