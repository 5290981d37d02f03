"""Telling history providers what was said: once, again where it was lost, and no more often than that."""

from collections.abc import Sequence

import pytest
from typing_extensions import override

from tertulia.agent import Agent
from tertulia.agent.session import Session
from tertulia.conversations import Conversation
from tertulia.errors import NeedsAttention, ProviderError
from tertulia.llms.base import Prompt
from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.history import HistoryProvider, Recording
from tertulia.memory.history.opened import HistorySessions
from tertulia.memory.sessions import ProviderSession
from tertulia.memory.states import States
from tertulia.messages import Message
from tertulia.parts import ToolCall
from tertulia.tools.functions import tool
from tertulia.turn.copying import forget
from tests.agent.company import Notebook, shown

pytestmark = pytest.mark.usefixtures("quick")


class Plain(Notebook):
    """Is read from the beginning only, and counts how often."""

    def __init__(self) -> None:
        super().__init__()
        self.loads = 0
        self.told: list[str] = []

    @override
    async def load(self, session: ProviderSession) -> list[Message]:
        self.loads += 1
        return await super().load(session)

    @override
    async def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
        self.told += [message.text for message in messages]
        await super().append(session, messages)


class Ended(Plain):
    """Can be read from its end, unless it is told not to be."""

    is_blind = False

    async def recent(self, session: ProviderSession, *, limit: int) -> list[Message]:
        if self.is_blind:
            raise OSError("it is dark")
        return (await super().load(session))[-limit:]


class Forgetful(Plain):
    """Keeps nothing of what it is told."""

    @override
    async def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
        await super().append(session, messages)
        self.kept.clear()


class ForgetfulAtTheEnd(Ended, Forgetful):
    """Keeps nothing, and can be read from the end of that."""


def an_agent(history: HistoryProvider) -> tuple[Agent, ScriptedLLM]:
    model = ScriptedLLM(lambda prompt: f"so {prompt.messages[-1].text}")
    return Agent(model, name="Chef", history=history), model


def turns(*said: str) -> list[str]:
    return [text for each in said for text in (each, f"so {each}")]


async def say(session: Session, *said: str) -> None:
    for text in said:
        await session.agent.run(text, session=session)


@pytest.mark.parametrize("kind", [Forgetful, ForgetfulAtTheEnd])
async def test_history_that_keeps_nothing_is_told_everything_again_once(kind: type[Forgetful]) -> None:
    history = kind()
    agent, model = an_agent(history)
    async with agent:
        session = agent.create_session("s1")
        await say(session, "one", "two", "three", "four")
        before = history.told.copy()
        await say(session, "five", "six")

    assert sorted(before.count(text) for text in turns("one", "two", "three", "four"))[-1] == 2
    assert history.told == [*before, *turns("five", "six")]
    assert shown(model.prompts[-1]) == [*turns("one", "two", "three", "four", "five"), "six"]


async def test_history_that_is_given_nothing_is_not_compared_with_the_log() -> None:
    inner = Plain()
    history = Recording(inner, load_messages=True, store_inputs=False, store_outputs=False)
    agent, _ = an_agent(history)
    async with agent:
        session = agent.create_session("s1")
        await say(session, "one", "two", "three")

    assert inner.told == []
    assert inner.loads == 3  # for what the model is shown


async def test_history_that_was_told_again_is_told_again_when_it_is_emptied_once_more() -> None:
    history = Ended()
    agent, model = an_agent(history)
    async with agent:
        session = agent.create_session("s1")
        await say(session, "one", "two")
        for text in ("three", "four"):
            history.kept.clear()
            await say(session, text)
        await say(session, "five")

    assert history.texts() == turns("one", "two", "three", "four", "five")
    assert shown(model.prompts[-1]) == [*turns("one", "two", "three", "four"), "five"]


async def test_history_that_keeps_only_answers_is_told_again_when_it_is_emptied_once_more() -> None:
    inner = Ended()
    agent, _ = an_agent(Recording(inner, load_messages=True, store_inputs=False))
    async with agent:
        session = agent.create_session("s1")
        await say(session, "one", "two")
        for text in ("three", "four"):
            inner.kept.clear()
            await say(session, text)

    assert inner.texts() == ["so one", "so two", "so three", "so four"]


async def test_history_for_which_nothing_was_left_to_be_told_is_told_again_later() -> None:
    inner = Ended()
    agent, _ = an_agent(Recording(inner, load_messages=True, store_inputs=False))
    async with agent:
        session = agent.create_session("s1")
        await say(session, "one")
        with pytest.raises(ProviderError):
            await session.erase(2)
        inner.kept.clear()
        await say(session, "two")
        inner.kept.clear()
        await say(session, "three")

    assert inner.texts() == ["so two", "so three"]


async def test_history_that_must_be_loaded_as_a_whole_is_asked_once_beside_what_is_shown() -> None:
    history = Plain()
    agent, _ = an_agent(history)
    async with agent:
        session = agent.create_session("s1")
        await say(session, "one", "two")
        before = history.loads
        await say(session, "three")

    assert history.loads - before == 2


@pytest.mark.parametrize("kind", [Plain, Ended])
async def test_history_that_is_emptied_between_two_runs_is_told_again(kind: type[Plain]) -> None:
    history = kind()
    agent, model = an_agent(history)
    async with agent:
        session = agent.create_session("s1")
        await say(session, "one", "two")
        history.kept.clear()
        await say(session, "three")

    assert history.texts() == turns("one", "two", "three")
    assert shown(model.prompts[-1]) == [*turns("one", "two"), "three"]


async def test_history_that_is_emptied_while_a_model_is_asked_is_told_again() -> None:
    history = Ended()

    def lose(prompt: Prompt) -> str:
        history.kept.clear()
        return f"so {prompt.messages[-1].text}"

    async with Agent(ScriptedLLM(lose), name="Chef", history=history) as agent:
        await say(agent.create_session("s1"), "one", "two")

    assert history.texts() == turns("one", "two")


@pytest.mark.parametrize("kind", [Plain, Ended])
async def test_history_that_is_emptied_while_a_decision_is_waited_for_is_told_again(
    kind: type[Plain],
) -> None:
    history = kind()

    @tool(needs_approval=True)
    def buy() -> str:
        """Buy it."""
        return "bought"

    model = ScriptedLLM(["so one", ToolCall(id="c1", name="buy", arguments="{}"), "so two"])
    async with Agent(model, name="Chef", tools=[buy], history=history) as agent:
        session = agent.create_session("s1")
        await say(session, "one")
        with pytest.raises(NeedsAttention) as raised:
            await agent.run("two", session=session)
        assert raised.value.run_id is not None
        history.kept.clear()
        await agent.decide(raised.value.run_id, "approve")

    assert history.texts() == [*turns("one"), "two", "", "", "so two"]


async def test_history_that_cannot_be_read_is_reported_as_that() -> None:
    history = Ended()

    def blinded(prompt: Prompt) -> str:
        history.is_blind = prompt.messages[-1].text == "two"
        return f"so {prompt.messages[-1].text}"

    async with Agent(ScriptedLLM(blinded), name="Chef", history=history) as agent:
        session = agent.create_session("s1")
        await say(session, "one")
        reply = await agent.run("two", session=session)
        history.is_blind = False
        later = await agent.run("three", session=session)

    [failure] = reply.failures
    assert (failure.provider, failure.stage) == ("Notebook", "load")
    assert failure.message == "the history provider 'Notebook': it failed (OSError)"
    assert later.failures == ()
    assert history.texts() == turns("one", "two", "three")


@pytest.mark.parametrize(
    ("marked", "told"),
    [
        (None, "done in the log, but not everywhere"),
        ([1], "done in the log, but not everywhere"),
        ([], "not done everywhere"),
    ],
)
async def test_who_cannot_forget_is_told_with_what_was_done(marked: list[int] | None, told: str) -> None:
    agent, _ = an_agent(history := Notebook())
    async with agent:
        session = agent.create_session("s1")
        await say(session, "one")
        runtime, found = await session._found()
        assert isinstance(found, Conversation)
        sessions = HistorySessions(States(runtime.store.states), "Chef")

        with pytest.raises(ProviderError) as raised:
            await forget([history], found, ["msg_1"], sessions=sessions, marked=marked)

    assert str(raised.value) == f"{told}: Notebook cannot forget single messages"
