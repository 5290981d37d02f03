"""Several processes on one database: each run is one process's at a time, and never nobody's."""

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from time import perf_counter

import pytest

from tertulia.app import App
from tertulia.messages import now_us
from tertulia.runtime import RunOptions
from tertulia.settings import Settings
from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.history import Said
from tertulia.testing.storm.servers import Caller, Place, serving
from tests.journeys.seeing import Outage, asked, calls, check_history, texts

_KEY = "k"


async def test_stopped_replica_that_wakes_up_writes_nothing(
    postgres_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=postgres_url, fake=fake, lease_seconds=1)
    fake.script(["of the sleeper", "of the heir"])
    fake.latency = 0.5

    async with serving(place) as sleeper, serving(place) as heir:
        name = await caller.begin(sleeper)
        first = asyncio.create_task(caller.chat(sleeper, name, "[[hello", key=_KEY))
        await asked(fake)
        sleeper.signal(signal.SIGSTOP)
        stopped = Outage()
        second = await caller.chat(heir, name, "[[hello", key=_KEY)
        sleeper.signal(signal.SIGCONT)
        late = await first
        more = await caller.chat(sleeper, name, "[[more")
        history = await check_history(place, crashes=[stopped.over()])

    assert (second.text, late) == ("of the heir", second)
    assert texts(history, name) == ["[[hello", "of the heir", "[[more", more.text]
    assert [run.epoch for run in history.runs] == [2, 1]


async def test_process_that_slept_longer_than_its_lease_goes_on(
    database_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=database_url, fake=fake, lease_seconds=1)
    fake.latency = 2.0

    async with serving(place) as server:
        name = await caller.begin(server)
        chats = [asyncio.create_task(caller.chat(server, name, f"[[{i}", key=f"{i}")) for i in range(2)]
        await asked(fake)
        server.signal(signal.SIGSTOP)
        stopped = Outage()
        await asyncio.sleep(1.3)  # Leases are measured in real time.
        server.signal(signal.SIGCONT)
        answers = await asyncio.gather(*chats)
        history = await check_history(place, crashes=[stopped.over()])

    assert [answer.status for answer in answers] == [200, 200]
    assert len(texts(history, name)) == 4


async def test_processes_on_one_file_leave_each_others_live_runs_alone(
    sqlite_url: str, fake: FakeOpenAI, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(database_url=sqlite_url, fake=fake, lease_seconds=1)
    fake.latency = 2.5
    monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    settings = Settings(
        database_url=sqlite_url, model="openai-chat:fake-1", lease_seconds=1, shutdown_seconds=0
    )

    async with serving(place) as server:
        name, other = await caller.begin(server), await caller.begin(server)
        app = App(settings)
        await app.start()
        try:
            theirs = asyncio.create_task(caller.chat(server, name, "[[to the server"))
            await asked(fake)
            mine = await app.runtime.submit("[[to the program", conversation=other)
            late = await app.runtime.submit(
                "[[to both", conversation=name, options=RunOptions(idempotency_key=_KEY)
            )
            ends = [await mine.finished(), await late.finished()]
            assert (await theirs).status == 200
        finally:
            await app.stop()
        history = await check_history(place)

    assert [end.messages[0].number for end in ends] == [2, 4]
    assert {run.epoch for run in history.runs} == {1}
    assert set(calls(fake).values()) == {1}


async def test_three_processes_hammering_one_file_never_fail(
    sqlite_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    place, said = Place(database_url=sqlite_url, fake=fake), []

    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serving(place)) for _ in range(3)]
        shared = await caller.begin(servers[0])
        own = [await caller.begin(server) for server in servers]

        async def hammer(place: int, name: str) -> None:
            for i in range(15):
                text = f"[[{place} {name} {i}"
                answer = await caller.chat(servers[place], name, text)
                assert answer.status == 200, answer.body
                said.append(
                    Said(conversation_id=name[5:], text=text, answer=answer.text, is_acknowledged=True)
                )

        async with asyncio.TaskGroup() as group:
            for i in range(3):
                for name in (shared, own[i]):
                    group.create_task(hammer(i, name))
        await check_history(place, said=said)

    assert len(said) == 90


async def test_server_that_is_asked_to_stop_hands_over_at_once(
    database_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    # Whoever waited for this lease to run out would wait in vain.
    place = Place(database_url=database_url, fake=fake, lease_seconds=600)
    fake.latency = 0.5

    async with serving(place) as server:
        name = await caller.begin(server)
        chats = [asyncio.create_task(caller.chat(server, name, f"[[{i}", key=f"{i}")) for i in range(3)]
        await asked(fake)
        stopping = Outage()
        await server.terminate()
        told = await asyncio.gather(*chats)
    async with serving(place) as heir:
        answers = [await caller.chat(heir, name, f"[[{i}", key=f"{i}") for i in range(3)]
        history = await check_history(place, crashes=[stopping.over()])

    assert {answer.status for answer in told} == {503}
    assert all(answer.json["run_id"] for answer in told)
    assert {answer.status for answer in answers} == {200}
    assert [run.epoch for run in history.runs] == [2, 1, 1]


async def test_server_that_is_given_time_finishes_what_it_has_begun(
    sqlite_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=sqlite_url, fake=fake, shutdown_seconds=20)
    fake.latency = 0.5

    async with serving(place) as server:
        name = await caller.begin(server)
        chat = asyncio.create_task(caller.chat(server, name, "[[hello"))
        await asked(fake)
        await server.terminate()

    assert (await chat).status == 200
    await check_history(place)


async def test_server_answers_others_while_chats_are_under_way(
    sqlite_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=sqlite_url, fake=fake)
    fake.latency = 3.0

    async with serving(place) as server:
        names = [await caller.begin(server) for _ in range(10)]
        chats = [asyncio.create_task(caller.chat(server, name, "[[hello")) for name in names]
        await asked(fake, times=10)
        begun = perf_counter()
        answers = [
            await caller.get(server, path) for path in ("/livez", "/", "/readyz", "/agents/get-agents")
        ]
        taken = perf_counter() - begun

        assert not any(chat.done() for chat in chats)
        assert [answer.status for answer in answers] == [200] * 4
        assert {(await chat).status for chat in chats} == {200}
    sys.stdout.write(f"four requests beside ten chats: {taken * 1000:.1f} ms\n")


async def test_replica_takes_over_from_one_that_was_killed(
    postgres_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=postgres_url, fake=fake, lease_seconds=1)
    fake.latency = 0.3

    async with serving(place) as one, serving(place) as other:
        name = await caller.begin(one)
        chat = asyncio.create_task(caller.chat(one, name, "[[hello", key=_KEY))
        await asked(fake)
        killed, begun = Outage(), now_us()
        await one.kill()
        await asyncio.wait([chat])
        answer = await caller.chat(other, name, "[[hello", key=_KEY)
        history = await check_history(place, crashes=[killed.over()])

    assert answer.status == 200
    [run] = history.runs
    assert (run.epoch, run.ended_at or 0) > (2, begun)
    assert chat.exception() is not None
