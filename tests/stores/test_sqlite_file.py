"""A SQLite file that other processes use too, on a disk and with a SQLite that may not do."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tertulia.errors import StoreBusy, StoreUnavailable
from tertulia.stores import StoreOptions, open_store
from tertulia.stores.sql.migrate import upgrade_sqlite
from tertulia.stores.sql.sqlite import SQLiteDatabase, SQLiteStore, refuse_old
from tertulia.testing.builders import a_claimant, a_conversation, a_submission, an_agent


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(SQLiteDatabase(tmp_path / "t.db", StoreOptions(busy_seconds=0.05)))
    await store.open()
    yield store
    await store.close()


_HOLD = """
import sqlite3, sys
raw = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2].split(";"):
    raw.execute(statement)
print("held", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def _held(path: Path, statement: str) -> AsyncIterator[None]:
    """Have another process hold a lock."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _HOLD, path, statement, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"held\n"
        yield
    finally:
        await process.communicate(b"")  # its end of file is what it waits for


async def test_who_writes_waits_for_another_process_for_a_bounded_time_and_who_reads_does_not(
    sqlite: SQLiteStore, tmp_path: Path
) -> None:
    agent = await an_agent(sqlite)

    async with _held(tmp_path / "t.db", "BEGIN IMMEDIATE"):
        with pytest.raises(StoreBusy) as caught:
            await a_conversation(sqlite, agent)
        read = await sqlite.agents.page(0)
        health = await sqlite.health()

    assert caught.value.retry_after == 1.0
    assert read == [agent]
    assert health.ready
    assert await a_conversation(sqlite, agent)


async def test_file_that_another_process_has_to_itself_is_waited_for_for_a_bounded_time(
    tmp_path: Path,
) -> None:
    upgrade_sqlite(tmp_path / "t.db")
    store = SQLiteStore(SQLiteDatabase(tmp_path / "t.db", StoreOptions(busy_seconds=0.05)))

    async with _held(tmp_path / "t.db", "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE"):
        with pytest.raises(StoreBusy):
            await store.open()
    await store.open()
    health = await store.health()
    await store.close()

    assert health.ready


@pytest.mark.parametrize("version", [(3, 34, 1), (3, 7)])
def test_sqlite_that_lacks_what_is_needed_is_refused(version: tuple[int, ...]) -> None:
    with pytest.raises(StoreUnavailable, match=r"3\.35 or newer"):
        refuse_old(version)


@pytest.mark.parametrize("version", [(3, 35), (3, 35, 0), (4, 0)])
def test_sqlite_that_is_new_enough_is_not(version: tuple[int, ...]) -> None:
    refuse_old(version)


async def test_version_of_sqlite_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    store = open_store(f"sqlite:///{tmp_path / 't.db'}")

    await store.open()
    await store.close()

    assert f"SQLite {sqlite3.sqlite_version}" in caplog.text


async def test_files_beside_the_database_are_for_its_owner_only(sqlite: SQLiteStore, tmp_path: Path) -> None:
    await an_agent(sqlite)

    files = await asyncio.to_thread(lambda: list(tmp_path.iterdir()))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files}

    assert modes == dict.fromkeys(["t.db", "t.db-wal", "t.db-shm", "t.db-owners", "t.db-ballast"], 0o600)


async def test_disk_without_room_from_the_beginning_takes_nothing_in_and_shows_what_there_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = open_store(f"sqlite:///{tmp_path / 't.db'}")
    await first.open()
    conversation = await a_conversation(first)
    await first.close()
    (tmp_path / "t.db-ballast").unlink()
    (tmp_path / "t.db-ballast").mkdir()  # in whose place no file can be put

    store = open_store(f"sqlite:///{tmp_path / 't.db'}")
    await store.open()
    with pytest.raises(StoreUnavailable, match="disk is full"):
        await store.runs.accept(a_submission(conversation), a_claimant())
    found = await store.conversations.get(0, conversation.id)
    health = await store.health()
    await store.close()

    assert found == conversation
    assert (health.ready, health.detail) == (False, "the disk is full; free some space and ask again")
    assert "the disk is full" in caplog.text
