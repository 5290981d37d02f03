"""Streams can be left and gone on with anywhere: what was heard is what is kept, whoever dies meanwhile."""

import asyncio
import random
import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing

import pytest

from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.reading import read_everything
from tertulia.testing.storm.listening import Heard
from tertulia.testing.storm.servers import CANNOT_CONNECT, Caller, Place, Server, serving
from tests.conftest import Times
from tests.journeys.seeing import Outage, calls, check_history, texts, until

_AT_ONCE = 10
_LEASE_SECONDS = 1


async def hear_to_the_end(
    caller: Caller, servers: Sequence[Server], heard: Heard, dice: random.Random
) -> None:
    """Listen on any of these servers, leave at any moment, and go on, until the run has ended."""
    while heard.status is None:
        leave_at = dice.choice([None, dice.randint(1, 12), dice.randint(1, 12)])
        await caller.hear(dice.choice(servers), heard, leave_at=leave_at)


async def test_streams_that_are_left_anywhere_go_on_anywhere(
    database_url: str, fake: FakeOpenAI, caller: Caller, times: Times
) -> None:
    place, room = Place(database_url=database_url, fake=fake), asyncio.Semaphore(_AT_ONCE)
    dice = random.Random(11)  # noqa: S311
    fake.tps, fake.reply_chars = 40, 60

    async with serving(place) as one, serving(place) as other:
        agent = await caller.create_agent(one)
        names = [await caller.create_conversation(one, agent) for _ in range(times(25, 200))]
        streams = [Heard(name, f"[[{i}") for i, name in enumerate(names)]

        async def listen(heard: Heard) -> None:
            async with room:
                await hear_to_the_end(caller, (one, other), heard, dice)

        await asyncio.gather(*map(listen, streams))
        again = [await caller.replay(dice.choice((one, other)), heard) for heard in streams]
        history = await check_history(place)

    assert [heard.faults for heard in (*streams, *again)] == [[]] * 2 * len(streams)
    assert {heard.status for heard in streams} == {"completed"}
    assert [heard.places for heard in streams] == [replayed.places for replayed in again]
    assert [heard.spoken for heard in streams] == [texts(history, heard.conversation)[1] for heard in streams]


async def test_stream_goes_on_elsewhere_when_the_owner_is_killed_in_the_middle(
    database_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=database_url, fake=fake, lease_seconds=_LEASE_SECONDS)
    fake.tps, fake.reply_chars = 10, 80

    async with serving(place) as owner, serving(place) as other:
        heard = Heard(await caller.begin(owner), "[[hello")
        await caller.hear(owner, heard, leave_at=1)
        listening = asyncio.create_task(caller.hear(other, heard))
        await until(lambda: len(heard.spoken) > 8, "a part of the answer")
        killed = Outage()
        await owner.kill()
        await until(lambda: heard.has("step.restarted"), "an heir")
        late = await caller.replay(other, heard)
        await listening
        again = await caller.replay(other, heard)
        history = await check_history(place, crashes=[killed.over()])

    assert (heard.status, heard.faults) == ("completed", [])
    assert heard.spoken == texts(history, heard.conversation)[1]
    assert (late.places, late.faults) == (heard.places, [])
    assert (again.places, again.faults) == (heard.places, [])
    [run] = history.runs
    assert run.epoch == 2


async def stop_between_writes(owner: Server, database_url: str) -> None:
    """Stop a process where it holds no lock of a file, which nobody else could write to then."""
    owner.signal(signal.SIGSTOP)
    path = database_url.removeprefix("sqlite:///")
    while path != database_url and not can_be_written(path):
        owner.signal(signal.SIGCONT)
        await asyncio.sleep(0.02)
        owner.signal(signal.SIGSTOP)


def can_be_written(path: str) -> bool:
    """Whether nobody holds the lock of a database file."""
    with closing(sqlite3.connect(path, timeout=0.2, isolation_level=None)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
    return True


async def test_owner_that_was_stopped_in_the_middle_of_a_stream_writes_nothing_when_it_wakes(
    database_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=database_url, fake=fake, lease_seconds=_LEASE_SECONDS)
    # Pieces come so rarely that the owner stands still between two writes, holding no lock.
    fake.tps, fake.reply_chars = 2, 24

    async with serving(place) as owner, serving(place) as heir:
        heard = Heard(await caller.begin(owner), "[[hello")
        await caller.hear(owner, heard, leave_at=1)
        listening = asyncio.create_task(caller.hear(heir, heard))
        await until(lambda: heard.has("text.delta"), "a part of the answer")
        await stop_between_writes(owner, database_url)
        stopped = Outage()
        await listening
        before = await read_everything(database_url)
        owner.signal(signal.SIGCONT)
        await asyncio.sleep(4)  # The rest of the answer takes it so long, and then it would write.
        after = await read_everything(database_url)
        again, late = await caller.replay(heir, heard), await caller.replay(owner, heard)
        history = await check_history(place, crashes=[stopped.over()])

    assert after == before
    assert (heard.status, heard.faults) == ("completed", [])
    assert again.places == heard.places
    # What the owner has told last may be heard of nobody but itself, and is void.
    assert (late.spoken, late.status, late.faults) == (heard.spoken, "completed", [])
    assert [run.epoch for run in history.runs] == [2]


@pytest.mark.parametrize("where", ["here", "elsewhere"])
async def test_cancelled_run_ends_its_stream_and_asks_the_model_no_more(
    database_url: str, fake: FakeOpenAI, caller: Caller, where: str
) -> None:
    place = Place(database_url=database_url, fake=fake)
    # Ten minutes, if nobody stops it.
    fake.tps, fake.reply_chars = 10, 24_000

    async with serving(place) as owner, serving(place) as other:
        heard = Heard(await caller.begin(owner), "[[long")
        listening = asyncio.create_task(caller.hear(owner, heard))
        await until(lambda: len(heard.spoken) > 8, "a part of the answer")
        asked = owner if where == "here" else other
        cancelled = await caller.post(asked, f"/v1/runs/{heard.run_id}/cancel", {})
        await listening
        fake.tps, fake.reply_chars = 0, 20
        more = await caller.chat(owner, heard.conversation, "[[more")
        history = await check_history(place)

    assert (cancelled.status, cancelled.json["status"]) == (200, "cancelled")
    assert (heard.status, heard.told[-1].kind, heard.faults) == ("cancelled", "run.finished", [])
    assert texts(history, heard.conversation) == ["[[long", "[[more", more.text]
    assert calls(fake) == {"[[long": 1, "[[more": 1}
    assert fake.aborted == 1


async def test_cancelled_run_keeps_what_it_has_said_if_that_is_wanted(
    database_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=database_url, fake=fake)
    fake.tps, fake.reply_chars = 10, 24_000

    async with serving(place) as owner, serving(place) as other:
        heard = Heard(await caller.begin(owner), "[[long")
        listening = asyncio.create_task(caller.hear(owner, heard))
        await until(lambda: len(heard.spoken) > 8, "a part of the answer")
        await caller.post(other, f"/v1/runs/{heard.run_id}/cancel", {"keep_partial": True})
        await listening
        history = await check_history(place)

    assert (heard.status, heard.faults) == ("cancelled", [])
    assert texts(history, heard.conversation) == ["[[long", heard.spoken]


@pytest.mark.parametrize("where", ["here", "elsewhere"])
@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
async def test_newer_message_takes_the_place_of_a_stream_under_way(
    database_url: str, fake: FakeOpenAI, caller: Caller, strategy: str, where: str
) -> None:
    place = Place(database_url=database_url, fake=fake)
    fake.tps, fake.reply_chars = 10, 24_000

    async with serving(place) as owner, serving(place) as other:
        heard = Heard(await caller.begin(owner), "[[old")
        listening = asyncio.create_task(caller.hear(owner, heard))
        await until(lambda: len(heard.spoken) > 8, "a part of the answer")
        fake.tps, fake.reply_chars = 0, 20
        newer = Heard(heard.conversation, "[[new", {"multitask_strategy": strategy})
        await caller.hear(owner if where == "here" else other, newer)
        await listening
        history = await check_history(place)

    assert (heard.status, heard.faults) == ("cancelled", [])
    assert (newer.status, newer.faults) == ("completed", [])
    assert texts(history, heard.conversation) == ["[[old", "[[new", newer.spoken]
    is_back = strategy == "rollback"
    assert [each.is_withdrawn for each in history.messages] == [is_back, False, False]
    # What was withdrawn is not shown to the model.
    assert newer.spoken.startswith("m=1 " if is_back else "m=2 ")


async def test_server_that_is_asked_to_stop_tells_every_stream_where_to_go_on(
    database_url: str, fake: FakeOpenAI, caller: Caller, times: Times
) -> None:
    place = Place(database_url=database_url, fake=fake, lease_seconds=600, shutdown_seconds=3)
    fake.tps, fake.reply_chars = 4, 80
    dice = random.Random(3)  # noqa: S311

    async with serving(place) as leaving, serving(place) as staying:
        agent = await caller.create_agent(leaving)
        names = [await caller.create_conversation(leaving, agent) for _ in range(times(8, 50))]
        streams = [Heard(name, f"[[{i}") for i, name in enumerate(names)]
        listening = [asyncio.create_task(caller.hear(leaving, heard)) for heard in streams]
        await until(lambda: all(heard.spoken for heard in streams), "a part of every answer")
        stopping = Outage()
        leaving.signal(signal.SIGTERM)
        await _until_not_ready(caller, leaving)
        assert not any(task.done() for task in listening)
        async with asyncio.timeout(place.shutdown_seconds + 10):
            code = await leaving.ended()
        await asyncio.gather(*listening)
        resumed = [heard.resumptions for heard in streams]
        fake.tps = 0
        await asyncio.gather(*(hear_to_the_end(caller, [staying], heard, dice) for heard in streams))
        again = [await caller.replay(staying, heard) for heard in streams]
        history = await check_history(place, crashes=[stopping.over()])

    assert code in {0, -signal.SIGTERM}, leaving.log
    assert resumed == [1] * len(streams)
    assert [heard.faults for heard in (*streams, *again)] == [[]] * 2 * len(streams)
    assert [heard.places for heard in streams] == [replayed.places for replayed in again]
    assert [heard.spoken for heard in streams] == [texts(history, heard.conversation)[1] for heard in streams]


async def _until_not_ready(caller: Caller, server: Server) -> None:
    """Wait until a server says, or shows, that it takes nothing new."""
    for _ in range(100):
        try:
            if (await caller.get(server, "/readyz")).status == 503:
                return
        except CANNOT_CONNECT:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("still ready")
