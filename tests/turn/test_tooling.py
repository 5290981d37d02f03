"""What an agent does with tools in a turn."""

import asyncio
import json
from dataclasses import replace

import pytest

from tertulia.agent_settings import RunLimits
from tertulia.conversations import RunStatus, Wait
from tertulia.engine import Ticket
from tertulia.errors import BudgetExceeded
from tertulia.events import RunWaiting, TextDelta, ToolCalled, ToolFinished
from tertulia.llms.scripted import Script
from tertulia.parts import ToolCall, ToolResult
from tertulia.tools.base import Tool, ToolContext
from tertulia.tools.functions import tool
from tests.turn.kitchen import SHAPED, Kitchen, a_kitchen


@tool(is_idempotent=True)
def add(one: int, other: int) -> int:
    """Add two numbers."""
    return one + other


def a_call(ident: str, one: int = 1, other: int = 2, name: str = "add") -> ToolCall:
    return ToolCall(id=ident, name=name, arguments=json.dumps({"one": one, "other": other}))


async def test_model_is_shown_what_its_tools_have_given_and_answers_after_that() -> None:
    async with a_kitchen([a_call("c1"), "Three."], tools=[add]) as kitchen:
        finished = await kitchen.ask("1 + 2?")

        assert [message.role for message in finished.messages] == ["assistant", "tool", "assistant"]
        assert finished.messages[1].content == (ToolResult(call_id="c1", name="add", text="3"),)
        assert finished.messages[-1].text == "Three."
        assert [spec.name for spec in kitchen.llm.asked[0].tools] == ["add"]
        assert kitchen.llm.prompts[1][-2]["tool_calls"][0]["id"] == "c1"
        assert kitchen.llm.prompts[1][-1]["tool_call_id"] == "c1"
        assert kitchen.llm.prompts[1][-1]["content"] == "3"
        assert finished.usage.tool_calls == 1
        assert finished.usage.model_calls == 2


async def test_later_turns_are_shown_calls_and_results_as_they_were() -> None:
    async with a_kitchen([a_call("c1"), "Three.", "Four."], tools=[add]) as kitchen:
        await kitchen.ask("1 + 2?")
        await kitchen.ask("And 2 + 2?")

        assert kitchen.llm.prompts[2][:-2] == kitchen.llm.prompts[1]
        assert [shown["content"] for shown in kitchen.llm.prompts[2][-2:]] == ["Three.", "And 2 + 2?"]


async def test_tools_of_one_answer_are_used_side_by_side_and_shown_in_its_order() -> None:
    both = asyncio.Barrier(2)

    @tool(is_idempotent=True)
    async def meet(name: str) -> str:
        """Wait for the other."""
        async with asyncio.timeout(10):
            await both.wait()
        return name

    calls = [ToolCall(id=name, name="meet", arguments=json.dumps({"name": name})) for name in ("a", "b")]
    async with a_kitchen([calls, "Met."], tools=[meet]) as kitchen:
        finished = await kitchen.ask("Meet.")

        assert [message.content[0] for message in finished.messages[1:3]] == [
            ToolResult(call_id="a", name="meet", text="a"),
            ToolResult(call_id="b", name="meet", text="b"),
        ]


async def test_followers_are_told_of_tools_between_the_words() -> None:
    script: Script = [[a_call("c1")], "Three."]
    async with a_kitchen(script, tools=[add]) as kitchen:
        events = await kitchen.follow("1 + 2?")

        told = [event for event in events if isinstance(event, ToolCalled | ToolFinished | TextDelta)]
        assert isinstance(told[0], ToolCalled)
        assert (told[0].name, json.loads(told[0].arguments)) == ("add", {"one": 1, "other": 2})
        assert isinstance(told[1], ToolFinished)
        assert (told[1].call_id, told[1].text, told[1].is_error) == ("c1", "3", False)
        assert all(isinstance(event, TextDelta) for event in told[2:])


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (ToolCall(id="c", name="subtract", arguments="{}"), "The tools are: add"),
        (ToolCall(id="c", name="add", arguments='{"one": 1}'), "other"),
        (ToolCall(id="c", name="add", arguments='{"one": '), "JSON"),
    ],
)
async def test_what_cannot_be_used_is_told_to_the_model(call: ToolCall, told: str) -> None:
    async with a_kitchen([call, "Sorry."], tools=[add]) as kitchen:
        finished = await kitchen.ask("1 + 2?")

        assert finished.status is RunStatus.COMPLETED
        result = finished.messages[1].content[0]
        assert isinstance(result, ToolResult)
        assert result.is_error
        assert told in result.text


async def test_calls_with_an_id_that_was_used_before_in_the_turn_get_another() -> None:
    async with a_kitchen([a_call("c"), a_call("c"), "Done."], tools=[add]) as kitchen:
        finished = await kitchen.ask("Twice.")

        calls = [p.id for m in finished.messages for p in m.content if isinstance(p, ToolCall)]
        results = [p.call_id for m in finished.messages for p in m.content if isinstance(p, ToolResult)]
        assert calls == results
        assert len(set(calls)) == 2


async def test_answer_that_used_tools_gets_its_shape() -> None:
    script: Script = [a_call("c1"), "three", {"n": 3}]
    async with a_kitchen(script, SHAPED, tools=[add]) as kitchen:
        finished = await kitchen.ask("1 + 2?")

        assert [message.role for message in finished.messages] == ["assistant", "tool", "assistant"]
        assert finished.messages[-1].text == '{"n":3}'


async def test_context_of_a_tool_names_the_run_and_its_use() -> None:
    seen: list[ToolContext] = []

    @tool
    def look(context: ToolContext) -> str:
        """Look."""
        seen.append(context)
        return "seen"

    call = ToolCall(id="c1", name="look", arguments="{}")
    async with a_kitchen([[call, replace(call, id="c2")], "Seen."], tools=[look]) as kitchen:
        finished = await kitchen.ask("Look.")

        assert {context.run_id for context in seen} == {finished.run_id}
        assert len({context.key for context in seen}) == 2
        assert all(context.conversation_id == kitchen.row.id for context in seen)


async def _waits(kitchen: Kitchen, text: str) -> tuple[str, Wait]:
    ticket = await kitchen.runtime.submit(text, conversation=kitchen.row.id)
    return ticket.run.id, await _next_wait(ticket)


async def _next_wait(ticket: Ticket, *, after: Wait | None = None) -> Wait:
    async for numbered in ticket.events():
        if isinstance(numbered.event, RunWaiting) and numbered.event.wait != after:
            return numbered.event.wait
    raise AssertionError("it did not wait")


def a_dangerous_tool(used: list[str]) -> Tool:
    @tool(needs_approval=True)
    def delete(what: str) -> str:
        """Delete something."""
        used.append(what)
        return f"{what} is gone"

    return delete


async def test_use_that_needs_it_waits_for_approval_and_happens_once() -> None:
    used: list[str] = []
    call = ToolCall(id="c1", name="delete", arguments='{"what": "all"}')
    async with a_kitchen([call, "Done."], tools=[a_dangerous_tool(used)]) as kitchen:
        run_id, wait = await _waits(kitchen, "Delete all.")
        assert (wait.kind, used) == ("approval", [])
        assert json.loads(wait.subject) == {"tool": "delete", "call_id": "c1", "arguments": '{"what": "all"}'}

        ticket = await kitchen.runtime.decide(run_id, verdict="approve")
        finished = await ticket.finished()

        assert used == ["all"]
        assert finished.messages[-1].text == "Done."
        assert len(kitchen.llm.prompts) == 2


async def test_use_that_was_denied_does_not_happen_and_the_model_is_told_why() -> None:
    used: list[str] = []
    call = ToolCall(id="c1", name="delete", arguments='{"what": "all"}')
    async with a_kitchen([call, "I will not."], tools=[a_dangerous_tool(used)]) as kitchen:
        run_id, _ = await _waits(kitchen, "Delete all.")

        ticket = await kitchen.runtime.decide(run_id, verdict="deny", value="much too much")
        finished = await ticket.finished()

        assert used == []
        result = finished.messages[1].content[0]
        assert isinstance(result, ToolResult)
        assert result.is_error
        assert "much too much" in result.text


async def test_uses_that_need_it_are_approved_one_by_one() -> None:
    used: list[str] = []
    calls = [ToolCall(id=what, name="delete", arguments=json.dumps({"what": what})) for what in "ab"]
    async with a_kitchen([calls, "Done."], tools=[a_dangerous_tool(used)]) as kitchen:
        run_id, first = await _waits(kitchen, "Delete both.")
        second = await _next_wait(await kitchen.runtime.decide(run_id, verdict="deny"), after=first)
        ticket = await kitchen.runtime.decide(run_id, verdict="approve")
        finished = await ticket.finished()

        assert used == ["b"]
        assert "b" in second.subject
        assert finished.status is RunStatus.COMPLETED


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (RunLimits(max_steps=3), "max_steps"),
        (RunLimits(max_tokens=10), "max_tokens"),
    ],
)
async def test_run_ends_as_failed_where_its_limits_are(limits: RunLimits, named: str) -> None:
    async with a_kitchen([a_call("c1"), a_call("c2"), a_call("c3"), "Three."], tools=[add]) as kitchen:
        with pytest.raises(BudgetExceeded, match=named):
            await kitchen.ask("Add and add.", limits=limits)

        assert [m.text for m in await kitchen.messages() if m.role == "user"] == ["Add and add."]
