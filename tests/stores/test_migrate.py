import asyncio
import multiprocessing
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias
from uuid import UUID

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Table, create_engine, insert, inspect, select, table, text
from sqlalchemy.engine.interfaces import ReflectedIndex
from sqlalchemy.ext.asyncio import create_async_engine

from tertulia.conversations import RunStatus
from tertulia.errors import InvalidInput
from tertulia.ids import AGENT, CONVERSATION, MESSAGE, RUN, new_id, to_bytes
from tertulia.parts import encode_content, text_content
from tertulia.stores import open_store
from tertulia.stores.sql.migrate import HEAD, upgrade
from tertulia.stores.sql.migrations.running import configuration
from tertulia.stores.sql.schema import AGENT_VERSIONS, AGENTS, CONVERSATIONS, MESSAGES, METADATA, RUNS
from tertulia.testing.builders import a_claimant, a_definition, a_fork, a_submission
from tests.postgres import PostgresServer

THE_FIRST: Final = "0001"
OLD_AGENT, OLD_CONVERSATION, OLD_MESSAGE, OLD_RUN = map(new_id, (AGENT, CONVERSATION, MESSAGE, RUN))

Places: TypeAlias = tuple[str, str]
"""The URLs of one database: for its owner, and for a program."""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Places]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield (url := f"sqlite:///{tmp_path / 'old.db'}"), url
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.fresh()
    yield server.owner_url(name), server.url(name)
    server.drop(name)


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


async def _with(url: str, work: Callable[[Connection], Any]) -> Any:
    """Do something over a connection of its owner, and commit."""
    if url.startswith("sqlite"):
        engine = create_engine(url)
        with engine.begin() as connection:
            return work(connection)
    over = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with over.begin() as connection:
        found = await connection.run_sync(work)
    await over.dispose()
    return found


def _up_to_the_first(connection: Connection) -> None:
    command.upgrade(configuration(connection), THE_FIRST)


def _down_to_the_first(connection: Connection) -> None:
    command.downgrade(configuration(connection), THE_FIRST)


def _fill(connection: Connection) -> None:
    """Write a turn that waits for its end, as the first version did."""

    def raw(ident: str) -> bytes | UUID:
        kept = to_bytes(ident)
        return UUID(bytes=kept) if connection.dialect.name == "postgresql" else kept

    def put(into: Table, **row: object) -> None:
        connection.execute(insert(into).values(tenant=0, created_at=1, **row))

    agent, conversation, run = raw(OLD_AGENT), raw(OLD_CONVERSATION), raw(OLD_RUN)
    put(AGENTS, id=agent, name="Chef", version=1)
    put(AGENT_VERSIONS, agent_id=agent, version=1, definition=a_definition().encode())
    counts = {"head": 1, "tokens": 10, "version": 1, "next_run": 2, "queued": 0, "flags": 0}
    of = {"agent_id": agent, "lineage_id": conversation, "holder": run, "updated_at": 2}
    put(CONVERSATIONS, id=conversation, first_message="Hello!", **of, **counts)
    said = {"content": encode_content(text_content("hello")), "role": "user", "flags": 0, "turn": 0}
    put(MESSAGES, conversation_id=conversation, number=1, id=raw(OLD_MESSAGE), run_id=run, **said)
    asked = {"conversation_id": conversation, "input_message_id": raw(OLD_MESSAGE), "performer": "agent"}
    counts = {"n": 1, "epoch": 1, "attempt": 1, "input_tokens": 10, "input_number": 1, "last_number": 0}
    put(RUNS, id=run, status="running", lease_until=0, cancel_requested=0, **asked, **counts)


def _everything(connection: Connection) -> dict[str, object]:
    """Return all columns, indexes and rows."""
    inspector = inspect(connection)
    return {
        name: (
            [(column["name"], str(column["type"])) for column in inspector.get_columns(name)],
            inspector.get_pk_constraint(name)["constrained_columns"],
            sorted(_told(index) for index in inspector.get_indexes(name)),
            list(map(repr, connection.execute(select(text("*")).select_from(table(name))))),
        )
        for name in inspector.get_table_names()
    }


def _told(index: ReflectedIndex) -> tuple[str, ...]:
    options = {key: str(value) for key, value in index.get("dialect_options", {}).items()}
    return str(index["name"]), str(index["column_names"]), str(index["unique"]), str(options)


async def test_what_the_first_version_wrote_goes_on_after_an_upgrade(empty: Places) -> None:
    owner_url, url = empty
    await _with(owner_url, _up_to_the_first)
    await _with(owner_url, _fill)

    await asyncio.to_thread(upgrade, owner_url)
    store = open_store(url)
    await store.open()
    conversation = await store.conversations.get(0, OLD_CONVERSATION)
    queued = await store.runs.accept(a_submission(conversation, "and then?"), None)
    [claim] = await store.runs.claim(a_claimant(), limit=9)
    branch = await a_fork(store, conversation, at=1)
    shared = await store.conversations.messages(0, branch.id)
    await store.close()

    assert (conversation.parent_id, conversation.base, conversation.is_hidden) == (None, 0, False)
    assert queued.run.status is RunStatus.QUEUED
    assert (claim.run.id, claim.run.epoch, claim.run.wait) == (OLD_RUN, 2, None)
    assert shared == [claim.input]
    assert claim.input.text == "hello"


async def test_downgrade_leaves_what_the_first_version_wrote_as_it_was(empty: Places) -> None:
    owner_url, _ = empty
    await _with(owner_url, _up_to_the_first)
    await _with(owner_url, _fill)
    before = await _with(owner_url, _everything)

    await asyncio.to_thread(upgrade, owner_url)
    between = await _with(owner_url, _everything)
    await _with(owner_url, _down_to_the_first)

    assert between != before
    assert await _with(owner_url, _everything) == before
