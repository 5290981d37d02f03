"""Turns that wait for a decision: about a use to be allowed, or one of which nobody knows the end."""

import asyncio
import json
from dataclasses import replace

import pytest

from tertulia.conversations import RunStatus
from tertulia.errors import InvalidInput, NotWaiting
from tertulia.events import RunFinished, ToolCalled
from tertulia.llms.scripted import Script
from tertulia.messages import Flag
from tertulia.parts import ToolCall, ToolResult
from tertulia.tools.base import Tool, ToolContext
from tertulia.tools.functions import tool
from tests.engine.kit import Gate, settled
from tests.turn.houses import House, Process, a_house, a_process
from tests.turn.kitchen import DEFINITION

pytestmark = pytest.mark.usefixtures("quick")


def a_call(ident: str, name: str = "delete") -> ToolCall:
    return ToolCall(id=ident, name=name, arguments=json.dumps({"what": ident}))


class World:
    """What tools have done; ``pay`` stands still the first time if it is told to."""

    def __init__(self, *, halts: bool = False) -> None:
        self.done, self.keys = list[str](), list[str]()
        self.gate, self._halts = Gate(), halts

    def tools(self) -> list[Tool]:
        @tool(needs_approval=True)
        async def delete(what: str) -> str:
            """Delete something."""
            self.done.append(what)
            return f"{what} is gone"

        @tool(is_idempotent=True)
        async def look(what: str) -> str:
            """Look at something."""
            self.done.append(what)
            return f"{what} is seen"

        return [delete, look, self.paying()]

    def paying(self, on_unknown: str = "ask") -> Tool:
        async def pay(what: str, context: ToolContext) -> str:
            """Pay for something."""
            self.keys.append(context.key)
            if self._halts and len(self.keys) == 1:
                await self.gate()
            self.done.append(what)
            return f"{what} is paid"

        match on_unknown:
            case "retry":
                return tool(on_unknown="retry")(pay)
            case "fail":
                return tool(on_unknown="fail")(pay)
            case _:
                return tool(pay)


async def _results(house: House) -> list[ToolResult]:
    parts = [part for message in await house.messages() for part in message.content]
    return [part for part in parts if isinstance(part, ToolResult)]


async def test_use_is_allowed_in_another_process_which_asks_the_model_nothing_again() -> None:
    world = World()
    house = await a_house(tools=world.tools())
    async with a_process(house, [a_call("a")]) as first:
        ticket = await first.say("Delete it.")
        wait = await first.waits(ticket.run.id)
    async with a_process(house, ["Done."]) as second:
        end = await (await second.decide(ticket.run.id, "approve")).finished()

    assert (wait.kind, wait.path) == ("approval", "turn/1/tool/1/1/approval")
    assert world.done == ["a"]
    assert (end.usage.model_calls, end.usage.wasted_calls, end.usage.tool_calls) == (2, 0, 1)
    assert await house.texts() == ["Delete it.", "", "", "Done."]


async def test_use_that_was_allowed_survives_the_death_of_the_process_that_was_told() -> None:
    world = World(halts=True)
    house = await a_house(tools=[*world.tools()[:2], world.paying("retry")])
    async with a_process(house, [[a_call("a"), a_call("b", "pay")]]) as first:
        ticket = await first.say("Delete it.")
        await first.waits(ticket.run.id)
        await first.decide(ticket.run.id, "approve")
        await world.gate.reached()
        async with a_process(house, ["Done."]) as second:
            await second.go_on()
            end = await second.end(ticket.run.id)

    assert end.status is RunStatus.COMPLETED
    assert world.done == ["a", "b"]
    assert len(set(world.keys)) == 1


async def test_same_decision_again_changes_nothing_and_another_one_is_refused() -> None:
    world = World(halts=True)
    house = await a_house(tools=world.tools())
    async with a_process(house, [[a_call("a"), a_call("b", "pay")], "Done."]) as process:
        ticket = await process.say("Delete it.")
        await process.waits(ticket.run.id)
        await process.decide(ticket.run.id, "approve")
        await world.gate.reached()
        again = await process.decide(ticket.run.id, "approve")
        with pytest.raises(NotWaiting):
            await process.decide(ticket.run.id, "deny")
        with pytest.raises(NotWaiting):
            await process.decide(ticket.run.id, "approve", "another")
        world.gate.open()
        await again.finished()

    assert world.done == ["a", "b"]


async def test_nothing_of_an_answer_is_used_while_somebody_decides_about_a_part_of_it() -> None:
    world = World()
    house = await a_house(tools=world.tools())
    script: Script = [[a_call("a", "look"), a_call("b"), a_call("c", "look")], "Done."]
    async with a_process(house, script) as process:
        ticket = await process.say("Look and delete.")
        await process.waits(ticket.run.id)
        before = list(world.done)
        await (await process.decide(ticket.run.id, "deny", "not today")).finished()

    assert before == []
    assert sorted(world.done) == ["a", "c"]
    assert [(each.call_id, each.is_error) for each in await _results(house)] == [
        ("a", False),
        ("b", True),
        ("c", False),
    ]
    assert (await _results(house))[1].text == "A person has not allowed this use of the tool: not today"


@pytest.mark.parametrize("value", [None, "  ", 7])
async def test_denial_without_a_reason_is_told_as_such(value: object) -> None:
    house = await a_house(tools=World().tools())
    async with a_process(house, [a_call("a"), "As you like."]) as process:
        ticket = await process.say("Delete it.")
        await process.waits(ticket.run.id)
        end = await (await process.decide(ticket.run.id, "deny", value)).finished()

    assert (await _results(house))[0].text == "A person has not allowed this use of the tool."
    assert end.usage.tool_calls == 0


async def test_use_that_nobody_has_allowed_in_time_fails_the_run_and_happens_never() -> None:
    world = World()
    house = await a_house(tools=world.tools())
    async with a_process(house, [a_call("a"), a_call("b"), "Done."]) as process:
        ticket = await process.say("Delete it.")
        wait = await process.waits(ticket.run.id)
        while house.clock() < wait.until:
            house.clock.let_leases_run_out()
        await process.rounds.look()
        await settled(process.engine)
        end = await process.end(ticket.run.id)
        with pytest.raises(NotWaiting):
            await process.decide(ticket.run.id, "approve")
        retried = await process.engine.retry(0, ticket.run.id)
        await process.waits(retried.run.id)
        await (await process.decide(retried.run.id, "approve")).finished()

    assert end.failure is not None
    assert end.failure.code == "needs_attention"
    assert world.done == ["b"]
    assert (await house.texts())[0::3] == ["Delete it.", "Done."]


async def test_verdict_of_another_kind_is_refused() -> None:
    house = await a_house(tools=World().tools())
    async with a_process(house, [a_call("a"), "Done."]) as process:
        ticket = await process.say("Delete it.")
        await process.waits(ticket.run.id)

        with pytest.raises(InvalidInput):
            await process.decide(ticket.run.id, "retry")


async def test_person_is_told_of_the_tool_and_can_have_all_arguments() -> None:
    house = await a_house(tools=World().tools())
    what = "x" * 2000
    async with a_process(house, [a_call(what), "Done."]) as process:
        ticket = await process.say("Delete it.")
        wait = await process.waits(ticket.run.id)

    assert wait.message == "Chef wants to use delete"
    assert json.loads(wait.subject)["arguments"] == json.dumps({"what": what})


async def test_calls_are_told_before_somebody_is_asked() -> None:
    house = await a_house(tools=World().tools())
    async with a_process(house, [[a_call("a"), a_call("b", "look")], "Done."]) as process:
        ticket = await process.say("Delete it.")
        await process.waits(ticket.run.id)
        await process.decide(ticket.run.id, "deny")
        told = [each.event for each in await process.told(ticket.run.id)]

    kinds = [event.kind for event in told]
    calls = [event.call_id for event in told if isinstance(event, ToolCalled)]
    assert kinds.index("tool.called") < kinds.index("run.waiting") < kinds.index("tool.finished")
    assert calls == ["a", "b", "a", "b"]
    assert isinstance(told[-1], RunFinished)


async def _left_uncertain(house: House, world: World, first: Process, second: Process) -> str:
    """Have a process die while it pays, and another take the run over."""
    ticket = await first.say("Pay.")
    await world.gate.reached()
    await second.go_on()
    return ticket.run.id


PAYING: Script = [[a_call("a", "look"), a_call("b", "pay")]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("b was paid", "b was paid"),
        (None, "It was done; its result is not known."),
        ({"text": "paid", "is_error": True}, '{"text":"paid","is_error":true}'),
        ({"receipt": 7}, '{"receipt":7}'),
        ([1, 2], "[1,2]"),
        (7, "7"),
        (False, "false"),
        ({"text": 7}, '{"text":7}'),
    ],
)
async def test_use_that_somebody_knows_to_be_done_is_not_done_again(value: object, text: str) -> None:
    world = World(halts=True)
    house = await a_house(tools=world.tools())
    async with a_process(house, PAYING) as first, a_process(house, ["Done."]) as second:
        run_id = await _left_uncertain(house, world, first, second)
        wait = await second.waits(run_id)
        await second.decide(run_id, "done", value)
        end = await second.end(run_id)

    assert (wait.kind, wait.path) == ("unknown_outcome", "turn/1/tool/1/2")
    assert len(world.keys) == 1
    assert end.status is RunStatus.COMPLETED
    [_, result] = await _results(house)
    assert result == ToolResult(call_id="b", name="pay", text=text)
    assert [shown.text for shown in second.llm.asked[0].messages[-2:]] == ["a is seen", text]


@pytest.mark.parametrize("rule", ["ask", "retry"])
async def test_use_that_is_tried_again_gets_the_same_key(rule: str) -> None:
    world = World(halts=True)
    house = await a_house(tools=[*world.tools()[:2], world.paying(rule)])
    async with a_process(house, PAYING) as first, a_process(house, ["Done."]) as second:
        run_id = await _left_uncertain(house, world, first, second)
        if rule == "ask":
            await second.waits(run_id)
            await second.decide(run_id, "retry")
        end = await second.end(run_id)

    assert end.status is RunStatus.COMPLETED
    assert len(world.keys) == 2
    assert len(set(world.keys)) == 1
    assert [result.text for result in await _results(house)] == ["a is seen", "b is paid"]


@pytest.mark.parametrize("rule", ["ask", "fail"])
async def test_use_whose_end_nobody_knows_can_fail_the_run(rule: str) -> None:
    world = World(halts=True)
    house = await a_house(tools=[*world.tools()[:2], world.paying(rule)])
    async with a_process(house, PAYING) as first, a_process(house, ["Done."]) as second:
        run_id = await _left_uncertain(house, world, first, second)
        if rule == "ask":
            await second.waits(run_id)
            await second.decide(run_id, "fail")
        end = await second.end(run_id)

    assert end.failure is not None
    assert end.failure.code == "unknown_outcome"
    assert len(world.keys) == 1
    assert [message.role for message in await house.messages()] == ["user", "assistant", "tool"]
    assert [result.text for result in await _results(house)] == ["a is seen"]


async def test_uses_beside_an_uncertain_one_are_done_once() -> None:
    world = World(halts=True)
    house = await a_house(tools=world.tools())
    async with a_process(house, PAYING) as first, a_process(house, ["Done."]) as second:
        run_id = await _left_uncertain(house, world, first, second)
        await second.waits(run_id)
        await second.decide(run_id, "done", "b was paid")
        end = await second.end(run_id)

    # The first process used it beside the one that it died in, and had not journaled that.
    assert world.done in (["a"], ["a", "a"])
    assert end.usage.model_calls == 2


async def test_uses_beside_one_that_has_to_wait_come_to_their_ends_first() -> None:
    world, slowly = World(halts=True), Gate()
    uses = list[str]()

    @tool(is_idempotent=True)
    async def watch(what: str) -> str:
        """Watch; the second time for long."""
        uses.append(what)
        if len(uses) > 1:
            await slowly()
        return "watched"

    house = await a_house(tools=[watch, world.paying()])
    calls = [a_call("a", "pay"), a_call("b", "watch")]
    async with a_process(house, [calls]) as first, a_process(house, ["Done."]) as second:
        ticket = await first.say("Pay and watch.")
        await world.gate.reached()
        going_on = asyncio.create_task(second.go_on())
        await slowly.reached()
        for _ in range(50):
            await asyncio.sleep(0)
        meanwhile = await house.store.runs.get(0, ticket.run.id)
        slowly.open()
        await going_on
        await second.decide(ticket.run.id, "done", "it was paid")
        end = await second.end(ticket.run.id)

    assert meanwhile.status is RunStatus.RUNNING
    assert uses == ["b", "b"]
    assert [result.text for result in await _results(house)] == ["it was paid", "watched"]
    assert end.usage.tool_calls == 1


async def test_use_that_was_allowed_where_the_tool_is_not_there_is_told_to_the_model() -> None:
    world = World()
    house = await a_house(tools=world.tools())
    async with a_process(house, [a_call("a")]) as first:
        ticket = await first.say("Delete it.")
        await first.waits(ticket.run.id)
    async with a_process(house, ["Done."], tools=[]) as second:
        await second.decide(ticket.run.id, "approve")
        end = await second.end(ticket.run.id)

    assert end.failure is None
    assert world.done == []
    assert (await _results(house))[0].text == "There is no tool of this name. The tools are: none."


async def test_agent_that_was_changed_meanwhile_ends_its_run_as_it_was() -> None:
    world = World()
    house = await a_house(tools=world.tools())
    async with a_process(house, [a_call("a"), "Done.", "New."]) as process:
        ticket = await process.say("Delete it.")
        await process.waits(ticket.run.id)
        agent = await house.store.agents.get(0, DEFINITION.name)
        changed = replace(agent.definition, tools=(), instructions="Be long.")
        await house.store.agents.update(0, agent.id, changed)
        await (await process.decide(ticket.run.id, "approve")).finished()
        await process.ask("And now?")

        asked = process.llm.asked
    assert world.done == ["a"]
    assert [len(prompt.tools) for prompt in asked] == [3, 3, 0]
    assert [prompt.messages[0].text.endswith("Be brief.") for prompt in asked] == [True, True, False]
    assert all(message.flags == Flag.NONE for message in await house.messages())
