"""What is shown where a history provider lacks something that the log has."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from typing_extensions import override

from tertulia import Agent
from tertulia.agent.session import Session
from tertulia.errors import ProviderError
from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.history import (
    FileHistoryProvider,
    HistoryProvider,
    InMemoryHistoryProvider,
    Recording,
    RedisHistoryProvider,
    SQLHistoryProvider,
)
from tertulia.memory.history.asking import has_lost_all
from tertulia.memory.history.opened import HistorySessions
from tertulia.memory.reducers.base import Reducer
from tertulia.memory.sessions import ProviderSession
from tertulia.memory.states import States
from tertulia.memory.views.lacking import lacking
from tertulia.messages import Flag, Message
from tertulia.testing.history_contract import a_message, a_session, some_messages
from tests.memory.log import ALog
from tests.valkey import ValkeyServer


class Stuck(HistoryProvider):
    """Keeps everything until it is stuck; then it can be read only."""

    def __init__(self) -> None:
        self.kept: list[Message] = []
        self.is_stuck = False

    @override
    async def load(self, session: ProviderSession) -> list[Message]:
        return list(self.kept)

    @override
    async def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
        if self.is_stuck:
            raise OSError("it is stuck")
        self.kept += messages


class Counting(Reducer):
    """Has a message stand for all but the newest two, and asks a model for that."""

    def __init__(self) -> None:
        self.asked = 0

    def is_due(self, messages: list[Message]) -> bool:
        return len(messages) > 6

    @override
    async def reduce(self, messages: list[Message]) -> list[Message]:
        if not self.is_due(messages):
            return messages
        self.asked += 1
        cut, kept = messages[:-2], messages[-2:]
        gone = tuple(ident for each in cut for ident in (each.stands_for or (each.id,)))
        return [replace(a_message(f"{len(gone)} before"), stands_for=gone), *kept]


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as own:
        yield own


@pytest.fixture
def url(server: ValkeyServer) -> str:
    server.say("FLUSHALL")
    return server.url


@pytest.fixture(params=["redis", "file", "memory", "sql"])
async def history(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[HistoryProvider]:
    """A provider of every kind that is not the agent's own log."""
    if request.param == "redis":
        provider: HistoryProvider = RedisHistoryProvider(request.getfixturevalue("url"))
    elif request.param == "file":
        provider = FileHistoryProvider(tmp_path)
    elif request.param == "memory":
        provider = Recording(InMemoryHistoryProvider(), load_messages=True)
    else:
        own = SQLHistoryProvider(request.getfixturevalue("sqlite_url"))
        provider = Recording(own, load_messages=True)
    yield provider
    await provider.close()


def an_agent(
    history: HistoryProvider, *, store: str | None = None, reducers: Sequence[Reducer] = ()
) -> tuple[Agent, ScriptedLLM]:
    model = ScriptedLLM(lambda prompt: f"so {prompt.messages[-1].text}")
    return Agent(model, name="Chef", history=history, store=store, reducers=reducers), model


async def say(session: Session, *said: str) -> None:
    for text in said:
        await session.agent.run(text, session=session)


def last_shown(model: ScriptedLLM) -> list[str]:
    return [str(seen["content"]) for seen in model.prompts[-1] if seen["role"] != "system"]


def turns(*said: str) -> list[str]:
    return [text for each in said for text in (each, f"so {each}")]


@pytest.mark.parametrize("other", ["ben", None])
async def test_session_of_another_user_is_not_shown_under_its_id(
    history: HistoryProvider, other: str | None
) -> None:
    first, _ = an_agent(history)
    async with first:
        await say(first.create_session("s1", user="ana"), "my card is 1234")

    second, model = an_agent(history)
    async with second:
        session = second.create_session("s1", user=other)
        before = await session.messages()
        await say(session, "what is my card?")
        shown = last_shown(model)
    third, model = an_agent(history)
    async with third:
        await say(third.create_session("s1", user="ana"), "and?")

    assert (before, shown) == ([], ["what is my card?"])
    assert last_shown(model) == [*turns("my card is 1234"), "and?"]


@pytest.mark.parametrize("is_stored", [False, True], ids=["memory", "sqlite"])
async def test_model_is_shown_what_could_not_be_written(sqlite_url: str, is_stored: bool) -> None:
    stuck = Stuck()
    agent, model = an_agent(stuck, store=sqlite_url if is_stored else None)
    async with agent:
        session = agent.create_session("s1")
        await say(session, "one", "two")
        stuck.is_stuck = True
        await say(session, "three", "four", "five")
        shown = last_shown(model)
        stuck.is_stuck = False
        await say(session, "six")

    assert shown == [*turns("one", "two", "three", "four"), "five"]
    assert last_shown(model) == [*turns("one", "two", "three", "four", "five"), "six"]
    assert [message.text for message in stuck.kept] == turns("one", "two", "three", "four", "five", "six")


async def test_model_is_shown_everything_where_nothing_could_ever_be_written() -> None:
    stuck = Stuck()
    stuck.is_stuck = True
    agent, model = an_agent(stuck)
    async with agent:
        await say(agent.create_session("s1"), "one", "two", "three")

    assert last_shown(model) == [*turns("one", "two"), "three"]


async def test_reducer_is_given_what_could_not_be_written_once() -> None:
    stuck, counting = Stuck(), Counting()
    agent, model = an_agent(stuck, reducers=[counting])
    async with agent:
        session = agent.create_session("s1")
        await say(session, "one", "two")
        stuck.is_stuck = True
        await say(session, *"abcd")
        asked = counting.asked
        await say(session, "e")
        shown = last_shown(model)
        stuck.is_stuck = False
        await say(session, "f")

    assert (asked, counting.asked) == (2, 3)
    assert shown == ["9 before", "so c", *turns("d"), "e"]
    assert last_shown(model) == ["13 before", "so e", "f"]


async def test_what_a_recording_was_not_to_have_is_not_shown_from_the_log() -> None:
    kept = InMemoryHistoryProvider()
    history = Recording(kept, load_messages=True, store_outputs=False)
    agent, model = an_agent(history)
    async with agent:
        await say(agent.create_session("s1"), "one", "two", "three")

    assert last_shown(model) == ["one", "two", "three"]


async def test_what_others_have_put_there_in_plenty_is_shown_once() -> None:
    class Ended(Stuck):
        async def recent(self, session: ProviderSession, *, limit: int) -> list[Message]:
            return self.kept[-limit:]

    stuck = Ended()
    agent, model = an_agent(stuck)
    async with agent:
        session = agent.create_session("s1")
        await say(session, "one")
        stuck.kept += (others := some_messages(100))
        stuck.is_stuck = True
        await say(session, "two")

    assert last_shown(model) == [*turns("one"), *(message.text for message in others), "two"]


async def test_log_is_not_read_if_its_newest_message_is_known() -> None:
    log = ALog()
    for n in range(1_000):
        log.say(f"{n}")
    newest = log.messages_said[-1]

    found = await lacking(log, log.row, newest=[newest], known={newest.id}, budget=100)

    assert found == ([], newest.id)
    assert log.reads == 0


async def test_log_is_read_no_further_than_something_is_lacking() -> None:
    log = ALog()
    for n in range(1_000):
        log.say(f"{n}", flags=Flag.WITHDRAWN if n == 998 else Flag.NONE)
    known = {message.id for message in log.messages_said[:990]}

    missing, after = await lacking(log, log.row, newest=log.messages_said[-1:], known=known, budget=None)

    assert [message.text for message in missing] == [*(f"{n}" for n in range(990, 998)), "999"]
    assert after == log.messages_said[989].id
    assert log.reads <= 2


async def test_log_of_which_nothing_is_known_is_read_as_far_as_it_is_shown() -> None:
    log = ALog()
    for n in range(5_000):
        log.say(f"{n}")

    missing, after = await lacking(log, log.row, newest=(), known=set(), budget=100)

    assert after is None
    assert missing[-1].text == "4999"
    assert 10 < len(missing) < 100
    assert log.reads < 5


async def test_place_that_was_emptied_is_known_as_such(history: HistoryProvider) -> None:
    before = await has_lost_all(history, a_session())
    await history.append(a_session(), some_messages(3))

    assert before
    assert not await has_lost_all(history, a_session())
    assert await has_lost_all(history, a_session(user="ada"))


@pytest.mark.parametrize("is_read", [True, False])
async def test_branch_in_a_database_has_what_it_shares(sqlite_url: str, is_read: bool) -> None:
    history = Recording(SQLHistoryProvider(sqlite_url), load_messages=is_read)
    agent, model = an_agent(history)
    async with agent:
        session = agent.create_session("s1")
        await say(session, "one", "two")
        branch = await session.fork(at=2)
        await say(session, "left")
        reply = await agent.run("right", session=branch)
        shown = last_shown(model)
        kept = [message.text for message in await history.load(a_session(branch.id))]
        other = [message.text for message in await history.load(a_session("s1"))]
    await history.close()

    assert reply.failures == ()
    assert shown == [*turns("one"), "right"]
    assert kept == turns("one", "right")
    assert other == turns("one", "two", "left")


@pytest.mark.parametrize("is_stored", [False, True], ids=["memory", "sqlite"])
async def test_place_that_was_emptied_is_told_everything_again(
    url: str, server: ValkeyServer, sqlite_url: str, is_stored: bool
) -> None:
    history = RedisHistoryProvider(url)
    agent, model = an_agent(history, store=sqlite_url if is_stored else None)
    async with agent:
        session = agent.create_session("s1")
        await say(session, "one", "two")
        server.say("FLUSHALL")
        await say(session, "three")
        shown = last_shown(model)
        await say(session, "four")

    assert shown == [*turns("one", "two"), "three"]
    assert last_shown(model) == [*turns("one", "two", "three"), "four"]
    assert [message.text for message in await history.load(a_session())] == turns(
        "one", "two", "three", "four"
    )
    await history.close()


async def test_another_process_begins_where_this_one_does(sqlite_url: str, tmp_path: Path) -> None:
    shown = []
    for n in range(60):
        model = ScriptedLLM(["so " * 8])
        history = FileHistoryProvider(tmp_path)
        agent = Agent(model, name="Chef", history=history, store=sqlite_url, context_tokens=5_000)
        async with agent:
            await say(agent.create_session("s1"), f"{n} " + "word " * 120)
        shown.append(last_shown(model))

    jumps = sum(after[: len(before)] != before for before, after in pairwise(shown))
    assert len(shown[-1]) < 60
    assert 1 <= jumps <= 8


async def test_another_process_has_no_second_summary_made(sqlite_url: str, tmp_path: Path) -> None:
    shown, asked = [], []
    for n in range(9):
        counting = Counting()
        agent, model = an_agent(FileHistoryProvider(tmp_path), store=sqlite_url, reducers=[counting])
        async with agent:
            await say(agent.create_session("s1"), f"{n}")
        shown.append(last_shown(model))
        asked.append(counting.asked)

    assert asked == [0, 0, 0, 1, 0, 1, 0, 1, 0]
    assert shown[3] == ["5 before", "so 2", "3"]
    assert shown[4] == ["5 before", "so 2", *turns("3"), "4"]
    assert shown[8] == ["13 before", "so 6", *turns("7"), "8"]


async def test_what_was_shown_of_a_message_is_not_kept_when_it_is_erased(
    sqlite_url: str, tmp_path: Path
) -> None:
    for n in range(5):
        agent, _ = an_agent(FileHistoryProvider(tmp_path), store=sqlite_url, reducers=[Counting()])
        async with agent:
            await say(agent.create_session("s1"), f"{n}")

    agent, model = an_agent(FileHistoryProvider(tmp_path), store=sqlite_url, reducers=[Counting()])
    async with agent:
        session = agent.create_session("s1")
        await session.erase(1, 2)
        await say(session, "again")

    assert last_shown(model) == ["7 before", "so 4", "again"]


async def test_two_processes_in_turn_show_the_same_summary(sqlite_url: str, tmp_path: Path) -> None:
    reducers = [Counting(), Counting()]
    both = [
        an_agent(FileHistoryProvider(tmp_path), store=sqlite_url, reducers=[reducer]) for reducer in reducers
    ]
    shown = []
    for n in range(12):
        agent, model = both[n % 2]
        await say(agent.create_session("s1"), f"{n}")
        shown.append(last_shown(model))
    for agent, _ in both:
        await agent.close()

    assert sum(reducer.asked for reducer in reducers) == sum(
        after[0] != before[0] for before, after in pairwise(shown)
    )


async def test_states_that_two_change_at_once_are_both_kept() -> None:
    class Noting(Stuck):
        """Notes something with the session, when somebody else has done so too."""

        def __init__(self, noted: str, value: int, together: asyncio.Barrier) -> None:
            super().__init__()
            self.noted, self.value, self.together = noted, value, together

        @property
        @override
        def name(self) -> str:
            return "noting"

        @override
        async def load(self, session: ProviderSession) -> list[Message]:
            await self.together.wait()
            session.state[self.noted] = self.value
            return []

    async def both(*noted: tuple[str, int]) -> list[object]:
        together = asyncio.Barrier(2)
        found = (read(Noting(name, value, together)) for name, value in noted)
        return list(await asyncio.gather(*found, return_exceptions=True))

    agent, _ = an_agent(Stuck())
    async with agent:
        session = agent.create_session("s1")
        await say(session, "hi")
        runtime, row = await session._found()
        assert row is not None
        sessions = HistorySessions(States(runtime.store.states), "Chef")

        async def read(provider: HistoryProvider) -> None:
            async with sessions.opened(row, of=provider) as told:
                await provider.load(told)

        apart = await both(("a", 1), ("b", 2))
        same = await both(("c", 3), ("c", 4))
        async with sessions.opened(row, of=Noting("", 0, asyncio.Barrier(1))) as told:
            state = dict(told.state)

    assert apart == [None, None]
    assert sorted(map(type, same), key=str) == sorted([type(None), ProviderError], key=str)
    assert (state["a"], state["b"]) == (1, 2)
    assert state["c"] in (3, 4)
