"""What was said is never lost: not by failures, not by those who leave, not by those who come at once."""

import asyncio
from contextlib import aclosing, suppress
from typing import Any

import pytest
from typing_extensions import override

from tertulia.agent import Agent, Session
from tertulia.conversations import RunStatus
from tertulia.errors import (
    ConversationBusy,
    ModelBusy,
    ModelUnreachable,
    RunCancelled,
    RunTimedOut,
    ShapeMismatch,
)
from tertulia.events import TextDelta
from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.context.base import RunContext
from tertulia.memory.sessions import Outcome, ProviderRun
from tertulia.messages import Flag
from tertulia.parts import ToolCall
from tertulia.tools.functions import tool
from tests.agent.company import BrokenLLM, Knowing, Notebook, Remembering, SlowLLM, echo, roles, shown, texts


async def is_free(session: Session) -> bool:
    """Whether no run holds a session, or waits in line for it."""
    agent = session.agent
    try:
        await session.append(["It is free."])
    except ConversationBusy:
        return False
    runtime = await agent._host.runtime()
    return runtime.engine.active == 0


async def test_failed_call_keeps_the_users_message() -> None:
    llm = ScriptedLLM([ModelBusy("too much"), "I am back."])
    async with Agent(llm) as agent:
        session = agent.create_session()
        with pytest.raises(ModelBusy, match="too much") as raised:
            await agent.run("Hello?", session=session)
        before = await texts(session)
        reply = await agent.run("Still there?", session=session)

    assert raised.value.run_id
    assert before == ["Hello?"]
    assert reply.text == "I am back."
    assert shown(llm.prompts[1]) == ["Hello?", "Still there?"]


async def test_failed_run_is_answered_once_more_in_its_place() -> None:
    async with Agent(ScriptedLLM([ModelBusy("too much"), "Here."])) as agent:
        session = agent.create_session()
        with pytest.raises(ModelBusy) as raised:
            await agent.run("Hello?", session=session)
        assert raised.value.run_id is not None

        reply = await agent.retry(raised.value.run_id)

        assert reply.text == "Here."
        assert await texts(session) == ["Hello?", "Here."]


async def test_broken_stream_keeps_the_users_message() -> None:
    heard: list[str] = []
    async with Agent(BrokenLLM(["Half of it"])) as agent:
        session = agent.create_session()
        with pytest.raises(ModelUnreachable):
            async for event in agent.run_stream("Tell me.", session=session):
                heard += [event.text] if isinstance(event, TextDelta) else []

        assert heard == ["Half of it"]
        assert (await session.messages())[0].text == "Tell me."
        assert await is_free(session)


@pytest.mark.parametrize("how", ["aclosing", "break"])
async def test_abandoned_stream_keeps_the_users_message_and_ends_the_call(how: str) -> None:
    llm = SlowLLM()
    async with Agent(llm) as agent:
        session = agent.create_session()
        if how == "aclosing":
            async with aclosing(agent.run_stream("Tell me.", session=session)) as events:
                async for _ in events:
                    await llm.reached.wait()
                    break
        else:
            async for _ in agent.run_stream("Tell me.", session=session):
                await llm.reached.wait()
                break
            await llm.left.wait()
            await after(50)

        assert llm.left.is_set()
        assert (await texts(session))[0] == "Tell me."
        assert await is_free(session)


async def test_finished_turns_of_an_abandoned_stream_stay() -> None:
    async with Agent(ScriptedLLM(echo)) as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        async with aclosing(agent.run_stream("two", session=session)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break

        assert (await texts(session))[:3] == ["one", "one", "two"]
        assert await is_free(session)


@pytest.mark.parametrize("is_stored", [False, True], ids=["memory", "sqlite"])
async def test_cancelling_the_awaiting_task_keeps_the_message_and_frees_the_session(
    is_stored: bool, sqlite_url: str
) -> None:
    llm = SlowLLM()
    async with Agent(llm, store=sqlite_url if is_stored else None) as agent:
        session = agent.create_session()
        task = asyncio.create_task(agent.run("Tell me.", session=session))
        await llm.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert llm.left.is_set()
        assert await texts(session) == ["Tell me."]
        assert await is_free(session)


async def after(turns: int) -> None:
    """Return when everybody had so many turns."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def test_session_is_free_when_a_call_returns_that_was_cancelled_twice(sqlite_url: str) -> None:
    llm = SlowLLM()
    async with Agent(llm, store=sqlite_url) as agent:
        session = agent.create_session()
        task = asyncio.create_task(agent.run("Tell me.", session=session))
        await llm.reached.wait()
        for _ in range(2):
            task.cancel()
            await after(2)
        with pytest.raises(asyncio.CancelledError):
            await task

        assert await is_free(session)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("is_stored", [False, True], ids=["memory", "sqlite"])
async def test_call_may_be_cancelled_at_any_moment(is_stored: bool, times: int, sqlite_url: str) -> None:
    llm = SlowLLM()
    async with Agent(llm, store=sqlite_url if is_stored else None) as agent:
        await agent._host.agent()
        for turns in range(40):
            session = agent.create_session()
            task = asyncio.create_task(agent.run("Tell me.", session=session))
            await after(turns)
            for _ in range(times):
                task.cancel()
                await after(1)
            with suppress(asyncio.CancelledError):
                await task

            assert await is_free(session), turns
            assert await texts(session) in (["It is free."], ["Tell me.", "It is free."]), turns
    assert len(llm.prompts) == 0


async def test_call_that_is_cancelled_while_its_message_is_taken_in_runs_no_further(sqlite_url: str) -> None:
    taking_in, let = asyncio.Event(), asyncio.Event()
    llm = SlowLLM()
    async with Agent(llm, store=sqlite_url) as agent:
        session = agent.create_session()
        runtime = await agent._host.runtime()
        accept = runtime.store.runs.accept

        async def slow_accept(*given: Any) -> Any:
            accepted = await accept(*given)
            taking_in.set()
            await let.wait()
            return accepted

        runtime.store.runs.accept = slow_accept  # type: ignore[method-assign, assignment]
        task = asyncio.create_task(agent.run("Tell me.", session=session))
        await taking_in.wait()
        task.cancel()
        await after(3)
        let.set()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert await is_free(session)
        assert await texts(session) == ["Tell me.", "It is free."]


async def test_run_that_takes_too_long_is_cancelled() -> None:
    llm = SlowLLM()
    async with Agent(llm) as agent:
        session = agent.create_session()
        with pytest.raises(RunTimedOut) as raised:
            await agent.run("Tell me.", session=session, timeout=0.01)
        assert raised.value.run_id is not None
        runtime = await agent._host.runtime()

        assert (await runtime.store.runs.get(0, raised.value.run_id)).status is RunStatus.CANCELLED
        assert llm.left.is_set()
        assert await texts(session) == ["Tell me."]
        assert await is_free(session)


async def test_time_in_line_counts() -> None:
    llm = SlowLLM()
    async with Agent(llm) as agent:
        session = agent.create_session()
        first = asyncio.create_task(agent.run("one", session=session))
        await llm.reached.wait()
        with pytest.raises(RunTimedOut):
            await agent.run("two", session=session, timeout=0.01)
        llm.let.set()
        reply = await first

        assert reply.text == "one"
        assert shown(llm.prompts[0]) == ["one"]


@pytest.mark.parametrize("is_stored", [False, True], ids=["memory", "sqlite"])
async def test_two_runs_at_once_are_both_stored_and_ordered(is_stored: bool, sqlite_url: str) -> None:
    llm = ScriptedLLM(echo, delay=0.001)
    async with Agent(llm, store=sqlite_url if is_stored else None) as agent:
        session = agent.create_session("shared")
        same = agent.create_session("shared")
        said = [f"{n}" for n in range(8)]
        async with asyncio.TaskGroup() as tasks:
            for place, text in enumerate(said):
                tasks.create_task(agent.run(text, session=session if place % 2 else same))
        kept = await texts(session)

        assert sorted(kept[::2]) == said
        assert kept[::2] == kept[1::2]
        assert sorted(len(prompt) for prompt in llm.prompts) == [1, 3, 5, 7, 9, 11, 13, 15]
        assert session.conversation_id == same.conversation_id


async def test_raising_after_run_costs_nothing() -> None:
    diary: list[str] = []
    first = Knowing(name="first", diary=diary)
    faulty = Knowing(name="faulty", diary=diary, fails_after=ValueError("a secret"))
    last = Knowing(name="last", diary=diary)
    async with Agent(ScriptedLLM(echo), context_providers=[first, faulty, last]) as agent:
        session = agent.create_session()
        reply = await agent.run("Hi.", session=session)

        assert reply.text == "Hi."
        assert await texts(session) == ["Hi.", "Hi."]
    assert [(failed.provider, failed.stage) for failed in reply.failures] == [("faulty", "after_run")]
    assert "secret" not in reply.failures[0].message
    assert diary[-3:] == ["after last", "after faulty", "after first"]


@pytest.mark.parametrize("error", [ValueError("a secret"), SystemExit(1), ModelBusy("no")])
async def test_raising_before_run_costs_nothing(error: Any) -> None:
    faulty = Knowing(error, name="faulty")
    knowing = Knowing(RunContext(messages=["It rains."]), name="knowing")
    llm = ScriptedLLM(echo)
    async with Agent(llm, context_providers=[faulty, knowing]) as agent:
        reply = await agent.run("Hi.")

    assert reply.text == "Hi."
    assert [(failed.provider, failed.stage) for failed in reply.failures] == [("faulty", "before_run")]
    assert shown(llm.prompts[0]) == ["It rains.", "Hi."]


async def test_failing_history_provider_is_told_the_same_once_more() -> None:
    notebook = Notebook(failures=2)
    async with Agent(ScriptedLLM(echo), history=notebook) as agent:
        session = agent.create_session()
        reply = await agent.run("one", session=session)
        await agent.run("two", session=session)

        assert await texts(session) == ["one", "one", "two", "two"]
    assert [failed.stage for failed in reply.failures] == ["append", "append"]
    assert notebook.texts() == ["one", "one", "two", "two"]


async def test_after_run_is_told_of_a_failure() -> None:
    knowing = Knowing()
    async with Agent(ScriptedLLM([ModelBusy("too much")]), context_providers=[knowing]) as agent:
        with pytest.raises(ModelBusy):
            await agent.run("Hi.", session=agent.create_session())

    [outcome] = knowing.outcomes
    assert isinstance(outcome.error, ModelBusy)
    assert (outcome.request[0].text, outcome.response) == ("Hi.", ())


async def test_after_run_is_not_told_of_what_was_cancelled() -> None:
    llm, knowing = SlowLLM(), Knowing()
    async with Agent(llm, context_providers=[knowing]) as agent:
        session = agent.create_session()
        task = asyncio.create_task(agent.run("Hi.", session=session))
        await llm.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert await is_free(session)
    assert (len(knowing.runs), knowing.outcomes) == (1, [])


class Waiting(Knowing):
    """Waits where it is told to, and knows whether it was made to stop."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where, self.waits, self.stopped = where, asyncio.Event(), asyncio.Event()

    @override
    async def before_run(self, run: ProviderRun) -> RunContext | None:
        await self._wait("before")
        return None

    @override
    async def after_run(self, run: ProviderRun, outcome: Outcome) -> None:
        await self._wait("after")

    async def _wait(self, where: str) -> None:
        if where != self._where or self.waits.is_set():
            return
        self.waits.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.set()


@pytest.mark.parametrize(("where", "kept"), [("before", ["one"]), ("after", ["one", "one"])])
async def test_leaving_while_a_provider_is_at_work_ends_it_and_frees_the_session(
    where: str, kept: list[str]
) -> None:
    waiting = Waiting(where)
    async with Agent(ScriptedLLM(echo), context_providers=[waiting]) as agent:
        session = agent.create_session()
        task = asyncio.create_task(agent.run("one", session=session))
        await waiting.waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert waiting.stopped.is_set()
        assert await texts(session) == kept
        assert (await agent.run("two", session=session)).text == "two"


async def test_after_run_is_not_told_of_what_made_room_in_the_middle() -> None:
    paying, let = asyncio.Event(), asyncio.Event()

    @tool
    async def pay() -> str:
        """Pay."""
        paying.set()
        await let.wait()
        return "paid"

    knowing = Knowing()
    llm = ScriptedLLM([ToolCall(id="c", name="pay", arguments="{}"), "Hi."])
    async with Agent(llm, tools=[pay], context_providers=[knowing]) as agent:
        session = agent.create_session()
        first = asyncio.create_task(agent.run("one", session=session))
        await paying.wait()
        second = asyncio.create_task(agent.run("two", session=session, multitask_strategy="interrupt"))
        await after(20)
        let.set()
        with pytest.raises(RunCancelled):
            await first
        await second

    assert [(outcome.request[0].text, outcome.error) for outcome in knowing.outcomes] == [("two", None)]


async def test_memory_of_one_user_never_reaches_another_through_one_provider() -> None:
    llm = ScriptedLLM(echo)
    async with Agent(llm, context_providers=[Remembering()]) as agent:
        await agent.run("Anns secret.", session=agent.create_session(user="ann"))
        await agent.run("Bobs secret.", session=agent.create_session(user="bob"))
        await agent.run("Nobodys secret.", session=agent.create_session())
        await agent.run("again", session=agent.create_session(user="ann"))
        await agent.run("again", session=agent.create_session())

    assert [shown(prompt) for prompt in llm.prompts] == [
        ["Anns secret."],
        ["Bobs secret."],
        ["Nobodys secret."],
        ["Remembered: Anns secret.", "again"],
        ["again"],
    ]


async def test_shape_that_is_never_met_keeps_the_users_message() -> None:
    llm = ScriptedLLM(lambda _: "no JSON")
    async with Agent(llm, response_shape={"type": "object"}) as agent:
        session = agent.create_session()
        with pytest.raises(ShapeMismatch):
            await agent.run("An object.", session=session)

        assert await texts(session) == ["An object."]
    assert roles(llm.prompts[-1])[-2:] == ["assistant", "user"]


async def test_what_was_said_of_a_stopped_answer_is_not_kept_as_if_it_were_whole() -> None:
    llm = ScriptedLLM(["word " * 20], chunk=5, delay=0.001)
    async with Agent(llm) as agent:
        session = agent.create_session()
        async with aclosing(agent.run_stream("Tell me.", session=session)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break

        assert [each.flags for each in await session.messages() if each.role == "assistant"] in (
            [],
            [Flag.INCOMPLETE],
        )
