"""How far a run may go: each limit, and what a takeover changes of it, which is nothing."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from tertulia.agent_settings import ModelSettings, RunLimits
from tertulia.errors import BudgetExceeded
from tertulia.events import RunFinished, ToolFinished, first_seq
from tertulia.llms.base import Finished, Prompt
from tertulia.llms.scripted import Script, ScriptedReply
from tertulia.parts import ToolCall, ToolResult
from tertulia.tools.functions import tool
from tertulia.usage import Usage
from tests.engine.kit import Gate
from tests.turn.houses import Death, a_house, a_process
from tests.turn.kitchen import DEFINITION, a_kitchen

pytestmark = pytest.mark.usefixtures("quick")

SPENT = Usage(input_tokens=10, output_tokens=5, model_calls=1, cost=0.25)


@tool(is_idempotent=True)
def add(one: int) -> int:
    """Add."""
    return one


def a_call(ident: str, name: str = "add") -> ToolCall:
    return ToolCall(id=ident, name=name, arguments=json.dumps({"one": 1}))


class Wanting:
    """A model that uses one tool after another, so many times, at the same price."""

    def __init__(self, uses: int) -> None:
        self._uses = uses
        self.calls = 0

    def __call__(self, prompt: Prompt) -> ScriptedReply:
        self.calls += 1
        used = sum(shown.role == "tool" for shown in prompt.messages)
        if used < self._uses:
            return Finished(text="", model="m", calls=(a_call(f"c{used}"),), usage=SPENT)
        return Finished(text="Done.", model="m", usage=SPENT)


@pytest.mark.parametrize(
    ("limits", "calls"),
    [
        (RunLimits(max_steps=1), 1),
        (RunLimits(max_steps=2), 1),
        (RunLimits(max_steps=3), 2),
        (RunLimits(max_tokens=15), 1),
        (RunLimits(max_tokens=16), 2),
        (RunLimits(max_cost=0.25), 1),
        (RunLimits(max_cost=0.26), 2),
    ],
)
async def test_at_most_one_step_goes_beyond_a_limit(limits: RunLimits, calls: int) -> None:
    model = Wanting(9)
    async with a_kitchen(model, tools=[add]) as kitchen:
        [name] = limits.given()
        with pytest.raises(BudgetExceeded, match=name):
            await kitchen.ask("Go.", limits=limits)

        assert model.calls == calls
        assert "Done." not in await kitchen.texts()


@pytest.mark.parametrize(
    "limits",
    [RunLimits(max_steps=3), RunLimits(max_tokens=16), RunLimits(max_cost=0.26), RunLimits(max_seconds=600)],
)
async def test_run_that_stays_within_its_limits_ends_well(limits: RunLimits) -> None:
    async with a_kitchen(Wanting(1), tools=[add]) as kitchen:
        finished = await kitchen.ask("Go.", limits=limits)

        assert finished.messages[-1].text == "Done."


async def test_of_all_limits_the_tightest_counts() -> None:
    definition = replace(DEFINITION, limits=RunLimits(max_steps=2))
    model = Wanting(9)
    async with a_kitchen(model, definition, tools=[add]) as kitchen:
        with pytest.raises(BudgetExceeded, match="max_steps is 2"):
            await kitchen.ask("Go.", limits=RunLimits(max_steps=30))

        assert model.calls == 1


async def test_run_without_limits_ends_after_fifty_steps() -> None:
    model = Wanting(10_000)
    async with a_kitchen(model, tools=[add]) as kitchen:
        with pytest.raises(BudgetExceeded, match="max_steps is 50"):
            await kitchen.ask("Go.")

        assert model.calls == 25


async def test_failed_run_keeps_what_it_has_done_and_tells_what_it_has_cost() -> None:
    async with a_kitchen(Wanting(2), tools=[add]) as kitchen:
        with pytest.raises(BudgetExceeded) as failure:
            await kitchen.ask("Go.", limits=RunLimits(max_steps=3))
        run = await kitchen.store.runs.get(0, failure.value.run_id or "")

        assert run.usage == SPENT + SPENT + Usage(tool_calls=1)
        assert [message.role for message in await kitchen.messages()] == ["user", "assistant", "tool"]


async def test_time_that_steps_have_taken_is_counted_and_the_next_call_gets_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1_000_000]
    monkeypatch.setattr("tertulia.engine.journal.now_us", lambda: now[0])
    timeouts: list[float | None] = []

    def model(prompt: Prompt) -> ScriptedReply:
        timeouts.append(prompt.settings.timeout)
        now[0] += 3_000_000
        return [a_call(f"c{len(timeouts)}")]

    @tool(is_idempotent=True, name="add")
    def add_slowly(one: int) -> int:
        """Add, slowly."""
        now[0] += 4_000_000
        return one

    async with a_kitchen(model, tools=[add_slowly]) as kitchen:
        with pytest.raises(BudgetExceeded, match="max_seconds is 15"):
            await kitchen.ask("Go.", limits=RunLimits(max_seconds=15), timeout=11)

    assert timeouts == [11, 8, 1]


async def test_without_a_limit_of_time_calls_are_asked_for_as_the_agent_has_it() -> None:
    async with a_kitchen(Wanting(0)) as kitchen:
        await kitchen.ask("Go.", timeout=7)
        await kitchen.ask("Go.")

        assert [prompt.settings.timeout for prompt in kitchen.llm.asked] == [7, None]


@pytest.mark.parametrize(
    ("limits", "calls"),
    [
        (RunLimits(max_steps=4), 1),
        (RunLimits(max_steps=5), 2),
        (RunLimits(max_tokens=30), 1),
        (RunLimits(max_tokens=31), 2),
        (RunLimits(max_cost=0.5), 1),
        (RunLimits(max_cost=0.51), 2),
        (RunLimits(max_seconds=6), 1),
        (RunLimits(max_seconds=7), 2),
    ],
)
async def test_run_that_is_taken_over_may_go_as_far_as_if_it_had_not_been(
    limits: RunLimits, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, gate = [1_000_000], Gate()
    monkeypatch.setattr("tertulia.engine.journal.now_us", lambda: now[0])

    @tool(is_idempotent=True, name="add")
    async def add_at_a_gate(one: int) -> int:
        """Add; the first time stand still."""
        if not gate.arrived:
            await gate()
        return one

    def slowly(model: Wanting) -> Callable[[Prompt], ScriptedReply]:
        def reply(prompt: Prompt) -> ScriptedReply:
            now[0] += 3_000_000
            return model(prompt)

        return reply

    house, heirs = await a_house(tools=[add_at_a_gate]), Wanting(2)
    async with a_process(house, slowly(Wanting(2))) as gone, a_process(house, slowly(heirs)) as heir:
        ticket = await gone.say("Go.", limits=limits.given())
        await gate.reached()
        await heir.go_on()
        end = await heir.end(ticket.run.id)

    assert heirs.calls == calls
    assert ("budget_exceeded" if calls == 1 else None) == (end.failure and end.failure.code)


async def test_run_whose_limit_is_reached_still_comes_as_far_as_it_had_come() -> None:
    @tool
    def pay(one: int) -> int:
        """Pay."""
        return one

    house, death = await a_house(tools=[pay]), Death(13)
    script: Script = [[a_call("a", "pay")]]
    async with a_process(house, script, probe=death) as gone, a_process(house, []) as heir:
        ticket = await gone.say("Go.", limits=RunLimits(max_steps=2).given())
        await gone.gone()
        await heir.go_on()
        told = [each.event for each in await heir.told(ticket.run.id) if each.seq >= first_seq(2)]

    assert death.passed[-1] == "journal.after"  # of what the tool has given
    assert [event.call_id for event in told if isinstance(event, ToolFinished)] == ["a"]
    assert isinstance(end := told[-1], RunFinished)
    assert end.failure is not None
    assert end.failure.code == "budget_exceeded"


async def test_judge_is_asked_only_within_the_limits_and_the_answer_is_kept_without() -> None:
    definition = replace(DEFINITION, settings=ModelSettings(check_end=True))
    verdict = {"is_over": True, "reason": "done"}
    async with a_kitchen(["Hello.", verdict], definition) as kitchen:
        finished = await kitchen.ask("Hi.", limits=RunLimits(max_steps=1))

        assert (finished.messages[-1].text, finished.closed) == ("Hello.", None)
        assert len(kitchen.llm.prompts) == 1


async def test_time_while_somebody_decides_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000_000]
    monkeypatch.setattr("tertulia.engine.journal.now_us", lambda: now[0])

    @tool(is_idempotent=True, needs_approval=True, name="add")
    def add_if_allowed(one: int) -> int:
        """Add."""
        return one

    house = await a_house(tools=[add_if_allowed])
    async with a_process(house, Wanting(1)) as process:
        ticket = await process.say("Go.", limits=RunLimits(max_seconds=5).given())
        await process.waits(ticket.run.id)
        now[0] += 3_600_000_000
        end = await (await process.decide(ticket.run.id, "approve")).finished()

    assert end.messages[-1].text == "Done."


async def test_uses_beyond_the_limit_are_not_taken_and_the_model_would_be_told() -> None:
    async with a_kitchen([[a_call(str(n)) for n in range(5)], "Done."], tools=[add]) as kitchen:
        with pytest.raises(BudgetExceeded) as failure:
            await kitchen.ask("Go.", limits=RunLimits(max_steps=3))
        run = await kitchen.store.runs.get(0, failure.value.run_id or "")

        results = [
            part for m in await kitchen.messages() for part in m.content if isinstance(part, ToolResult)
        ]
        assert [result.is_error for result in results] == [False, False, True, True, True]
        assert (run.usage.model_calls, run.usage.tool_calls) == (1, 2)


async def test_nobody_is_asked_about_a_use_that_the_limits_do_not_allow() -> None:
    @tool(needs_approval=True)
    def delete(one: int) -> int:
        """Delete."""
        return one

    async with a_kitchen([a_call("a", "delete")], tools=[delete]) as kitchen:
        with pytest.raises(BudgetExceeded):
            await kitchen.ask("Go.", limits=RunLimits(max_steps=1))


async def test_uses_side_by_side_are_all_taken_if_they_are_within_the_limit() -> None:
    both = asyncio.Barrier(2)

    @tool(is_idempotent=True, name="add")
    async def add_together(one: int) -> int:
        """Add, when the other does."""
        async with asyncio.timeout(10):
            await both.wait()
        return one

    async with a_kitchen([[a_call("a"), a_call("b")], "Done."], tools=[add_together]) as kitchen:
        finished = await kitchen.ask("Go.", limits=RunLimits(max_steps=4))

        assert finished.messages[-1].text == "Done."
