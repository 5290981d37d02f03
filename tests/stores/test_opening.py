"""A store is opened once, however often and by however many."""

import asyncio
import gc
import threading
import warnings
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tertulia.ids import OWNER, new_id
from tertulia.stores import StoreOptions, open_store
from tertulia.stores.sql.owners import Owners
from tertulia.stores.sql.sqlite import SQLiteDatabase
from tertulia.testing.builders import an_agent


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SQLiteDatabase]:
    """One that is not open yet."""
    made = SQLiteDatabase(tmp_path / "t.db", StoreOptions())
    yield made
    await made.close()


def _threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name.startswith("tertulia-")}


async def test_file_that_is_opened_by_several_at_once_is_opened_once(database: SQLiteDatabase) -> None:
    before = _threads()

    await asyncio.gather(*[database.open() for _ in range(4)])
    during = _threads() - before
    await database.close()

    assert sorted(each.name for each in during) == ["tertulia-reader", "tertulia-writer"]
    assert _threads() == before


async def test_opening_an_open_file_lets_its_threads_and_owners_live(database: SQLiteDatabase) -> None:
    await database.open()
    during, held = _threads(), new_id(OWNER)
    database.hold(held)

    await database.open()
    others = Owners(database.path.with_name("t.db-owners"))

    assert _threads() == during
    assert not others.is_gone(held)
    others.close()


async def test_closing_waits_for_an_opening_that_has_begun(database: SQLiteDatabase) -> None:
    before = _threads()

    for _ in range(5):
        await asyncio.gather(database.open(), database.close())
        await database.close()

    assert _threads() == before


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[asyncpg.Pool]:
    """All pools that are made, in their order."""
    make, made = asyncpg.create_pool, []

    async def kept(*given: object, **more: object) -> asyncpg.Pool:
        made.append(await make(*given, **more))
        return made[-1]

    monkeypatch.setattr(asyncpg, "create_pool", kept)
    return made


async def test_store_that_is_opened_by_several_at_once_keeps_one_pool(
    postgres_url: str, pools: list[asyncpg.Pool]
) -> None:
    store = open_store(postgres_url)

    await asyncio.gather(*[store.open() for _ in range(3)])
    kept, count = [pool for pool in pools if not pool.is_closing()], len(pools)
    await store.open()
    await an_agent(store)
    await store.close()

    assert len(kept) == 1
    assert len(pools) == count
    assert all(pool.is_closing() for pool in pools)


def test_store_whose_event_loop_has_ended_is_opened_again(
    postgres_url: str, pools: list[asyncpg.Pool]
) -> None:
    store = open_store(postgres_url)

    async def use_again() -> None:
        await store.open()
        await an_agent(store)
        await store.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the first loop leaves its connections behind
        asyncio.run(store.open())
        asyncio.run(use_again())
        left, used = pools
        assert used.is_closing()
        pools.clear()
        del left
        gc.collect()
