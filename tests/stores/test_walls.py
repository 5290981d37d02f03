"""Row-level security on PostgreSQL: what a database shows to whom, whatever a statement forgets to ask."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import create_async_engine

from tertulia.errors import StoreUnavailable
from tertulia.ids import DOCUMENT, new_id
from tertulia.stores import Store, StoreOptions, open_store
from tertulia.stores.documents import Document, NewPassage
from tertulia.stores.sql.migrate import HEAD, upgrade
from tertulia.stores.sql.migrations.running import SEE_EVERYONE
from tertulia.stores.sql.postgresql import PostgreSQLDatabase, PostgreSQLStore
from tertulia.stores.sql.schema import CONVERSATIONS, METADATA
from tertulia.stores.sql.statements import Connection, Statement
from tertulia.testing.builders import (
    a_claimant,
    a_conversation,
    a_digest,
    a_finish,
    a_fork,
    a_frame,
    a_job,
    a_step,
    a_submission,
    an_agent,
)
from tests.postgres import OWNER, PostgresServer

OURS, THEIRS = 0, 7
TABLES = sorted(METADATA.tables)
WRITTEN = [
    "agent_versions",
    "agents",
    "aliases",
    "conversations",
    "documents",
    "frames",
    "idempotency",
    "jobs",
    "messages",
    "passages",
    "postings",
    "runs",
    "segments",
    "states",
    "steps",
]


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[PostgreSQLStore]:
    """A store in which two tenants have said something."""
    opened = open_store(postgres_url)
    assert isinstance(opened, PostgreSQLStore)
    await opened.open()
    for tenant in (OURS, THEIRS):
        await _something(opened, tenant)
    yield opened
    await opened.close()


async def _something(store: Store, tenant: int) -> None:
    agent = await an_agent(store, tenant=tenant)
    conversation = await a_conversation(store, agent, alias="diary")
    claim = (await store.runs.accept(a_submission(conversation, key="k"), a_claimant())).claim
    assert claim is not None
    told = replace(a_finish("secret"), frames=(a_frame(),), steps=(a_step(),), jobs=(a_job(),))
    await store.runs.commit(claim.lease, told, None)
    await a_fork(store, conversation, at=1)
    await store.states.put(tenant, conversation.id, "facts", "{}", expected_version=0)
    passages = [NewPassage(text="secret", terms={"secret": 1})]
    await store.documents.put(a_document(tenant), passages)


def a_document(tenant: int) -> Document:
    return Document(
        tenant=tenant,
        id=new_id(DOCUMENT),
        collection="handbook",
        name="handbook.md",
        media_type="text/markdown",
        digest=a_digest("secret"),
        characters=6,
        passages=1,
    )


@asynccontextmanager
async def _raw(url: str, setting: str | None = None) -> AsyncIterator[Any]:
    """Give a connection in a transaction that is undone in the end."""
    raw = await asyncpg.connect(url)
    try:
        await raw.execute("BEGIN")
        if setting is not None:
            await raw.fetch("SELECT set_config('tertulia.tenant', $1, true)", setting)
        yield raw
    finally:
        await raw.close()


def _tenant(table: str) -> str:
    return "id" if table == "tenants" else "tenant"


async def _seen(raw: Any, table: str) -> set[int]:
    return {row[0] for row in await raw.fetch(f"SELECT {_tenant(table)} FROM {table}")}  # noqa: S608


@pytest.mark.parametrize("table", WRITTEN)
async def test_rows_of_another_tenant_are_not_there_when_a_statement_forgets_to_ask(
    store: PostgreSQLStore, postgres_url: str, table: str
) -> None:
    async with _raw(postgres_url, "*") as raw:
        everyone = await _seen(raw, table)

    async with _raw(postgres_url, str(THEIRS)) as raw:
        seen = await _seen(raw, table)
        changed = await raw.fetch(f"UPDATE {table} SET tenant = tenant RETURNING tenant")  # noqa: S608
        gone = await raw.fetch(f"DELETE FROM {table} RETURNING tenant")  # noqa: S608

    assert everyone == {OURS, THEIRS}
    assert seen == {THEIRS}
    assert {row[0] for row in changed} == {row[0] for row in gone} == {THEIRS}


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO aliases (tenant, alias, id) VALUES (0, 'mine', gen_random_uuid())",
        "INSERT INTO aliases SELECT 0, 'mine', id FROM aliases ON CONFLICT DO NOTHING",
        "UPDATE aliases SET tenant = 0",
        "INSERT INTO tenants (id, name, created_at) VALUES (0, 'mine', 0) ON CONFLICT (id) "
        "DO UPDATE SET name = 'mine'",
    ],
)
async def test_nothing_can_be_written_in_the_name_of_another_tenant(
    store: PostgreSQLStore, postgres_url: str, statement: str
) -> None:
    async with _raw(postgres_url, str(THEIRS)) as raw:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await raw.execute(statement)


@pytest.mark.parametrize("setting", [None, "", "nobody", " 7", "07", "7 OR true", "7,0", "%"])
@pytest.mark.parametrize("whose", ["program", "owner"])
async def test_who_does_not_say_who_asks_sees_nothing(
    store: PostgreSQLStore, postgres: PostgresServer, postgres_url: str, setting: str | None, whose: str
) -> None:
    url = postgres_url if whose == "program" else postgres.owner_url("migrated")

    async with _raw(url, setting) as raw:
        seen = [await _seen(raw, table) for table in TABLES]

    assert seen == [set()] * len(TABLES)


async def test_owner_of_the_tables_is_bound_as_everybody_is(
    store: PostgreSQLStore, postgres: PostgresServer
) -> None:
    async with _raw(postgres.owner_url("migrated"), str(THEIRS)) as raw:
        seen = [await _seen(raw, table) for table in WRITTEN]

    assert seen == [{THEIRS}] * len(WRITTEN)


async def test_no_table_stands_outside_the_walls(postgres_url: str) -> None:
    async with _raw(postgres_url) as raw:
        rows = await raw.fetch(
            "SELECT relname FROM pg_class WHERE relrowsecurity AND relforcerowsecurity"
            " AND EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid)"
        )

    assert sorted(row[0] for row in rows) == TABLES


_ALL = Statement(select(CONVERSATIONS.c.tenant))
_RENAME_ALL = Statement(
    update(CONVERSATIONS).values(title=CONVERSATIONS.c.alias).returning(CONVERSATIONS.c.tenant)
)


async def _tenants_read(db: Connection) -> set[int]:
    return {row[0] for row in await db.all(_ALL, {})}


async def _tenants_written(db: Connection) -> set[int]:
    return {row[0] for row in await db.all(_RENAME_ALL, {})}


@pytest.mark.parametrize(("tenant", "seen"), [(OURS, {OURS}), (THEIRS, {THEIRS}), (None, {OURS, THEIRS})])
async def test_unit_of_work_sees_and_touches_the_rows_of_its_tenant_only(
    store: PostgreSQLStore, tenant: int | None, seen: set[int]
) -> None:
    assert await store.database.read(_tenants_read, tenant=tenant) == seen
    assert await store.database.write(_tenants_written, tenant=tenant) == seen


async def test_connection_keeps_nothing_of_whom_it_served(postgres_url: str) -> None:
    database = PostgreSQLDatabase(postgres_url, StoreOptions(connections=1))
    await database.open()

    async def fail(_: Connection) -> None:
        raise LookupError

    await database.read(_tenants_read, tenant=None)
    await database.write(_tenants_written, tenant=THEIRS)
    with pytest.raises(LookupError):
        await database.write(fail, tenant=None)
    async with database._pool.acquire() as raw:
        left = await raw.fetchval("SELECT current_setting('tertulia.tenant', true)")
        is_in_transaction = raw.is_in_transaction()
    await database.close()

    assert left == ""
    assert not is_in_transaction


async def test_units_that_read_can_write_nothing(store: PostgreSQLStore) -> None:
    with pytest.raises(StoreUnavailable):
        await store.database.read(_tenants_written, tenant=OURS)

    assert await store.database.read(_tenants_read, tenant=OURS) == {OURS}


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (id int)",
        "TRUNCATE messages",
        "DROP POLICY own_tenant ON messages",
        "ALTER TABLE messages DISABLE ROW LEVEL SECURITY",
        "DROP TABLE messages",
        "UPDATE alembic_version SET version_num = '0001'",
        f"SET ROLE {OWNER}",
    ],
)
async def test_program_may_not_pull_the_walls_down(postgres_url: str, statement: str) -> None:
    async with _raw(postgres_url, "*") as raw:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await raw.execute(statement)


async def test_tables_to_come_are_open_to_the_program(postgres: PostgresServer) -> None:
    name = postgres.fresh()
    await asyncio.to_thread(upgrade, postgres.owner_url(name))
    postgres.execute("CREATE TABLE later (id int)", database=name, role=OWNER)

    async with _raw(postgres.url(name)) as raw:
        rows = await raw.fetch("SELECT * FROM later")
    postgres.drop(name)

    assert rows == []


async def test_migrations_see_the_rows_of_all(store: PostgreSQLStore, postgres: PostgresServer) -> None:
    url = postgres.owner_url("migrated").replace("postgresql://", "postgresql+asyncpg://")
    engine = create_async_engine(url)
    everyone = select(CONVERSATIONS.c.tenant)

    async with engine.begin() as connection:
        before = (await connection.execute(everyone)).scalars().all()
        await connection.execute(SEE_EVERYONE)
        after = (await connection.execute(everyone)).scalars().all()
    await engine.dispose()

    assert (before, set(after)) == ([], {OURS, THEIRS})


async def test_user_whom_no_policy_binds_is_warned_of(
    postgres: PostgresServer, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = {}

    for url in (postgres_url, postgres.administrator_url("migrated")):
        caplog.clear()
        store = open_store(url)
        await store.open()
        told[url] = (await store.health(), "row-level security does not bind" in caplog.text)
        await store.close()

    (bound, is_warned), (above, is_warned_above) = told.values()
    assert (bound.ready, above.ready) == (True, True)
    assert bound.detail == f"migration {HEAD}"
    assert "row-level security does not bind" in above.detail
    assert (is_warned, is_warned_above) == (False, True)


async def test_user_who_is_no_member_is_told_what_to_become(postgres: PostgresServer) -> None:
    postgres.execute("CREATE ROLE stranger LOGIN")
    store = open_store(postgres.url("migrated").replace("tertulia_program", "stranger"))
    await store.open()

    health = await store.health()
    await store.close()
    postgres.execute("DROP ROLE stranger")

    assert not health.ready
    assert "member of the role tertulia_app" in health.detail


@pytest.fixture
def poor() -> Iterator[PostgresServer]:
    """A server whose databases' owner may not make roles."""
    with PostgresServer() as server:
        server.execute(f"ALTER ROLE {OWNER} NOCREATEROLE")
        server.execute(f"CREATE DATABASE poor OWNER {OWNER}")
        yield server


async def test_owner_who_may_make_no_role_migrates_and_works_behind_the_walls_himself(
    poor: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.to_thread(upgrade, poor.owner_url("poor"))
    store = open_store(poor.owner_url("poor"))
    await store.open()
    for tenant in (OURS, THEIRS):
        await _something(store, tenant)
    async with _raw(poor.owner_url("poor"), str(THEIRS)) as raw:
        seen = await _seen(raw, "messages")
    health = await store.health()
    await store.close()

    assert health.ready
    assert seen == {THEIRS}
    assert "no role tertulia_app was made" in caplog.text
