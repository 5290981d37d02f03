"""When the disk is full or the database away, callers are told so, and nothing that was accepted is lost."""

import asyncio
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tertulia.stores.sql.migrate import upgrade
from tertulia.testing.fake_openai import FakeOpenAI
from tests.journeys.seeing import Outage, asked, check_history, texts
from tests.journeys.servers import Answer, Caller, Place, Server, serving
from tests.postgres import PostgresServer

_ATTEMPTS = 600


class MortalPostgres(PostgresServer):
    """A server that can be stopped hard, and started again on what it has kept."""

    def stop_hard(self) -> None:
        """End it as a crash would: nobody is waited for, nothing is written out."""
        assert self._server is not None
        self._server.send_signal(signal.SIGQUIT)
        self._server.wait(30)

    def start_again(self) -> None:
        """Start it, and wait until it has recovered."""
        assert self._server is not None
        with (self._home / "log").open("ab") as log:
            self._server = subprocess.Popen(
                self._server.args,
                cwd=self._home,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._owner,
            )
        self._wait_until_ready(self._server)


@pytest.fixture
def mortal() -> Iterator[MortalPostgres]:
    """A PostgreSQL server of this test alone, with a migrated database ``kept``."""
    with MortalPostgres() as server:
        server.execute("CREATE DATABASE kept")
        upgrade(server.url("kept"))
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


async def test_database_that_crashes_while_runs_are_under_way_loses_nothing(
    mortal: MortalPostgres, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=mortal.url("kept"), fake=fake, lease_seconds=1)
    fake.latency = 0.3

    async with serving(place) as server:
        names = [await caller.begin(server) for _ in range(4)]
        chats = [asyncio.create_task(caller.chat(server, name, f"[[{name}", key=name)) for name in names]
        await asked(fake, times=4)
        away = Outage()
        await asyncio.to_thread(mortal.stop_hard)
        refused = await caller.chat(server, names[0], "[[refused", key="other")
        ready = await caller.get(server, "/readyz")
        await asyncio.to_thread(mortal.start_again)
        answers = [await chat_until_taken(caller, server, name, "[[more") for name in names]
        first = await asyncio.gather(*chats)
        history = await check_history(place, crashes=[away.over()])

    assert (refused.status, ready.status) == (503, 503)
    assert {answer.status for answer in answers} == {200}
    assert {answer.status for answer in first} <= {200, 503}
    for name in names:
        assert texts(history, name)[::2] == [f"[[{name}", "[[more"]


async def test_database_that_crashes_again_and_again_loses_nothing(
    mortal: MortalPostgres, fake: FakeOpenAI, caller: Caller
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
            await asyncio.to_thread(mortal.stop_hard)
            await asyncio.to_thread(mortal.start_again)
            crashes.append(away.over())
        await asyncio.gather(*talks)
        history = await check_history(place, crashes=crashes)

    said = [each.text for each in history.messages if each.role == "user"]
    assert sorted(said) == sorted(
        f"[[{who} {name} {i}" for who in range(2) for name in names for i in range(8)
    )
