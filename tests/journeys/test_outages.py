"""When the disk is full or the database away, callers are told so, and nothing that was accepted is lost."""

import asyncio
import resource
import sys
from collections.abc import Iterator

import pytest

from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.storm.listening import Heard
from tertulia.testing.storm.servers import Answer, Caller, Place, Server, serving
from tests.journeys.seeing import Outage, asked, check_history, texts, until
from tests.postgres import PostgresServer

_ATTEMPTS = 600


@pytest.fixture
def mortal() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test alone, with a migrated database ``kept``."""
    with PostgresServer() as server:
        server.make("kept")
        yield server


async def chat_until_taken(caller: Caller, server: Server, conversation: str, text: str) -> Answer:
    """Send a message again and again, under one key, while the server cannot take it."""
    for _ in range(_ATTEMPTS):
        answer = await caller.chat(server, conversation, text, key=text)
        if answer.status != 503:
            return answer
        await asyncio.sleep(0.05)
    raise AssertionError(f"never taken: {answer.body!r}")


@pytest.mark.skipif(sys.platform != "linux", reason="limits of other processes are Linux's")
async def test_full_disk_is_told_and_loses_nothing(sqlite_url: str, fake: FakeOpenAI, caller: Caller) -> None:
    place = Place(database_url=sqlite_url, fake=fake)
    fake.latency = 0.3

    async with serving(place) as server:
        name = await caller.begin(server)
        under_way = asyncio.create_task(caller.chat(server, name, "[[under way"))
        await asked(fake)
        _, most = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, most))
        refused = [await caller.chat(server, name, f"[[refused {i}") for i in range(3)]
        ready = await caller.get(server, "/livez")
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (most, most))
        again = await chat_until_taken(caller, server, name, "[[again")
        first = await under_way
        history = await check_history(place)

    assert [answer.status for answer in refused] == [503] * 3
    assert all("code" in answer.json for answer in refused)
    assert ready.status == 200
    assert (first.status, again.status) == (200, 200)
    assert texts(history, name) == ["[[under way", first.text, "[[again", again.text]


@pytest.mark.skipif(sys.platform != "linux", reason="limits of other processes are Linux's")
async def test_stream_goes_on_while_the_disk_is_full_and_is_kept_whole_later(
    sqlite_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=sqlite_url, fake=fake)
    fake.tps, fake.reply_chars = 10, 80

    async with serving(place) as server:
        heard = Heard(await caller.begin(server), "[[hello")
        listening = asyncio.create_task(caller.hear(server, heard))
        await until(lambda: bool(heard.spoken), "a part of the answer")
        _, most = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, most))
        await until(lambda: len(heard.spoken) == fake.reply_chars, "the whole answer")
        refused = Heard(heard.conversation, "[[refused")
        status = await caller.hear(server, refused)
        was_over = listening.done()
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (most, most))
        await listening
        again = await caller.replay(server, heard)
        history = await check_history(place)

    assert (status, was_over, refused.told) == (503, False, [])
    assert (heard.status, heard.faults) == ("completed", [])
    assert (again.places, again.spoken) == (heard.places, heard.spoken)
    assert texts(history, heard.conversation) == ["[[hello", heard.spoken]


async def test_streams_outlive_a_database_that_is_gone_for_three_seconds(
    mortal: PostgresServer, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=mortal.url("kept"), fake=fake, lease_seconds=10)
    fake.tps, fake.reply_chars = 5, 100

    async with serving(place) as server:
        agent = await caller.create_agent(server)
        names = [await caller.create_conversation(server, agent) for _ in range(6)]
        streams = [Heard(name, f"[[{i}") for i, name in enumerate(names)]
        listening = [asyncio.create_task(_hear_all(caller, server, heard)) for heard in streams]
        await until(lambda: all(heard.spoken for heard in streams), "a part of every answer")
        away = Outage()
        await asyncio.to_thread(mortal.crash)
        gone_until = asyncio.get_running_loop().time() + 3
        refused, ready = [], []
        while asyncio.get_running_loop().time() < gone_until:
            refused.append(await caller.chat(server, names[0], "[[refused", key="refused"))
            ready.append(await caller.get(server, "/readyz"))
            await asyncio.sleep(0.1)
        alive = await caller.get(server, "/livez")
        await asyncio.to_thread(mortal.restart)
        more = await chat_until_taken(caller, server, names[0], "[[more")
        await asyncio.gather(*listening)
        again = [await caller.replay(server, heard) for heard in streams]
        settled = await caller.get(server, "/readyz")
        history = await check_history(place, crashes=[away.over()])

    assert {answer.status for answer in refused} == {503}
    assert ({answer.status for answer in ready}, alive.status, settled.status) == ({503}, 200, 200)
    assert more.status == 200
    assert [(heard.status, heard.faults) for heard in streams] == [("completed", [])] * len(streams)
    assert [heard.places for heard in streams] == [replayed.places for replayed in again]
    assert [heard.spoken for heard in streams] == [texts(history, name)[1] for name in names]
    assert [run.epoch for run in history.runs] == [1] * len(history.runs)
    assert "[[refused" not in {message.text for message in history.messages}


async def _hear_all(caller: Caller, server: Server, heard: Heard) -> None:
    """Listen to the end; what cannot be told while the database is away is asked for again."""
    while heard.status is None:
        await caller.hear(server, heard)
        await asyncio.sleep(0.05)


async def test_database_that_crashes_while_runs_are_under_way_loses_nothing(
    mortal: PostgresServer, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=mortal.url("kept"), fake=fake, lease_seconds=1)
    fake.latency = 0.3

    async with serving(place) as server:
        names = [await caller.begin(server) for _ in range(4)]
        chats = [asyncio.create_task(caller.chat(server, name, f"[[{name}", key=name)) for name in names]
        await asked(fake, times=4)
        away = Outage()
        await asyncio.to_thread(mortal.crash)
        refused = await caller.chat(server, names[0], "[[refused", key="other")
        ready = await caller.get(server, "/readyz")
        await asyncio.to_thread(mortal.restart)
        answers = [await chat_until_taken(caller, server, name, "[[more") for name in names]
        first = await asyncio.gather(*chats)
        history = await check_history(place, crashes=[away.over()])

    assert (refused.status, ready.status) == (503, 503)
    assert {answer.status for answer in answers} == {200}
    assert {answer.status for answer in first} <= {200, 503}
    for name in names:
        assert texts(history, name)[::2] == [f"[[{name}", "[[more"]


async def test_database_that_crashes_again_and_again_loses_nothing(
    mortal: PostgresServer, fake: FakeOpenAI, caller: Caller
) -> None:
    place, crashes = Place(database_url=mortal.url("kept"), fake=fake, lease_seconds=1), []
    fake.latency = 0.05

    async with serving(place) as one, serving(place) as other:
        names = [await caller.begin(one) for _ in range(3)]

        async def talk(name: str, who: int) -> None:
            for i in range(8):
                server = (one, other)[i % 2]
                answer = await chat_until_taken(caller, server, name, f"[[{who} {name} {i}")
                assert answer.status == 200, answer.body

        talks = [asyncio.create_task(talk(name, who)) for who in range(2) for name in names]
        for _ in range(3):
            # For ever new runs to be under way each time.
            await asked(fake, times=fake.calls + 6)
            away = Outage()
            await asyncio.to_thread(mortal.crash)
            await asyncio.to_thread(mortal.restart)
            crashes.append(away.over())
        await asyncio.gather(*talks)
        history = await check_history(place, crashes=crashes)

    said = [each.text for each in history.messages if each.role == "user"]
    assert sorted(said) == sorted(
        f"[[{who} {name} {i}" for who in range(2) for name in names for i in range(8)
    )
