import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from tertulia.conversations import Job, JobStatus
from tertulia.errors import NotFound
from tertulia.ids import OWNER, new_id, to_bytes
from tertulia.stores import Store, open_store
from tertulia.stores.sql import jobs
from tertulia.stores.sql.migrate import upgrade
from tertulia.testing.builders import (
    HOUR_US,
    OVER_AT_ONCE,
    a_claimed_run,
    a_conversation,
    a_finish,
    a_job,
    a_submission,
)

KINDS = ("index",)


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def sql_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty database of each kind."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
async def sql(sql_url: str) -> AsyncIterator[Store]:
    """An opened, empty store on each database."""
    store = open_store(sql_url)
    await store.open()
    yield store
    await store.close()


async def _wanted(store: Store, *wanted: Job) -> list[str]:
    """Have a run commit jobs; return their ids."""
    claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
    await store.runs.commit(claim.lease, replace(a_finish("an answer"), jobs=wanted), None)
    return [job.id for job in wanted]


async def test_what_a_late_owner_says_of_a_revived_job_is_ignored(sql: Store) -> None:
    [job_id] = await _wanted(sql, a_job())
    [late] = await sql.jobs.claim(new_id(OWNER), KINDS, limit=1, lease_us=OVER_AT_ONCE)
    [second] = await sql.jobs.claim(new_id(OWNER), KINDS, limit=1, lease_us=HOUR_US)
    await sql.jobs.bury(second, error="given up")
    await sql.jobs.revive(0, job_id)
    [third] = await sql.jobs.claim(new_id(OWNER), KINDS, limit=1, lease_us=HOUR_US)

    await sql.jobs.finish(late)
    await sql.jobs.bury(late, error="too late")

    assert late.attempt == third.attempt == 1
    assert await sql.jobs.get(0, job_id) == third
    await sql.jobs.finish(third)
    with pytest.raises(NotFound):
        await sql.jobs.get(0, job_id)


async def test_nobody_claims_nothing(sql: Store) -> None:
    [job_id] = await _wanted(sql, a_job())

    assert await sql.jobs.claim(new_id(OWNER), (), limit=9, lease_us=HOUR_US) == []
    assert await sql.jobs.claim(new_id(OWNER), KINDS, limit=0, lease_us=HOUR_US) == []
    assert (await sql.jobs.get(0, job_id)).status is JobStatus.QUEUED


async def test_locked_job_is_passed_over_and_not_waited_for(postgres_url: str) -> None:
    store = open_store(postgres_url)
    await store.open()
    locked, free = await _wanted(store, a_job(), a_job())
    other = await asyncpg.connect(postgres_url)
    await other.execute("BEGIN; SET LOCAL tertulia.tenant = '0'")
    assert await other.fetchval(
        "SELECT 1 FROM jobs WHERE id = $1::text::uuid FOR UPDATE", to_bytes(locked).hex()
    )

    while_locked = await store.jobs.claim(new_id(OWNER), KINDS, limit=1, lease_us=HOUR_US)
    await other.close()
    later = await store.jobs.claim(new_id(OWNER), KINDS, limit=9, lease_us=HOUR_US)
    await store.close()

    assert [claimed.job.id for claimed in while_locked] == [free]
    assert [claimed.job.id for claimed in later] == [locked]


def test_claiming_walks_the_index_of_what_is_due(sqlite_url: str, tmp_path: Path) -> None:
    upgrade(sqlite_url)
    ready = jobs._claim(8).sqlite

    raw = sqlite3.connect(tmp_path / "tertulia.db")
    rows = raw.execute(f"EXPLAIN QUERY PLAN {ready.sql}", [1] * len(ready.names)).fetchall()
    raw.close()

    read = [str(row[3]) for row in rows if "jobs" in str(row[3])]
    assert read == [
        "SEARCH jobs USING INDEX ix_jobs_due (due_at<?)",
        "SEARCH jobs USING PRIMARY KEY (tenant=? AND id=?)",
    ]
