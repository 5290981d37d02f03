"""What is withdrawn or erased in a session of an agent whose history is elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

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
from tertulia.memory.reducers.base import Reducer
from tertulia.memory.sessions import ProviderSession
from tertulia.messages import Flag, Message
from tertulia.parts import text_content
from tests.valkey import ValkeyServer

SESSION: Final = ProviderSession(id="s1", agent="Chef")


class Noted(HistoryProvider):
    """Keeps what was said, and has no way to forget."""

    def __init__(self) -> None:
        self.kept: list[Message] = []

    @override
    async def load(self, session: ProviderSession) -> list[Message]:
        return list(self.kept)

    @override
    async def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
        self.kept += messages


class Broken(Noted):
    """Fails when it is to forget, until it is mended."""

    is_mended = False

    async def forget(self, session: ProviderSession, ids: Collection[str]) -> None:
        if not self.is_mended:
            raise RuntimeError("secret")
        self.kept = [message for message in self.kept if message.id not in ids]


class Retelling(Reducer):
    """Tells in one message what was said before the newest one, as a summary does."""

    @override
    async def reduce(self, messages: list[Message]) -> list[Message]:
        *before, newest = messages
        gone = [ident for message in before for ident in (message.stands_for or (message.id,))]
        told = " / ".join(message.text for message in before)
        summary = replace(newest, id="summary", content=text_content(told), stands_for=tuple(gone))
        return [summary, newest] if before else messages


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as own:
        yield own


@pytest.fixture
def url(server: ValkeyServer) -> str:
    server.say("FLUSHALL")
    return server.url


@pytest.fixture(params=["redis", "file", "sql"])
async def history(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[HistoryProvider]:
    """A provider of every kind that is not the agent's own log."""
    if request.param == "redis":
        yield RedisHistoryProvider(request.getfixturevalue("url"))
    elif request.param == "file":
        yield FileHistoryProvider(tmp_path)
    else:
        yield Recording(SQLHistoryProvider(request.getfixturevalue("sqlite_url")), load_messages=True)


def a_chef(
    history: HistoryProvider, *, store: str | None = None, reducers: Sequence[Reducer] = ()
) -> tuple[Agent, ScriptedLLM]:
    model = ScriptedLLM(lambda prompt: f"answer to {prompt.messages[-1].text}")
    return Agent(model, name="Chef", history=history, store=store, reducers=reducers), model


async def say(session: Session, *said: str) -> None:
    for text in said:
        await session.agent.run(text, session=session)


def last_shown(model: ScriptedLLM) -> list[str]:
    return [str(seen["content"]) for seen in model.prompts[-1] if seen["role"] != "system"]


@pytest.mark.parametrize("flag", [Flag.WITHDRAWN, Flag.DELETED])
async def test_what_is_marked_is_forgotten_and_shown_no_more(history: HistoryProvider, flag: Flag) -> None:
    agent, model = a_chef(history)
    async with agent:
        session = agent.create_session("s1")
        await say(session, "my card is 1234", "and?")

        await (session.withdraw if flag is Flag.WITHDRAWN else session.erase)(1, 2)
        kept = [message.text for message in await history.load(SESSION)]
        await say(session, "go on")

        assert kept == ["and?", "answer to and?"]
        assert last_shown(model) == ["and?", "answer to and?", "go on"]
        assert [message.text for message in await history.load(SESSION)] == [
            *kept,
            "go on",
            "answer to go on",
        ]
        log = await session.messages()
        assert [flag in message.flags for message in log] == [True, True, *[False] * 4]
        assert (log[0].text == "") == (flag is Flag.DELETED)


async def test_agent_of_the_next_program_knows_nothing_of_it(history: HistoryProvider) -> None:
    agent, _ = a_chef(history)
    async with agent:
        session = agent.create_session("s1")
        await say(session, "my card is 1234", "and?")
        await session.erase(1, 2)

    after, model = a_chef(history)
    async with after:
        await say(after.create_session("s1"), "go on")

        assert last_shown(model) == ["and?", "answer to and?", "go on"]


async def test_what_a_reducer_has_made_of_it_is_shown_no_more(history: HistoryProvider) -> None:
    agent, model = a_chef(history, reducers=[Retelling()])
    async with agent:
        session = agent.create_session("s1")
        await say(session, "my card is 1234", "one")

        before = last_shown(model)
        await session.withdraw(1, 2)
        await say(session, "go on")

        assert before == ["my card is 1234 / answer to my card is 1234", "one"]
        assert last_shown(model) == ["one / answer to one", "go on"]


async def test_what_is_marked_in_a_store_is_forgotten_too(url: str, sqlite_url: str) -> None:
    history = RedisHistoryProvider(url)
    agent, model = a_chef(history, store=sqlite_url)
    async with agent:
        session = agent.create_session("s1")
        await say(session, "my card is 1234", "and?")

        await session.erase(1)
        await session.erase(1, 2)
        await say(session, "go on")

        assert last_shown(model) == ["and?", "answer to and?", "go on"]
        assert len(await history.load(SESSION)) == 4


async def test_history_that_is_only_written_forgets_as_well(url: str) -> None:
    read, audit = RedisHistoryProvider(url), InMemoryHistoryProvider()
    model = ScriptedLLM(["one", "two"])
    async with Agent(model, name="Chef", history=[read, Recording(audit)]) as agent:
        session = agent.create_session("s1")
        await say(session, "my card is 1234", "and?")

        await session.withdraw(1)

        assert [message.text for message in await audit.all(SESSION)] == ["one", "and?", "two"]
        assert [message.text for message in await read.load(SESSION)] == ["one", "and?", "two"]


@pytest.mark.parametrize("wrapped", [False, True])
async def test_provider_that_cannot_forget_is_named_after_the_log_was_marked(wrapped: bool) -> None:
    inner = Noted()
    agent, model = a_chef(Recording(inner, load_messages=True) if wrapped else inner)
    async with agent:
        session = agent.create_session("s1")
        await say(session, "my card is 1234", "and?")

        with pytest.raises(ProviderError, match=r"done in the log.*Noted.*cannot forget single messages"):
            await session.erase(1, 2)
        await say(session, "go on")

        assert [Flag.DELETED in message.flags for message in (await session.messages())[:3]] == [
            *(True, True, False)
        ]
        assert last_shown(model) == ["and?", "answer to and?", "go on"]
        assert inner.kept[0].text == "my card is 1234"


async def test_provider_that_fails_tells_nothing_and_can_be_asked_again() -> None:
    history = Broken()
    agent, model = a_chef(history)
    async with agent:
        session = agent.create_session("s1")
        await say(session, "my card is 1234", "and?")

        with pytest.raises(ProviderError) as raised:
            await session.withdraw(1)
        history.is_mended = True
        await session.withdraw(1)
        await say(session, "go on")

        assert str(raised.value) == "done in the log, but not everywhere: Broken: it failed (RuntimeError)"
        assert len(history.kept) == 5
        assert last_shown(model)[0] == "answer to my card is 1234"


async def test_redis_that_is_down_forgets_when_it_is_asked_again() -> None:
    with ValkeyServer() as server:
        history = RedisHistoryProvider(server.url)
        agent, model = a_chef(history)
        async with agent:
            session = agent.create_session("s1")
            await say(session, "my card is 1234", "and?")

            server.say("SAVE")
            server.kill()
            with pytest.raises(ProviderError, match="done in the log, but not everywhere: RedisHistory"):
                await session.erase(1, 2)
            await asyncio.to_thread(server.start)
            await say(session, "go on")
            shown = last_shown(model)
            before = [message.text for message in await history.load(SESSION)]
            await session.erase(1, 2)

            assert shown == ["and?", "answer to and?", "go on"]
            assert before[0] == "my card is 1234"
            assert [message.text for message in await history.load(SESSION)] == before[2:]
