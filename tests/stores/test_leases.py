import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from tertulia.conversations import DEFAULT_TENANT, Claim
from tertulia.ids import OWNER, new_id, to_bytes
from tertulia.stores import Store, StoreOptions, open_store
from tertulia.stores.sql import dead, postgresql
from tertulia.stores.sql.migrate import upgrade
from tertulia.stores.sql.sqlite import SQLiteDatabase, SQLiteStore
from tertulia.testing.builders import (
    HOUR_US,
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_finish,
    a_job,
    a_queued_run,
    a_submission,
    an_agent,
)

LOCK = "SELECT 1 FROM runs WHERE id = ANY($1::text[]::uuid[]) FOR SHARE"


@pytest.fixture
async def other(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Another connection, in a transaction: perhaps of a process that stands still in it."""
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("SELECT set_config('tertulia.tenant', '*', false)")
    await connection.execute("BEGIN")
    yield connection
    await connection.close()


async def _abandoned(store: Store, count: int) -> list[Claim]:
    agent, gone = await an_agent(store), a_claimant(lease_us=OVER_AT_ONCE)
    conversations = [await a_conversation(store, agent) for _ in range(count)]
    return [await a_claimed_run(store, a_submission(each), claimant=gone) for each in conversations]


async def _lock(connection: asyncpg.Connection, claims: list[Claim]) -> None:
    await connection.fetch(LOCK, [to_bytes(claim.run.id).hex() for claim in claims])


async def _until_it_waits(task: asyncio.Task[set[str]], other: asyncpg.Connection) -> None:
    while not (task.done() or await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")):
        pass


async def _taken(store: Store) -> set[str]:
    return {claim.run.id for claim in await store.runs.claim(a_claimant(), limit=9)}


async def test_lease_of_a_locked_run_is_renewed_once_it_is_free(
    postgres_url: str, other: asyncpg.Connection
) -> None:
    store, heir = open_store(postgres_url), open_store(postgres_url)
    await store.open()
    await heir.open()
    locked, free = await _abandoned(store, 2)
    await _lock(other, [locked])

    renewing = asyncio.create_task(store.runs.renew([locked.lease, free.lease], lease_us=HOUR_US))
    await _until_it_waits(renewing, other)
    meanwhile = await _taken(heir)
    await other.execute("ROLLBACK")
    held = await renewing
    later = await _taken(heir)
    await store.close()
    await heir.close()

    assert held == {locked.run.id, free.run.id}
    assert (meanwhile, later) == (set(), set())


async def test_lease_that_was_lost_while_its_run_was_locked_is_not_renewed(
    postgres_url: str, other: asyncpg.Connection
) -> None:
    store = open_store(postgres_url)
    await store.open()
    lost, kept = await _abandoned(store, 2)
    await other.execute("UPDATE runs SET epoch = 2 WHERE id = $1::text::uuid", to_bytes(lost.run.id).hex())

    renewing = asyncio.create_task(store.runs.renew([lost.lease, kept.lease], lease_us=HOUR_US))
    await _until_it_waits(renewing, other)
    await other.execute("COMMIT")
    held = await renewing
    await store.close()

    assert held == {kept.run.id}


async def test_run_that_stays_locked_costs_the_others_nothing(
    postgres_url: str, other: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgresql._OPTIONS["server_settings"], "lock_timeout", "50ms")
    store = open_store(postgres_url)
    await store.open()
    locked, free = await _abandoned(store, 2)
    await _lock(other, [locked])

    held = await store.runs.renew([locked.lease, free.lease], lease_us=HOUR_US)
    await other.execute("ROLLBACK")
    taken = await _taken(store)
    await store.close()

    assert held == {locked.run.id, free.run.id}
    assert taken == {locked.run.id}


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(SQLiteDatabase(tmp_path / "tertulia.db", StoreOptions()))
    await store.open()
    yield store
    await store.close()


def _break(path: Path, *run_ids: str) -> None:
    """Make the rows of runs unreadable."""
    raw = sqlite3.connect(path)
    for run_id in run_ids:
        raw.execute("UPDATE runs SET options = '{' WHERE id = ?", (to_bytes(run_id),))
    raw.commit()
    raw.close()


async def test_runs_that_cannot_be_read_do_not_use_up_the_limit(sqlite: SQLiteStore, tmp_path: Path) -> None:
    *broken, first, second = [claim.run.id for claim in await _abandoned(sqlite, 5)]
    _break(tmp_path / "tertulia.db", *broken)

    claims = [await sqlite.runs.claim(a_claimant(), limit=1) for _ in range(3)]

    assert [[claim.run.id for claim in each] for each in claims] == [[first], [second], []]


async def test_queued_runs_that_cannot_be_read_do_not_use_up_the_limit(
    sqlite: SQLiteStore, tmp_path: Path
) -> None:
    agent = await an_agent(sqlite)
    conversations = [await a_conversation(sqlite, agent) for _ in range(4)]
    *broken, whole = [(await a_queued_run(sqlite, a_submission(each))).run.id for each in conversations]
    _break(tmp_path / "tertulia.db", *broken)

    [claim] = await sqlite.runs.claim(a_claimant(), limit=1)

    assert claim.run.id == whole


async def test_jobs_of_a_process_that_died_are_not_waited_for(sqlite_url: str) -> None:
    mortal, heir = open_store(sqlite_url), open_store(sqlite_url)
    await mortal.open()
    await heir.open()
    claim = await a_claimed_run(mortal, a_submission(await a_conversation(mortal)))
    await mortal.runs.commit(claim.lease, replace(a_finish("an answer"), jobs=(a_job(),)), None)
    [job] = await mortal.jobs.claim(new_id(OWNER), ["index"], limit=9, lease_us=HOUR_US)

    before = await heir.jobs.claim(new_id(OWNER), ["index"], limit=9, lease_us=HOUR_US)
    await mortal.close()
    [again] = await heir.jobs.claim(new_id(OWNER), ["index"], limit=9, lease_us=HOUR_US)
    stored = await heir.jobs.get(DEFAULT_TENANT, job.job.id)
    await heir.close()

    assert before == []
    assert (again.job.id, again.attempt) == (job.job.id, 2)
    assert stored == again


def test_who_has_jobs_is_found_without_going_through_all_of_them(sqlite_url: str, tmp_path: Path) -> None:
    upgrade(sqlite_url)
    ready = dead.OF_JOBS.owners.sqlite

    raw = sqlite3.connect(tmp_path / "tertulia.db")
    rows = raw.execute(f"EXPLAIN QUERY PLAN {ready.sql}", [1] * len(ready.names)).fetchall()
    raw.close()

    assert [str(row[3]) for row in rows if "jobs" in str(row[3])] == ["SCAN jobs USING INDEX ix_jobs_due"]
    assert "LIMIT 256" in ready.sql
