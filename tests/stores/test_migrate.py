import multiprocessing
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from tertulia.errors import InvalidInput
from tertulia.stores import open_store
from tertulia.stores.sql.migrate import HEAD, upgrade
from tertulia.stores.sql.migrations.running import configuration
from tertulia.stores.sql.schema import METADATA
from tests.postgres import PostgresServer


def test_the_newest_script_is_the_one_that_the_code_knows() -> None:
    scripts = ScriptDirectory.from_config(configuration())

    assert scripts.get_heads() == [HEAD]


def test_migrated_sqlite_has_the_tables_that_the_code_knows(sqlite_url: str) -> None:
    upgrade(sqlite_url)

    with create_engine(sqlite_url).connect() as connection:
        assert _differences(connection) == []


async def test_migrated_postgresql_has_the_tables_that_the_code_knows(postgres_url: str) -> None:
    engine = create_async_engine(postgres_url.replace("postgresql://", "postgresql+asyncpg://"))

    async with engine.connect() as connection:
        found = await connection.run_sync(_differences)
    await engine.dispose()

    assert found == []


def _differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), METADATA))


def test_upgrading_twice_does_nothing_the_second_time(sqlite_url: str) -> None:
    assert upgrade(sqlite_url) == HEAD
    assert upgrade(sqlite_url) == HEAD


def test_processes_that_start_on_one_new_file_at_once_all_find_it_migrated(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    spawning = multiprocessing.get_context("spawn")

    processes = [spawning.Process(target=upgrade, args=(url,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)

    assert [process.exitcode for process in processes] == [0] * 4
    with sqlite3.connect(tmp_path / "new.db") as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
    raw.close()


def test_memory_has_nothing_to_migrate() -> None:
    with pytest.raises(InvalidInput):
        upgrade("memory://")


async def test_database_without_tables_says_what_to_do(postgres: PostgresServer) -> None:
    name = postgres.fresh()
    store = open_store(postgres.url(name))
    await store.open()

    health = await store.health()
    await store.close()
    postgres.drop(name)

    assert not health.ready
    assert "tertulia db upgrade" in health.detail


async def test_database_of_a_newer_version_says_what_to_do(sqlite_url: str, tmp_path: Path) -> None:
    store = open_store(sqlite_url)
    await store.open()
    with sqlite3.connect(tmp_path / "tertulia.db") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()

    health = await store.health()
    await store.close()

    assert not health.ready
    assert "update Tertulia" in health.detail
