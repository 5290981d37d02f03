import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tertulia.hints import EVERYTHING, WORK, Hints, open_hints
from tertulia.hints.packing import MAX_RUNS
from tertulia.testing.hints_contract import LIMIT_SECONDS, Ear, a_run
from tests.valkey import ValkeyServer


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """A server that a test may kill."""
    with ValkeyServer() as own:
        yield own


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
async def hints(server: ValkeyServer, ear: Ear) -> AsyncIterator[Hints]:
    opened = open_hints(server.url)
    await opened.open(ear)
    yield opened
    await opened.close()


async def test_connection_that_hears_is_taken_up_again(hints: Hints, ear: Ear, server: ValkeyServer) -> None:
    for _ in range(3):
        ear.heard.clear()
        run = a_run()

        server.say("CLIENT", "KILL", "TYPE", "pubsub")
        await ear.until(EVERYTHING)
        hints.ring({run})
        await ear.until(run)


async def test_connection_that_rings_is_taken_up_again(hints: Hints, ear: Ear, server: ValkeyServer) -> None:
    for _ in range(3):
        run = a_run()

        server.say("CLIENT", "KILL", "TYPE", "normal")
        hints.ring({run})
        await ear.until_all({run})


async def test_server_that_was_killed_is_found_when_it_is_back(
    hints: Hints, ear: Ear, server: ValkeyServer
) -> None:
    run = a_run()

    server.kill()
    hints.ring({a_run()})
    await asyncio.to_thread(server.start)
    await ear.until(EVERYTHING)
    hints.ring({run})

    await ear.until(run)


async def test_server_that_comes_later_is_found(server: ValkeyServer, ear: Ear) -> None:
    server.kill()
    hints, run = open_hints(server.url), a_run()
    await hints.open(ear)

    await asyncio.to_thread(server.start)
    await ear.until(EVERYTHING)
    hints.ring({run})
    await ear.until(run)

    await hints.close()


async def test_closing_when_the_server_was_killed_is_closing(server: ValkeyServer) -> None:
    hints = open_hints(server.url)
    await hints.open(lambda _: None)
    server.kill()

    hints.ring({WORK})
    await hints.close()


async def test_closed_hints_leave_no_connection(server: ValkeyServer) -> None:
    hints = open_hints(server.url)
    await hints.open(lambda _: None)
    await hints.close()

    async with asyncio.timeout(LIMIT_SECONDS):
        while "connected_clients:1\r\n" not in await asyncio.to_thread(server.say, "INFO", "clients"):
            pass


async def test_as_many_runs_as_are_named_one_by_one_are(hints: Hints, ear: Ear) -> None:
    runs = {a_run() for _ in range(MAX_RUNS)}

    hints.ring(runs)
    await ear.until(*runs)

    assert EVERYTHING not in ear.topics
