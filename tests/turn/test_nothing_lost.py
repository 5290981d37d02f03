"""What was done, thought and paid for in a turn is not lost, and teaches nothing that is not so."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest
from typing_extensions import override

from tertulia import ids
from tertulia.agent_settings import ModelSettings, RunLimits
from tertulia.conversations import NewConversation
from tertulia.errors import ContextTooLong, ModelBusy, ModelMalformed, ModelTimeout
from tertulia.events import ReasoningDelta, first_seq
from tertulia.llms.base import Begun, Finished, LLMEvent, Prompt
from tertulia.llms.scripted import Script, ScriptedLLM, ScriptedReply
from tertulia.memory.pairing import NO_RESULT
from tertulia.memory.tokens import estimate, tokens_of
from tertulia.messages import Flag
from tertulia.parts import Reasoning, Text, ToolCall, ToolResult
from tertulia.runtime import RunOptions
from tertulia.tools.functions import tool
from tertulia.turn.answer import Answer
from tests.engine.kit import Gate
from tests.turn.houses import a_house, a_process
from tests.turn.kitchen import DEFINITION, a_kitchen


@tool(is_idempotent=True)
def add(one: int) -> int:
    """Add."""
    return one + 1


def a_call(ident: str, one: int = 1, name: str = "add") -> ToolCall:
    return ToolCall(id=ident, name=name, arguments=json.dumps({"one": one}))


@pytest.mark.parametrize(("taken", "given"), [(["c"], ["c", "c_2"]), (["c", "c_2"], ["c"])])
def test_replaced_ids_are_no_others_ids(taken: list[str], given: list[str]) -> None:
    answer = Answer(text="", calls=tuple(a_call(ident) for ident in given))

    found = [call.id for call in answer.with_distinct_ids(taken, call=2).calls]

    assert len(set(found)) == len(found)
    assert not set(found) & set(taken)


async def test_long_result_teaches_nothing_about_the_room_for_other_conversations() -> None:
    @tool(is_idempotent=True)
    def read() -> str:
        """Read a lot."""
        return "word " * 700

    def reply(prompt: Prompt) -> ScriptedReply:
        if sum(len(shown.text) for shown in prompt.messages) > 6000:
            return ContextTooLong("too long")
        last = prompt.messages[-1]
        return ToolCall(id="r", name="read", arguments="{}") if last.text == "Read." else "b " * 100

    async with a_kitchen(reply, context_tokens=1500, tools=[read]) as kitchen:
        for turn in range(16):
            await kitchen.ask(f"{turn} " + "a " * 100)
        before = len(kitchen.llm.prompts[-1])
        await kitchen.ask("Read.")  # its history was halved
        agent = await kitchen.store.agents.get(0, "Chef")
        row = await kitchen.store.conversations.create(
            0, NewConversation(id=ids.new_id(ids.CONVERSATION), agent_id=agent.id)
        )
        kitchen.row = row
        for turn in range(16):
            await kitchen.ask(f"{turn} " + "a " * 100)

        assert len(kitchen.llm.prompts[-1]) == before


async def test_result_that_is_journaled_when_the_run_is_stopped_is_kept_with_what_was_said() -> None:
    writing, let = asyncio.Event(), asyncio.Event()

    @tool
    async def pay(one: int) -> str:
        """Pay."""
        writing.set()
        return "paid"

    house = await a_house(tools=[pay])
    commit = house.store._runs.commit

    async def slow_commit(lease, commit_, claimant=None):  # type: ignore[no-untyped-def]
        if writing.is_set() and not let.is_set():
            halted.set()
            await let.wait()
        return await commit(lease, commit_, claimant)

    halted = asyncio.Event()
    house.store._runs.commit = slow_commit  # type: ignore[method-assign]
    async with a_process(house, [a_call("a", name="pay")]) as process:
        ticket = await process.say("Pay.")
        await halted.wait()
        cancelling = asyncio.create_task(process.engine.cancel(0, ticket.run.id, keep_partial=True))
        for _ in range(20):
            await asyncio.sleep(0)
        let.set()
        await cancelling

    results = [part for m in await house.messages() for part in m.content if isinstance(part, ToolResult)]
    assert [result.text for result in results] == ["paid"]


async def test_tool_that_is_cancelled_from_within_is_told_to_the_model() -> None:
    @tool(is_idempotent=True)
    async def look() -> str:
        """Look."""
        inner = asyncio.ensure_future(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner
        return "seen"

    async with a_kitchen([ToolCall(id="a", name="look", arguments="{}"), "Sorry."], tools=[look]) as kitchen:
        finished = await kitchen.ask("Look.")

        assert finished.messages[-1].text == "Sorry."


async def test_judge_gets_no_more_time_than_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000_000]
    monkeypatch.setattr("tertulia.engine.journal.now_us", lambda: now[0])
    timeouts: list[float | None] = []

    def model(prompt: Prompt) -> ScriptedReply:
        timeouts.append(prompt.settings.timeout)
        now[0] += 3_000_000
        return "Hello." if len(timeouts) == 1 else {"is_over": False, "reason": "no"}

    definition = replace(DEFINITION, settings=ModelSettings(check_end=True))
    async with a_kitchen(model, definition) as kitchen:
        await kitchen.ask("Hi.", limits=RunLimits(max_seconds=5))

    assert timeouts == [5, 2]


async def test_turn_that_was_stopped_among_its_tools_is_marked_incomplete() -> None:
    gate = Gate()

    @tool(is_idempotent=True)
    async def slow(one: int) -> str:
        """Wait."""
        await gate()
        return "never"

    house = await a_house(tools=[slow])
    async with a_process(house, [a_call("a", 1, "slow")]) as process:
        ticket = await process.say("Wait.")
        await gate.reached()
        await process.engine.cancel(0, ticket.run.id, keep_partial=True)

    assert any(message.flags & Flag.INCOMPLETE for message in await house.messages())


async def test_judge_that_answered_something_else_has_cost_as_much() -> None:
    definition = replace(DEFINITION, settings=ModelSettings(check_end=True))
    async with a_kitchen(["Hello.", "perhaps"], definition) as kitchen:
        finished = await kitchen.ask("Hi.")

        assert finished.usage.model_calls == 2


async def test_answer_that_is_none_has_cost_as_much() -> None:
    async with a_kitchen([Finished(text="", model="m")]) as kitchen:
        ticket = await kitchen.runtime.submit("Hi.", conversation=kitchen.row.id)
        with pytest.raises(ModelMalformed):
            await ticket.finished()

        assert (await kitchen.store.runs.get(0, ticket.run.id)).usage.model_calls == 1


async def test_arguments_that_no_database_can_hold_do_not_lose_a_paid_answer() -> None:
    call = ToolCall(id="a", name="add", arguments='{"one": 1, "x": "\ud800\x00"}')
    async with a_kitchen([call, "Sorry."], tools=[add]) as kitchen:
        finished = await kitchen.ask("Add.")

        assert finished.messages[-1].text == "Sorry."


async def test_answer_that_its_run_gave_up_is_abandoned() -> None:
    class Slow(ScriptedLLM):
        @override
        async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
            yield Begun("resp_1")
            raise ModelTimeout("too slow")

    definition = replace(DEFINITION, settings=ModelSettings(background=True))
    house = await a_house(definition)
    llm = Slow([])
    async with a_process(house, llm) as process:
        ticket = await process.say("Hi.")
        with pytest.raises(ModelTimeout):
            await ticket.finished()

    assert llm.abandoned == ["resp_1"]


async def test_tools_that_a_model_is_told_of_take_room_as_well() -> None:
    class Windowed(ScriptedLLM):
        @property
        @override
        def window(self) -> int | None:
            return 2000

    async def look(what: str) -> str:
        return "seen"

    look.__doc__ = "Look at things. " * 200
    house = await a_house(tools=[tool(is_idempotent=True)(look)])
    async with a_process(house, Windowed(lambda _: "b " * 100)) as process:
        for turn in range(20):
            await process.ask(f"{turn} " + "a " * 100)
        [last] = process.llm.asked[-1:]

    told = sum(tokens_of(shown.parts or (Text(text=shown.text),)) for shown in last.messages)
    specs = sum(estimate(spec.description + json.dumps(dict(spec.parameters))) for spec in last.tools)
    assert told + specs <= 2000


async def test_what_was_thought_is_told_again_after_a_takeover() -> None:
    gate = Gate()

    @tool(is_idempotent=True)
    async def look() -> str:
        """Look."""
        if not gate.arrived:
            await gate()
        return "seen"

    house = await a_house(tools=[look])
    script: Script = [
        Finished(
            text="Well.",
            model="m",
            calls=(ToolCall(id="a", name="look", arguments="{}"),),
            reasoning=(Reasoning(text="Hm."),),
        )
    ]
    async with a_process(house, script) as gone, a_process(house, ["Seen."]) as heir:
        ticket = await gone.say("Look.")
        await gate.reached()
        await heir.go_on()
        told = await heir.told(ticket.run.id)

    thoughts = [each for each in told if isinstance(each.event, ReasoningDelta)]
    again = [each.event.text for each in thoughts if each.seq >= first_seq(2)]  # type: ignore[union-attr]  # looked at
    assert again == ["Hm."]


async def test_effect_of_a_failed_run_is_known_to_its_retry() -> None:
    paid: list[str] = []

    @tool
    def pay() -> str:
        """Pay."""
        paid.append("paid")
        return "paid"

    def model(prompt: Prompt) -> ScriptedReply:
        if any(isinstance(part, ToolResult) for shown in prompt.messages for part in shown.parts):
            return ModelBusy("later") if len(kitchen.llm.asked) == 2 else "It is paid."
        return ToolCall(id="a", name="pay", arguments="{}")

    async with a_kitchen(model, tools=[pay]) as kitchen:
        with pytest.raises(ModelBusy) as failure:
            await kitchen.ask("Pay.")
        await (await kitchen.runtime.retry(failure.value.run_id or "")).finished()

    assert paid == ["paid"]


@tool(needs_approval=True)
def delete(one: int) -> str:
    """Delete."""
    return "gone"


@tool(name="pay")
def pay_at_once(one: int) -> str:
    """Pay."""
    return "paid"


async def test_what_was_done_is_kept_where_nobody_has_allowed_the_next_in_time() -> None:
    house = await a_house(tools=[pay_at_once, delete])
    async with a_process(house, [a_call("a", name="pay"), a_call("b", name="delete")]) as process:
        ticket = await process.say("Pay and delete.")
        await process.waits(ticket.run.id)
        house.clock._now += 8 * 24 * 3600 * 1_000_000
        await process.go_on()
        end = await process.end(ticket.run.id)

    results = [part for m in await house.messages() for part in m.content if isinstance(part, ToolResult)]
    assert [result.text for result in results] == ["paid"]
    assert end.failure is not None
    assert end.failure.code == "needs_attention"


async def test_use_that_was_cut_off_by_a_cancel_is_known_to_whoever_comes_after() -> None:
    gate = Gate()

    @tool
    async def pay(one: int) -> str:
        """Pay."""
        await gate()
        return "paid"

    house = await a_house(tools=[pay])
    async with a_process(house, [a_call("a", name="pay"), "I do not know."]) as process:
        ticket = await process.say("Pay.")
        await gate.reached()
        await process.engine.cancel(0, ticket.run.id)
        await process.ask("Have you paid?")
        shown = process.llm.asked[-1].messages

    assert [each.role for each in shown[-4:]] == ["user", "assistant", "tool", "user"]
    assert shown[-2].text == NO_RESULT


async def test_rolling_back_a_retry_withdraws_what_the_failed_run_has_done_as_well() -> None:
    gate = Gate()

    @tool(is_idempotent=True)
    async def look(one: int) -> str:
        """Look."""
        if one == 2:
            await gate()
        return "seen"

    script: Script = [a_call("a", 1, "look"), ModelBusy("later"), a_call("b", 2, "look"), "Fresh."]
    async with a_kitchen(script, tools=[look]) as kitchen:
        with pytest.raises(ModelBusy) as failure:
            await kitchen.ask("Look.")
        await kitchen.runtime.retry(failure.value.run_id or "")
        await gate.reached()
        options = RunOptions(multitask="rollback")
        ticket = await kitchen.runtime.submit("No!", conversation=kitchen.row.id, options=options)
        await ticket.finished()

        assert [shown["content"] for shown in kitchen.llm.prompts[-1][2:]] == ["No!"]


async def test_retry_tells_what_it_has_said_itself() -> None:
    script: Script = [a_call("a", name="pay"), ModelBusy("later"), "Paid."]
    async with a_kitchen(script, tools=[pay_at_once]) as kitchen:
        with pytest.raises(ModelBusy) as failure:
            await kitchen.ask("Pay.")
        ticket = await kitchen.runtime.retry(failure.value.run_id or "")
        live = await ticket.finished()

        assert [message.text for message in live.messages] == ["Paid."]
        assert [shown["role"] for shown in kitchen.llm.prompts[-1][2:]] == ["user", "assistant", "tool"]


async def test_newest_message_may_take_the_room_that_is_left_to_tools() -> None:
    async with a_kitchen(["Long."], context_tokens=2000, tools=[pay_at_once]) as kitchen:
        finished = await kitchen.ask("word " * 1100)

        assert finished.messages[-1].text == "Long."
