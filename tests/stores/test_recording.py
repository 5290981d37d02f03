from collections.abc import AsyncIterator

import asyncpg
import pytest

from tertulia.conversations import DEFAULT_TENANT, Claim, Commit
from tertulia.ids import to_bytes
from tertulia.stores import Store, open_store
from tertulia.stores.sql import recording
from tertulia.stores.sql.statements import Connection
from tertulia.stores.sql.store import SqlStore
from tertulia.testing.builders import (
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_frame,
    a_submission,
    an_agent,
)


@pytest.fixture
async def postgresql(postgres_url: str) -> AsyncIterator[SqlStore]:
    store = open_store(postgres_url)
    assert isinstance(store, SqlStore)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def other(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Another process's connection, in a transaction."""
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("SELECT set_config('tertulia.tenant', '*', false)")
    await connection.execute("BEGIN")
    yield connection
    await connection.close()


async def _two_runs(store: Store) -> list[Claim]:
    agent = await an_agent(store)
    conversations = [await a_conversation(store, agent) for _ in range(2)]
    return [await a_claimed_run(store, a_submission(each)) for each in conversations]


async def test_events_of_a_locked_run_are_neither_stored_nor_waited_for(
    postgresql: SqlStore, other: asyncpg.Connection
) -> None:
    locked, free = await _two_runs(postgresql)
    told = [(claim.lease, a_frame(0, 3)) for claim in (locked, free)]
    await other.execute("SELECT 1 FROM runs WHERE id = $1::text::uuid FOR UPDATE", _uuid(locked))

    while_locked = await postgresql.runs.record(told)
    await other.execute("ROLLBACK")
    later = await postgresql.runs.record(told)

    assert while_locked == {free.run.id}
    assert later == {locked.run.id, free.run.id}


async def test_events_of_an_owner_that_was_replaced_are_not_stored(
    postgresql: SqlStore, other: asyncpg.Connection
) -> None:
    claim, _ = await _two_runs(postgresql)
    told = [(claim.lease, a_frame(0, 3))]
    await other.execute("UPDATE runs SET epoch = epoch + 1 WHERE id = $1::text::uuid", _uuid(claim))

    while_it_is_replaced = await postgresql.runs.record(told)
    await other.execute("COMMIT")
    later = await postgresql.runs.record(told)

    assert while_it_is_replaced == later == set()
    assert await postgresql.runs.frames(DEFAULT_TENANT, claim.run.id) == []


async def test_run_is_not_taken_over_while_its_events_are_being_stored(
    postgresql: SqlStore, postgres_url: str
) -> None:
    conversation, slow = await a_conversation(postgresql), a_claimant(lease_us=OVER_AT_ONCE)
    claim = await a_claimed_run(postgresql, a_submission(conversation), claimant=slow)
    heir = open_store(postgres_url)
    await heir.open()

    async def unit(db: Connection) -> list[Claim]:
        await recording.record(db, [(claim.lease, a_frame(0, 3))])
        return await heir.runs.claim(a_claimant(), limit=9)

    meanwhile = await postgresql.database.write(unit, tenant=None)
    afterwards = await heir.runs.claim(a_claimant(), limit=9)
    await heir.close()

    assert meanwhile == []
    assert [taken.run.id for taken in afterwards] == [claim.run.id]
    assert await postgresql.runs.frames(DEFAULT_TENANT, claim.run.id) == [a_frame(0, 3)]


async def test_who_follows_a_long_run_is_given_what_he_has_not_seen(store: Store) -> None:
    claim, _ = await _two_runs(store)
    frames = [a_frame(first, first + 4) for first in range(0, 1_000, 5)]
    reaching_far = a_frame(901, 999)

    stored = await store.runs.record([(claim.lease, frame) for frame in [*frames, reaching_far]])

    assert stored == {claim.run.id}
    frames.insert(181, reaching_far)
    for after in (-1, 0, 4, 5, 500, 903, 904, 998, 999):
        unseen = [frame for frame in frames if frame.last_seq > after]
        read = await store.runs.frames(DEFAULT_TENANT, claim.run.id, after=after, limit=1_000)
        assert read == unseen


async def test_commit_stores_however_many_frames_it_brings(store: Store) -> None:
    claim, _ = await _two_runs(store)
    frames = tuple(a_frame(first, first + 1) for first in range(0, 200, 2))

    await store.runs.commit(claim.lease, Commit(frames=(a_frame(0), *frames)), None)

    assert await store.runs.frames(DEFAULT_TENANT, claim.run.id) == list(frames)


def _uuid(claim: Claim) -> str:
    return to_bytes(claim.run.id).hex()
