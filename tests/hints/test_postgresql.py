import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tertulia.hints import EVERYTHING, WORK, Hints, open_hints
from tertulia.hints.packing import MAX_RUNS
from tertulia.hints.postgresql import CHANNEL
from tertulia.testing.hints_contract import LIMIT_SECONDS, Ear, a_run

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tertulia-hints'"


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Any]:
    """A connection to look and to cut with."""
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
async def hints(postgres_url: str, ear: Ear) -> AsyncIterator[Hints]:
    opened = open_hints(postgres_url)
    await opened.open(ear)
    yield opened
    await opened.close()


async def test_cut_connection_is_taken_up_again(hints: Hints, ear: Ear, database: Any) -> None:
    for _ in range(3):
        ear.heard.clear()
        run = a_run()

        cut = await database.fetch(CUT)
        await ear.until(EVERYTHING)
        hints.ring({run})
        await ear.until(run)

        assert len(cut) == 1


async def test_connection_that_is_cut_while_it_is_used_is_taken_up_again(
    hints: Hints, ear: Ear, database: Any
) -> None:
    run = a_run()

    async def ring_on() -> None:
        while EVERYTHING not in ear.topics:
            hints.ring({run})
            await asyncio.sleep(0)

    async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as tasks:
        tasks.create_task(ring_on())
        tasks.create_task(database.fetch(CUT))

    hints.ring({WORK})
    await ear.until(WORK)


async def test_closing_a_connection_that_was_just_cut_is_closing(
    postgres_url: str, ear: Ear, database: Any
) -> None:
    hints = open_hints(postgres_url)
    await hints.open(ear)

    hints.ring({a_run()})
    await database.fetch(CUT)
    await hints.close()

    assert await _connections(database) == 0


async def test_one_connection_is_all_and_it_holds_nothing(hints: Hints, ear: Ear, database: Any) -> None:
    hints.ring({WORK})
    await ear.until(WORK)

    states = await database.fetch(
        "SELECT backend_xid, state FROM pg_stat_activity WHERE application_name = 'tertulia-hints'"
    )

    assert [(row["backend_xid"], row["state"]) for row in states] == [(None, "idle")]


async def test_closed_hints_leave_no_connection(postgres_url: str, database: Any) -> None:
    hints = open_hints(postgres_url)
    await hints.open(lambda _: None)
    await hints.close()

    assert await _connections(database) == 0


async def test_as_many_runs_as_are_named_one_by_one_fit(hints: Hints, ear: Ear) -> None:
    runs = {a_run() for _ in range(MAX_RUNS)}

    hints.ring(runs)
    await ear.until(*runs)

    assert EVERYTHING not in ear.topics


async def test_what_somebody_else_says_on_our_channel_does_no_harm(
    hints: Hints, ear: Ear, database: Any
) -> None:
    await database.execute(f"NOTIFY {CHANNEL}")
    await database.execute(f"NOTIFY {CHANNEL}, 'hello'")
    await ear.until(EVERYTHING)
    hints.ring({WORK})

    await ear.until(WORK)


@pytest.mark.parametrize("port", ["", ":99999999"])
async def test_database_that_is_not_there_keeps_nobody_from_starting(tmp_path: Path, port: str) -> None:
    hints = open_hints(f"postgresql://nobody@{'localhost' if port else ''}{port}/nothing?host={tmp_path}")

    await hints.open(lambda _: None)
    hints.ring({WORK})
    await hints.close()


async def _connections(database: Any) -> int:
    """Count the connections for hints, once those that were closed have gone."""
    left = 1
    async with asyncio.timeout(LIMIT_SECONDS):
        for _ in range(1000):
            left = await database.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tertulia-hints'"
            )
            if left == 0:
                break
    return int(left)
