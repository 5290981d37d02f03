"""Runs that wait for somebody's decision, which may come in another program."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tertulia.agent import Agent
from tertulia.errors import (
    ConversationBusy,
    InvalidInput,
    NeedsAttention,
    NotFound,
    NotWaiting,
    TertuliaError,
)
from tertulia.events import RunWaiting
from tertulia.llms.base import Prompt
from tertulia.llms.scripted import ScriptedLLM, ScriptedReply
from tertulia.parts import ToolCall
from tertulia.tools.base import Tool
from tertulia.tools.functions import tool
from tests.agent.company import Knowing, left_in_memory, shown, texts


def pays(prompt: Prompt) -> ScriptedReply:
    """Pay, and say what came of it."""
    last = prompt.messages[-1]
    if last.role == "tool":
        return f"Done: {last.text}"
    return ToolCall(id="c", name="pay", arguments='{"amount":3}')


def paying(paid: list[int]) -> Tool:
    @tool(needs_approval=True)
    async def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        return f"paid {amount}"

    return pay


async def test_run_waits_for_a_decision_and_goes_on_with_it() -> None:
    paid: list[int] = []
    knowing = Knowing()
    async with Agent(ScriptedLLM(pays), tools=[paying(paid)], context_providers=[knowing]) as agent:
        session = agent.create_session()
        with pytest.raises(NeedsAttention) as raised:
            await agent.run("Pay.", session=session)
        run_id = raised.value.run_id
        assert run_id is not None
        before, told = list(paid), list(knowing.outcomes)
        with pytest.raises(ConversationBusy):
            await agent.run("Well?", session=session, multitask_strategy="reject")

        reply = await agent.decide(run_id, "approve")

        assert (before, told, paid) == ([], [], [3])
        assert (reply.text, reply.run_id) == ("Done: paid 3", run_id)
        assert await texts(session) == ["Pay.", "", "", "Done: paid 3"]
        assert len(knowing.outcomes) == 1
        with pytest.raises(NotWaiting):
            await agent.decide(run_id, "approve")


async def test_what_is_denied_is_not_done() -> None:
    paid: list[int] = []
    async with Agent(ScriptedLLM(pays), tools=[paying(paid)]) as agent:
        with pytest.raises(NeedsAttention) as raised:
            await agent.run("Pay.")
        assert raised.value.run_id is not None
        with pytest.raises(InvalidInput, match="approve"):
            await agent.decide(raised.value.run_id, "perhaps")
        reply = await agent.decide(raised.value.run_id, "deny")

        assert paid == []
        assert reply.text.startswith("Done: ")
        with pytest.raises(NotFound):
            await agent.decide("run_01a1f9df4f57771cbdfae1d8948e7395", "deny")


async def test_stream_tells_what_it_waits_for() -> None:
    events: list[Any] = []
    async with Agent(ScriptedLLM(pays), tools=[paying([])]) as agent:
        session = agent.create_session()
        with pytest.raises(NeedsAttention):
            async for event in agent.run_stream("Pay.", session=session):
                events.append(event)

    assert isinstance(events[-1], RunWaiting)
    assert "pay" in events[-1].wait.subject


async def test_decision_may_come_in_another_program(sqlite_url: str) -> None:
    paid: list[int] = []

    def an_agent() -> Agent:
        return Agent(ScriptedLLM(pays), name="Host", tools=[paying(paid)], store=sqlite_url)

    async with an_agent() as agent:
        session = agent.create_session("mine")
        with pytest.raises(NeedsAttention) as raised:
            await agent.run("Pay.", session=session)
        told = session.to_dict()
    assert raised.value.run_id is not None

    async with an_agent() as other:
        reply = await other.decide(raised.value.run_id, "approve")

        assert reply.text == "Done: paid 3"
        assert await texts(other.restore_session(told)) == ["Pay.", "", "", "Done: paid 3"]
    assert paid == [3]


async def test_stateless_run_can_be_decided_about_where_sessions_are_stored(sqlite_url: str) -> None:
    paid: list[int] = []
    async with Agent(ScriptedLLM(pays), name="Host", tools=[paying(paid)], store=sqlite_url) as agent:
        with pytest.raises(NeedsAttention) as raised:
            await agent.run("Pay.")
        assert raised.value.run_id is not None
        reply = await agent.decide(raised.value.run_id, "approve")

    assert (reply.text, paid) == ("Done: paid 3", [3])


async def test_what_was_decided_about_leaves_nothing_in_memory() -> None:
    async def waiting_run(agent: Agent) -> str:
        try:
            await agent.run("Pay.")
        except NeedsAttention as error:
            return str(error.run_id)
        raise AssertionError("it did not wait")

    async with Agent(ScriptedLLM(pays), tools=[paying([])]) as agent:
        run_id = await waiting_run(agent)
        waiting = left_in_memory(agent)
        await agent.decide(run_id, "approve")
        agent.create_session()

        assert waiting == 1
        assert left_in_memory(agent) == 0


async def test_run_of_a_failed_answer_is_retried_in_a_stored_session(tmp_path: Path) -> None:
    llm = ScriptedLLM([OSError("no"), "Here."])
    async with Agent(llm, name="Host", store=f"sqlite:///{tmp_path / 'chat.db'}") as agent:
        session = agent.create_session()
        with pytest.raises(TertuliaError) as raised:
            await agent.run("Hello?", session=session)
        reply = await agent.retry(str(raised.value.run_id))

        assert await texts(session) == ["Hello?", "Here."]
    assert (reply.text, shown(llm.prompts[-1])) == ("Here.", ["Hello?"])


async def test_call_that_waits_may_be_cancelled_and_the_run_goes_on_waiting() -> None:
    async with Agent(ScriptedLLM(pays), tools=[paying([])]) as agent:
        session = agent.create_session()
        with pytest.raises(NeedsAttention) as raised:
            await agent.run("Pay.", session=session)
        assert raised.value.run_id is not None
        waiting = asyncio.create_task(agent.run("Well?", session=session))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

        assert (await agent.decide(raised.value.run_id, "deny")).text.startswith("Done")
