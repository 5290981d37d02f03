"""Histories that others keep: what they are told, what is shown of them, and what they keep themselves."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typing_extensions import override

from tertulia.agent import Agent
from tertulia.conversations import Conversation
from tertulia.errors import InvalidInput, ProviderError, RunCancelled
from tertulia.llms.base import LLMEvent, Prompt
from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.history import FileHistoryProvider, InMemoryHistoryProvider, Recording
from tertulia.memory.history.base import HistoryProvider
from tertulia.memory.reducers import TruncationReducer
from tertulia.memory.sessions import ProviderSession
from tertulia.memory.views.provided import ProvidedView
from tertulia.messages import Message
from tertulia.parts import ToolCall
from tertulia.tools.functions import tool
from tests.agent.company import Notebook, SlowLLM, echo, shown, texts


class Shelf(HistoryProvider):
    """Keeps each session under a key of its own making, which it keeps with the session."""

    def __init__(self, places: dict[str, list[Message]]) -> None:
        self.places = places

    @override
    async def load(self, session: ProviderSession) -> list[Message]:
        return list(self.places.get(session.state.get("key", ""), []))

    @override
    async def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
        key = session.state.setdefault("key", uuid4().hex)
        self.places.setdefault(key, []).extend(messages)


@tool(is_idempotent=True)
def look() -> str:
    """Look."""
    return "seen"


def texts_in(places: dict[str, list[Message]]) -> list[list[str]]:
    return [[message.text for message in place] for place in places.values()]


@pytest.mark.parametrize("is_stored", [False, True], ids=["memory", "sqlite"])
async def test_custom_store_is_restored_to_the_same_conversation_with_its_own_state(
    is_stored: bool, sqlite_url: str
) -> None:
    places: dict[str, list[Message]] = {}
    llm = ScriptedLLM(echo)
    where = sqlite_url if is_stored else None
    agent = Agent(llm, name="Host", history=Shelf(places), store=where)
    session = agent.create_session()
    await agent.run("one", session=session)
    await agent.run("other", session=agent.create_session())
    told = session.to_dict()
    await agent.close()

    async with Agent(llm, name="Host", history=Shelf(places), store=where) as again:
        session = again.restore_session(told)
        before = await texts(session)
        await again.run("two", session=session)

        assert await texts(session) == [*before, "two", "two"] == ["one", "one", "two", "two"]
    assert shown(llm.prompts[-1]) == ["one", "one", "two"]
    assert texts_in(places) == [["one", "one", "two", "two"], ["other", "other"]]


async def test_custom_store_has_a_place_of_its_own_for_a_branch() -> None:
    places: dict[str, list[Message]] = {}
    llm = ScriptedLLM(echo)
    async with Agent(llm, name="Host", history=Shelf(places)) as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        branch = await session.fork()
        await agent.run("left", session=session)
        await agent.run("right", session=branch)

    assert shown(llm.prompts[-1]) == ["one", "one", "right"]
    assert texts_in(places) == [["one", "one", "left", "left"], ["one", "one", "right", "right"]]


async def test_state_of_a_history_provider_that_is_no_json_is_reported() -> None:
    class Careless(Shelf):
        @override
        async def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
            session.state["client"] = object()

    async with Agent(ScriptedLLM(echo), history=Recording(Careless({}))) as agent:
        reply = await agent.run("one", session=agent.create_session())

    assert reply.text == "one"
    assert {(failure.stage, "JSON" in failure.message) for failure in reply.failures} == {("append", True)}


async def test_agent_that_takes_over_by_force_tells_its_own_history_everything() -> None:
    notebook = Notebook()
    agent = Agent(ScriptedLLM(echo), name="one", history=notebook)
    session = agent.create_session("mine")
    await agent.run("one", session=session)
    told = session.to_dict()
    await agent.close()

    llm = ScriptedLLM(echo)
    async with Agent(llm, name="other", history=notebook) as other:
        await other.run("two", session=other.restore_session(told, force=True))

    assert notebook.texts() == ["one", "one", "two", "two"]


async def test_what_was_erased_is_not_read_from_a_history_that_cannot_forget() -> None:
    notebook = Notebook()
    async with Agent(ScriptedLLM(echo), history=notebook) as agent:
        session = agent.create_session("mine")
        await agent.run("a secret", session=session)
        with pytest.raises(ProviderError):
            await session.erase(1, 2)

        assert await texts(session) == ["", ""]
    assert notebook.texts() == ["a secret", "a secret"]


async def test_what_was_rolled_back_is_not_shown_from_elsewhere() -> None:
    notebook, llm = Notebook(), SlowLLM()
    async with Agent(llm, history=notebook) as agent:
        session = agent.create_session()
        first = asyncio.create_task(agent.run("one", session=session))
        await llm.reached.wait()
        second = asyncio.create_task(agent.run("two", session=session, multitask_strategy="rollback"))
        await llm.left.wait()
        llm.let.set()
        await second
        with pytest.raises(RunCancelled):
            await first
        await agent.run("three", session=session)

    assert [shown(prompt) for prompt in llm.prompts] == [["two"], ["two", "two", "three"]]


async def test_session_is_read_from_its_history_before_anything_was_said_in_this_process() -> None:
    notebook = Notebook()
    async with Agent(ScriptedLLM(echo), name="Host", history=notebook) as agent:
        await agent.run("one", session=agent.create_session("mine"))

    async with Agent(ScriptedLLM(echo), name="Host", history=notebook) as again:
        assert await texts(again.create_session("mine")) == ["one", "one"]
        assert await texts(again.create_session("other")) == []


async def test_recording_is_given_what_it_wants() -> None:
    inputs, outputs, everything = Notebook(name="a"), Notebook(name="b"), Notebook(name="c")
    history = [
        Recording(inputs, store_outputs=False, store_tools=False),
        Recording(outputs, store_inputs=False, store_tools=False),
        Recording(everything),
    ]
    llm = ScriptedLLM([ToolCall(id="c", name="look", arguments="{}"), "I saw."])
    async with Agent(llm, tools=[look], history=history) as agent:
        session = agent.create_session()
        await agent.run("Look.", session=session)

        assert await texts(session) == ["Look.", "", "", "I saw."]
    assert inputs.texts() == ["Look."]
    assert outputs.texts() == ["I saw."]
    assert everything.texts() == ["Look.", "", "", "I saw."]


async def test_history_that_cannot_be_read_is_no_empty_history() -> None:
    class Torn(Notebook):
        is_torn = True

        @override
        async def load(self, session: ProviderSession) -> list[Message]:
            if self.is_torn:
                raise OSError("a secret")
            return await super().load(session)

    llm, history = ScriptedLLM(echo), Torn()
    async with Agent(llm, history=history) as agent:
        session = agent.create_session()
        with pytest.raises(ProviderError, match="Notebook") as raised:
            await agent.run("one", session=session)
        with pytest.raises(ProviderError):
            await session.messages()

        history.is_torn = False
        assert await texts(session) == ["one"]
    assert "secret" not in str(raised.value)
    assert llm.prompts == []


async def test_reducer_shapes_what_another_history_shows(tmp_path: Any) -> None:
    llm = ScriptedLLM(echo)
    history, reducers = FileHistoryProvider(tmp_path), [TruncationReducer(max_messages=2)]
    async with Agent(llm, history=history, reducers=reducers) as agent:
        session = agent.create_session()
        for text in ("one", "two", "three"):
            await agent.run(text, session=session)

        assert len(await session.messages()) == 6
    assert len(llm.prompts[-1]) <= 2


@pytest.mark.parametrize("when", ["read", "write"])
async def test_history_in_memory_brings_its_reducer(when: Any) -> None:
    llm = ScriptedLLM(echo)
    history = InMemoryHistoryProvider(TruncationReducer(max_messages=2), reduce_on=when)
    async with Agent(llm, history=history) as agent:
        session = agent.create_session()
        for text in ("one", "two", "three"):
            await agent.run(text, session=session)

        assert len(await session.messages()) == 6
    assert len(llm.prompts[-1]) <= 2


async def test_withdrawn_message_is_not_told_a_history_that_was_behind() -> None:
    notebook = Notebook(failures=2)
    async with Agent(ScriptedLLM(echo), history=Recording(notebook)) as agent:
        session = agent.create_session()
        await agent.run("a secret", session=session)
        with pytest.raises(ProviderError):
            await session.withdraw(1, 2)
        await agent.run("two", session=session)

    assert notebook.texts() == ["two", "two"]


async def test_replaced_messages_are_told_with_those_that_are_new() -> None:
    notebook = Notebook()
    async with Agent(ScriptedLLM(echo), history=Recording(notebook)) as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        kept = await session.messages()
        await session.replace(["zero", *kept])
        await agent.run("two", session=session)

    assert notebook.texts() == ["one", "one", "zero", "two", "two"]


async def test_log_is_not_read_beside_a_history_in_which_nothing_was_marked() -> None:
    class Unread:
        async def recent(self, *_given: object, **_more: object) -> list[Message]:
            raise AssertionError("it was read")

        messages = recent

    view = ProvidedView(Notebook(), agent="Chef", log=Unread())
    said = Message.from_dict({"role": "user", "content": "Hi.", "number": 7})
    row = Conversation(tenant=0, id="conv_1", agent_id="agent_1", head=7)

    passage = await view.show(row, newest=[said], budget=100)

    assert [each.text for each in passage] == ["Hi."]


class Gate(ScriptedLLM):
    """Answers with what was said last, once as many calls as are awaited have begun."""

    def __init__(self, calls: int) -> None:
        super().__init__(echo)
        self._calls, self._open = calls, asyncio.Event()

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        self._calls -= 1
        if self._calls <= 0:
            self._open.set()
        await self._open.wait()
        async for event in super().stream(prompt):
            yield event


async def at_once(llm: ScriptedLLM, tmp_path: Path, *, store: str | None = None) -> list[str]:
    """Have two programs speak in one session at the same moment; return what is kept."""

    def an_agent() -> Agent:
        return Agent(llm, name="Host", history=FileHistoryProvider(tmp_path), store=store)

    async with an_agent() as one, an_agent() as other:
        runs = [(one, "ann"), (other, "ben")]
        await asyncio.gather(*(each.run(said, session=each.create_session("mine")) for each, said in runs))

    async with an_agent() as later:
        return await texts(later.create_session("mine"))


async def test_two_programs_at_once_lose_nothing_and_are_not_kept_apart_without_a_store(
    tmp_path: Path,
) -> None:
    llm = Gate(2)

    kept = await at_once(llm, tmp_path)

    assert len(kept) == 4
    assert {"ann", "ben"} <= set(kept)
    assert not any(len(prompt) > 2 for prompt in llm.prompts)  # neither has waited for the other's answer


async def test_two_programs_at_once_speak_one_after_the_other_with_a_store(
    tmp_path: Path, sqlite_url: str
) -> None:
    llm = Gate(1)

    kept = await at_once(llm, tmp_path, store=sqlite_url)

    assert kept in (["ann", "ann", "ben", "ben"], ["ben", "ben", "ann", "ann"])
    assert [shown(prompt) for prompt in llm.prompts] == [kept[:1], kept[:3]]


async def test_what_a_provider_keeps_is_not_replaced() -> None:
    async with Agent(ScriptedLLM(echo), history=Notebook()) as agent:
        session = agent.create_session()
        await agent.run("one", session=session)

        with pytest.raises(InvalidInput, match="not rewritten"):
            await session.replace(["fresh"])

        assert await texts(session) == ["one", "one"]
