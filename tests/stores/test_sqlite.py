import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest

from tertulia.errors import InvalidInput, StoreBusy, StoreUnavailable
from tertulia.ids import OWNER, new_id
from tertulia.messages import now_us
from tertulia.stores import StoreOptions, open_store
from tertulia.stores.sql.owners import Owners
from tertulia.stores.sql.sqlite import SQLiteDatabase, SQLiteStore
from tertulia.stores.sql.statements import Connection
from tertulia.testing.builders import a_claimant, a_conversation, a_finish, a_submission, an_agent


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(SQLiteDatabase(tmp_path / "t.db", StoreOptions(busy_seconds=0.05)))
    await store.open()
    yield store
    await store.close()


def _database(store: SQLiteStore) -> SQLiteDatabase:
    assert isinstance(store.database, SQLiteDatabase)
    return store.database


@pytest.mark.parametrize(("synchronous", "number"), [("FULL", 2), ("NORMAL", 1)])
async def test_writer_syncs_as_it_was_told(
    tmp_path: Path, synchronous: Literal["FULL", "NORMAL"], number: int
) -> None:
    database = SQLiteDatabase(tmp_path / "t.db", StoreOptions(synchronous=synchronous))
    await database.open()

    pragmas = [await database.pragma(name) for name in ("synchronous", "journal_mode", "secure_delete")]
    await database.close()

    assert pragmas == [number, "wal", 1]


async def test_writes_are_safe_against_power_loss_by_default(sqlite: SQLiteStore) -> None:
    assert await _database(sqlite).pragma("synchronous") == 2


async def test_writes_that_come_together_share_a_commit(sqlite: SQLiteStore) -> None:
    agent = await an_agent(sqlite)
    conversations = [await a_conversation(sqlite, agent) for _ in range(50)]
    before = _database(sqlite).commits

    await asyncio.gather(*[sqlite.runs.accept(a_submission(c), a_claimant()) for c in conversations])

    assert _database(sqlite).commits - before < 50


async def test_a_turn_takes_two_commits(sqlite: SQLiteStore) -> None:
    conversation, claimant = await a_conversation(sqlite), a_claimant()
    before = _database(sqlite).commits

    accepted = await sqlite.runs.accept(a_submission(conversation), claimant)
    assert accepted.claim is not None
    await sqlite.runs.commit(accepted.claim.lease, a_finish("answer"), claimant)

    assert _database(sqlite).commits - before == 2


async def test_unit_that_fails_undoes_its_own_writes_only(sqlite: SQLiteStore) -> None:
    agent = await an_agent(sqlite)
    gate = threading.Event()

    async def hold(_: Connection) -> None:
        gate.wait(5)

    async def fail(db: Connection) -> None:
        raise LookupError

    holding = asyncio.create_task(_database(sqlite).write(hold))
    await asyncio.sleep(0)
    writes = [
        asyncio.create_task(a_conversation(sqlite, agent)),
        asyncio.create_task(_database(sqlite).write(fail)),
        asyncio.create_task(a_conversation(sqlite, agent)),
    ]
    await asyncio.sleep(0)
    gate.set()
    results = await asyncio.gather(holding, *writes, return_exceptions=True)

    assert isinstance(results[2], LookupError)
    assert await sqlite.conversations.page(0, agent.id) == [results[1], results[3]]


async def test_group_fails_together_when_its_commit_fails(sqlite: SQLiteStore, tmp_path: Path) -> None:
    agent = await an_agent(sqlite)
    other = sqlite3.connect(tmp_path / "t.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    results = await asyncio.gather(*[a_conversation(sqlite, agent) for _ in range(3)], return_exceptions=True)
    other.execute("ROLLBACK")
    other.close()

    assert [type(result) for result in results] == [StoreBusy] * 3
    assert await sqlite.conversations.page(0, agent.id) == []


async def test_full_disk_is_told_and_loses_nothing(sqlite: SQLiteStore) -> None:
    conversation, claimant = await a_conversation(sqlite), a_claimant()
    pages = await _database(sqlite).pragma("page_count")
    await _database(sqlite).pragma(f"max_page_count = {pages}")

    with pytest.raises(StoreUnavailable, match="disk is full"):
        for _ in range(100):
            accepted = await sqlite.runs.accept(a_submission(conversation, "x" * 4000), claimant)
            assert accepted.claim is not None
            await sqlite.runs.commit(accepted.claim.lease, a_finish("y" * 4000), claimant)
    await _database(sqlite).pragma("max_page_count = 1000000")

    head = (await sqlite.conversations.get(0, conversation.id)).head
    numbers = [m.number for m in await sqlite.conversations.messages(0, conversation.id, limit=1000)]
    assert numbers == list(range(1, head + 1))
    assert (await sqlite.runs.accept(a_submission(conversation), claimant)).is_new


async def test_unit_that_waits_for_anything_else_is_a_fault(sqlite: SQLiteStore) -> None:
    async def wait(_: Connection) -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="waited"):
        await _database(sqlite).write(wait)


async def test_many_writers_on_one_file_all_succeed(tmp_path: Path) -> None:
    stores = [open_store(f"sqlite:///{tmp_path / 't.db'}") for _ in range(3)]
    for store in stores:
        await store.open()
    conversation = await a_conversation(stores[0])

    accepted = await asyncio.gather(
        *[stores[i % 3].runs.accept(a_submission(conversation, f"{i}"), None) for i in range(360)],
        return_exceptions=True,
    )
    pending = await stores[0].conversations.pending(0, conversation.id)
    for store in stores:
        await store.close()

    assert not [error for error in accepted if isinstance(error, BaseException)]
    assert len(pending) == 360


async def test_closed_store_says_so(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 't.db'}")
    await store.open()
    await store.close()
    await store.close()

    with pytest.raises(StoreUnavailable):
        await store.agents.page(0)
    assert not (await store.health()).ready


async def test_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.db").write_text("certainly no database" * 100)
    store = open_store(f"sqlite:///{tmp_path / 't.db'}")

    with pytest.raises(StoreUnavailable, match=r"t\.db"):
        await store.open()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
async def test_url_without_a_file_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        open_store(url)


async def test_lease_clock_is_the_time(sqlite: SQLiteStore) -> None:
    before = now_us()
    accepted = await sqlite.runs.accept(
        a_submission(await a_conversation(sqlite)), a_claimant(lease_us=1_000_000)
    )
    with sqlite3.connect(_database(sqlite).path) as raw:
        [(until,)] = raw.execute("SELECT lease_until FROM runs").fetchall()
    raw.close()

    assert accepted.claim is not None
    assert abs(until - 1_000_000 - before) < 5_000_000


async def test_leases_of_a_process_that_died_are_not_waited_for(tmp_path: Path) -> None:
    url, claimant = f"sqlite:///{tmp_path / 't.db'}", a_claimant()
    dead, heir = open_store(url), open_store(url)
    await dead.open()
    await heir.open()
    accepted = await dead.runs.accept(a_submission(await a_conversation(dead)), a_claimant())

    before = await heir.runs.claim(claimant, limit=9)
    await dead.close()
    after = await heir.runs.claim(claimant, limit=9)
    await heir.close()

    assert before == []
    assert [claim.run.id for claim in after] == [accepted.run.id]


async def test_owner_without_a_lock_of_its_own_would_count_as_dead_so_it_gets_one_first(
    tmp_path: Path,
) -> None:
    owners, others = Owners(tmp_path / "owners"), Owners(tmp_path / "owners")
    [mine, theirs] = [new_id(OWNER) for _ in range(2)]

    owners.hold(mine)
    others.hold(theirs)

    assert [owners.is_gone(mine), owners.is_gone(theirs), others.is_gone(mine)] == [False] * 3
    others.close()
    assert owners.is_gone(theirs)
    owners.close()
