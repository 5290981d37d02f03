import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import bindparam, update

from tertulia.conversations import RunStatus
from tertulia.definitions import StoredAgent
from tertulia.errors import InvalidInput, StoreBusy, StoreUnavailable
from tertulia.ids import OWNER, new_id, to_bytes
from tertulia.messages import now_us
from tertulia.stores import StoreOptions, open_store
from tertulia.stores.sql.database import Clash
from tertulia.stores.sql.owners import Owners
from tertulia.stores.sql.schema import AGENTS
from tertulia.stores.sql.sqlite import SQLiteDatabase, SQLiteStore
from tertulia.stores.sql.statements import Connection, Statement
from tertulia.testing.builders import (
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_finish,
    a_submission,
    an_agent,
)


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


_RENAME = Statement(
    update(AGENTS).where(AGENTS.c.id == bindparam("agent")).values(name=bindparam("new_name"))
)


async def _rename(db: Connection, agent: StoredAgent, name: str) -> None:
    await db.run(_RENAME, {"agent": to_bytes(agent.id), "new_name": name})


async def _in_one_group(database: SQLiteDatabase, *writes: Coroutine[Any, Any, object]) -> list[object]:
    """Have all this written in one transaction; return results and errors."""
    gate, before = threading.Event(), database.commits

    async def hold(_: Connection) -> None:
        gate.wait(5)

    holding = asyncio.create_task(database.write(hold, tenant=None))
    await asyncio.sleep(0)
    tasks = [asyncio.create_task(write) for write in writes]
    await asyncio.sleep(0)
    gate.set()
    _, *results = await asyncio.gather(holding, *tasks, return_exceptions=True)
    assert database.commits - before <= 2
    return results


async def test_unit_that_fails_undoes_its_own_writes_only(sqlite: SQLiteStore) -> None:
    agent = await an_agent(sqlite)

    async def fail(db: Connection) -> None:
        await _rename(db, agent, "Half")
        raise LookupError

    first, failed, second = await _in_one_group(
        _database(sqlite),
        a_conversation(sqlite, agent),
        _database(sqlite).write(fail, tenant=None),
        a_conversation(sqlite, agent),
    )

    assert isinstance(failed, LookupError)
    assert await sqlite.conversations.page(0, agent.id) == [first, second]
    assert await sqlite.agents.get(0, "Chef") == agent


async def test_unit_that_clashes_half_way_undoes_its_own_writes_only(sqlite: SQLiteStore) -> None:
    one, other = [await an_agent(sqlite, name=name) for name in ("One", "Other")]

    async def clash(db: Connection) -> None:
        await _rename(db, one, "Taken")
        await _rename(db, other, "Taken")

    first, failed, second = await _in_one_group(
        _database(sqlite),
        a_conversation(sqlite, one),
        _database(sqlite).write(clash, tenant=None),
        a_conversation(sqlite, other),
    )

    assert isinstance(failed, Clash)
    assert await sqlite.conversations.page(0, one.id) == [first]
    assert await sqlite.conversations.page(0, other.id) == [second]
    assert [await sqlite.agents.get(0, name) for name in ("One", "Other")] == [one, other]


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
        await _database(sqlite).write(wait, tenant=None)


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


def _names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


async def test_the_last_folder_of_a_path_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    for url in ("sqlite:///kept/t.db", f"sqlite:///{tmp_path / 'here' / 't.db'}"):
        store = open_store(url)
        await store.open()
        await store.close()

    assert _names_in(tmp_path) == ["here", "kept"]


@pytest.mark.parametrize("path", ["{here}/typo/kept/t.db", "/a-typo-at-the-root/t.db", "typo/kept/t.db"])
async def test_folders_that_are_not_there_are_taken_for_a_mistake(path: str, tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{path.format(here=tmp_path)}")

    with pytest.raises(StoreUnavailable, match=r"no folder .*typo.*: make it"):
        await store.open()

    assert _names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("x.db", "write sqlite:///x.db"),
        ("/srv/x.db", "write sqlite:////srv/x.db"),
        ("me:secret@host/x", "write sqlite:///file.db"),
        ("", "write sqlite:///file.db"),
        ("mysql://me:secret@host/x", "no store for 'mysql' URLs; use one of: memory, sqlite, postgresql"),
    ],
)
def test_what_is_no_url_of_a_store_is_answered_with_what_to_write(url: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        open_store(url)

    assert str(caught.value).endswith(told)
    assert "secret" not in str(caught.value)


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


async def test_file_reached_by_another_name_makes_nobody_dead(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "t.db")
    one, other = [open_store(f"sqlite:///{tmp_path / name}") for name in ("t.db", "link.db")]
    await one.open()
    await other.open()
    accepted = await one.runs.accept(a_submission(await a_conversation(one)), a_claimant())

    found = await other.runs.claim(a_claimant(), limit=9)
    seen = await other.runs.get(0, accepted.run.id)
    await one.close()
    await other.close()

    assert found == []
    assert (seen.status, seen.epoch) == (RunStatus.RUNNING, 1)


async def test_owners_whose_file_was_deleted_meanwhile_are_not_dead(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 't.db'}"
    one, other = open_store(url), open_store(url)
    await one.open()
    agent = await an_agent(one)
    await one.runs.accept(a_submission(await a_conversation(one, agent)), a_claimant())
    (tmp_path / "t.db-owners").unlink()
    await other.open()
    await other.runs.accept(a_submission(await a_conversation(other, agent)), a_claimant())

    found = [await store.runs.claim(a_claimant(), limit=9) for store in (one, other)]
    await one.close()
    await other.close()

    assert found == [[], []]


async def test_run_that_cannot_be_read_keeps_no_other_from_being_claimed(
    sqlite: SQLiteStore, caplog: pytest.LogCaptureFixture
) -> None:
    agent = await an_agent(sqlite)
    gone = a_claimant(lease_us=OVER_AT_ONCE)
    broken, whole = [
        await a_claimed_run(sqlite, a_submission(await a_conversation(sqlite, agent)), claimant=gone)
        for _ in range(2)
    ]
    with sqlite3.connect(_database(sqlite).path) as raw:
        raw.execute("UPDATE runs SET options = '{' WHERE id = ?", (to_bytes(broken.run.id),))
    raw.close()

    claims = await sqlite.runs.claim(a_claimant(), limit=9)

    assert [claim.run.id for claim in claims] == [whole.run.id]
    assert "cannot be read" in caplog.text
