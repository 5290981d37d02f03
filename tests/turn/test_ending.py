"""Conversations that come to their end."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest
from typing_extensions import override

from tertulia.agent_settings import ModelSettings
from tertulia.errors import ConversationClosed, ModelBusy
from tertulia.llms.base import LLMEvent, Prompt
from tertulia.llms.scripted import Script, ScriptedLLM
from tertulia.parts import ToolCall
from tertulia.tools.functions import tool
from tests.engine.kit import Gate
from tests.turn.houses import a_house, a_process
from tests.turn.kitchen import DEFINITION, a_kitchen

pytestmark = pytest.mark.usefixtures("quick")

TWO_TURNS = replace(DEFINITION, settings=ModelSettings(max_turns=2))
JUDGED = replace(DEFINITION, settings=ModelSettings(check_end=True))
OVER = {"is_over": True, "reason": "the recipe was found"}
NOT_OVER = {"is_over": False, "reason": "a question is open"}


async def test_conversation_ends_with_the_last_of_its_turns_and_takes_nothing_more() -> None:
    async with a_kitchen(["One.", "Two."], TWO_TURNS) as kitchen:
        first = await kitchen.ask("1?")
        second = await kitchen.ask("2?")

        assert first.closed is None
        assert second.closed is not None
        assert "2 turns" in second.closed
        assert (await kitchen.conversation()).closed == second.closed
        with pytest.raises(ConversationClosed):
            await kitchen.ask("3?")
        assert await kitchen.texts() == ["1?", "One.", "2?", "Two."]


async def test_opened_again_it_goes_on_for_as_many_turns() -> None:
    async with a_kitchen(["1", "2", "3", "4"], TWO_TURNS) as kitchen:
        for text in "ab":
            await kitchen.ask(text)
        await kitchen.store.conversations.set_closed(0, kitchen.row.id, None)

        third, fourth = await kitchen.ask("c"), await kitchen.ask("d")

        assert third.closed is None
        assert fourth.closed is not None


async def test_failed_run_is_no_turn() -> None:
    async with a_kitchen([ModelBusy(), "1", "2"], TWO_TURNS) as kitchen:
        with pytest.raises(ModelBusy):
            await kitchen.ask("a")

        assert (await kitchen.ask("b")).closed is None
        assert (await kitchen.ask("c")).closed is not None


async def test_run_that_waited_behind_the_last_turn_fails_honestly() -> None:
    goes_on = asyncio.Event()

    @tool(is_idempotent=True)
    async def hold() -> str:
        """Wait."""
        await goes_on.wait()
        return "held"

    definition = replace(DEFINITION, settings=ModelSettings(max_turns=1))
    script: Script = [ToolCall(id="c", name="hold", arguments="{}"), "One.", "Never."]
    async with a_kitchen(script, definition, tools=[hold]) as kitchen:
        first = await kitchen.runtime.submit("a", conversation=kitchen.row.id)
        second = await kitchen.runtime.submit("b", conversation=kitchen.row.id)
        goes_on.set()

        await first.finished()
        with pytest.raises(ConversationClosed):
            await second.finished()
        assert [text for text in await kitchen.texts() if text in {"a", "One.", "b"}] == ["a", "One.", "b"]
        assert len(kitchen.llm.prompts) == 2


async def test_model_that_is_asked_ends_the_conversation_with_a_reason() -> None:
    async with a_kitchen(["Hello.", NOT_OVER, "Goodbye.", OVER], JUDGED) as kitchen:
        first = await kitchen.ask("Hi.")
        second = await kitchen.ask("Bye.")

        assert first.closed is None
        assert second.closed == "the recipe was found"
        assert [message.text for message in second.messages] == ["Goodbye."]
        assert kitchen.llm.prompts[3][-2] == {"role": "assistant", "content": "Goodbye."}
        assert [shown["content"] for shown in kitchen.llm.prompts[2][-3:]] == ["Hi.", "Hello.", "Bye."]
        assert second.usage.model_calls == 2


@pytest.mark.parametrize(
    "verdict",
    [ModelBusy(), "perhaps", {"is_over": "yes", "reason": ""}, ToolCall(id="c", name="add", arguments="{}")],
)
async def test_judge_that_does_not_answer_ends_nothing(verdict: object) -> None:
    async with a_kitchen(["Hello.", verdict, "Again.", NOT_OVER], JUDGED) as kitchen:  # type: ignore[list-item]  # what a script may hold
        first = await kitchen.ask("Hi.")

        assert first.closed is None
        assert [message.text for message in first.messages] == ["Hello."]
        assert (await kitchen.ask("Again?")).messages[-1].text == "Again."


async def test_agent_without_an_end_asks_nobody() -> None:
    async with a_kitchen(["Hello."]) as kitchen:
        await kitchen.ask("Hi.")

        assert len(kitchen.llm.prompts) == 1
        assert (await kitchen.conversation()).state is None


@tool(is_idempotent=True)
def look() -> str:
    """Look."""
    return "seen"


A_LOOK = ToolCall(id="a", name="look", arguments="{}")


async def test_turn_with_tools_is_one_turn() -> None:
    async with a_kitchen([A_LOOK, A_LOOK, "One.", "Two."], TWO_TURNS, tools=[look]) as kitchen:
        assert (await kitchen.ask("1?")).closed is None
        assert (await kitchen.ask("2?")).closed is not None


async def test_judge_sees_what_the_tools_have_given_and_the_same_prompt_up_to_there() -> None:
    async with a_kitchen([A_LOOK, "Seen.", OVER], JUDGED, tools=[look]) as kitchen:
        finished = await kitchen.ask("Look.")

        assert finished.closed == "the recipe was found"
        judge, answer = kitchen.llm.asked[2], kitchen.llm.asked[1]
        assert list(judge.messages[: len(answer.messages)]) == list(answer.messages)
        assert [shown.text for shown in judge.messages[-3:-1]] == ["seen", "Seen."]
        assert judge.tools == answer.tools
        assert not judge.wants_deltas
        assert finished.usage.model_calls == 3


async def test_judge_is_asked_no_more_once_the_turns_are_used_up() -> None:
    definition = replace(DEFINITION, settings=ModelSettings(max_turns=1, check_end=True))
    async with a_kitchen(["One.", OVER], definition) as kitchen:
        finished = await kitchen.ask("1?")

        assert finished.closed == "it was made for one turn"
        assert len(kitchen.llm.prompts) == 1


async def test_judge_may_end_it_before_the_turns_are_used_up() -> None:
    definition = replace(DEFINITION, settings=ModelSettings(max_turns=5, check_end=True))
    async with a_kitchen(["One.", OVER], definition) as kitchen:
        assert (await kitchen.ask("1?")).closed == "the recipe was found"


@pytest.mark.parametrize(("reason", "told"), [("  ", "its purpose is met"), ("x" * 400, "x" * 300)])
async def test_reason_is_never_empty_nor_long(reason: str, told: str) -> None:
    async with a_kitchen(["Bye.", {"is_over": True, "reason": reason}], JUDGED) as kitchen:
        assert (await kitchen.ask("Bye.")).closed == told


async def test_turn_that_was_stopped_is_no_turn() -> None:
    gate = Gate()

    @tool(is_idempotent=True)
    async def hold() -> str:
        """Wait for ever."""
        await gate()
        return "never"

    script: Script = [ToolCall(id="c", name="hold", arguments="{}"), "One.", "Two."]
    async with a_kitchen(script, TWO_TURNS, tools=[hold]) as kitchen:
        ticket = await kitchen.runtime.submit("Wait.", conversation=kitchen.row.id)
        await gate.reached()
        await kitchen.runtime.cancel(ticket.run.id, keep_partial=True)

        assert (await kitchen.ask("1?")).closed is None
        assert (await kitchen.ask("2?")).closed is not None


async def test_branch_of_a_closed_conversation_is_open_for_as_many_turns() -> None:
    async with a_kitchen([str(n) for n in range(9)], TWO_TURNS) as kitchen:
        await kitchen.ask("a")
        await kitchen.ask("b")
        branch = await kitchen.runtime.fork(kitchen.row.id)
        ends = []
        for text in "cd":
            ticket = await kitchen.runtime.submit(text, conversation=branch.id)
            ends.append((await ticket.finished()).closed)

        assert branch.closed is None
        assert [closed is None for closed in ends] == [True, False]
        assert (await kitchen.conversation()).closed is not None


async def test_branch_off_the_middle_counts_from_there() -> None:
    async with a_kitchen([str(n) for n in range(9)], TWO_TURNS) as kitchen:
        await kitchen.ask("a")
        branch = await kitchen.runtime.fork(kitchen.row.id)
        ticket = await kitchen.runtime.submit("b", conversation=branch.id)

        assert (await ticket.finished()).closed is not None
        assert (await kitchen.ask("c")).closed is not None


async def test_message_that_waited_behind_the_end_is_answered_once_it_is_open_again() -> None:
    gate = Gate()

    @tool(is_idempotent=True)
    async def hold() -> str:
        """Wait."""
        await gate()
        return "held"

    definition = replace(DEFINITION, settings=ModelSettings(max_turns=1))
    script: Script = [ToolCall(id="c", name="hold", arguments="{}"), "One.", "Two."]
    async with a_kitchen(script, definition, tools=[hold]) as kitchen:
        first = await kitchen.runtime.submit("a", conversation=kitchen.row.id)
        second = await kitchen.runtime.submit("b", conversation=kitchen.row.id)
        await gate.reached()
        gate.open()
        await first.finished()
        with pytest.raises(ConversationClosed, match="one turn"):
            await second.finished()
        await kitchen.store.conversations.set_closed(0, kitchen.row.id, None)
        again = await (await kitchen.runtime.retry(second.run.id)).finished()

        assert again.messages[-1].text == "Two."
        assert (await kitchen.texts())[-2:] == ["b", "Two."]


async def test_answer_is_judged_once_whatever_becomes_of_the_process() -> None:
    house = await a_house(JUDGED)
    halted = Gate()

    class Halting(ScriptedLLM):
        @override
        async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
            if prompt.response_schema is not None:
                await halted()
            async for event in super().stream(prompt):
                yield event

    async with a_process(house, Halting(["Goodbye."])) as gone, a_process(house, [OVER]) as heir:
        ticket = await gone.say("Bye.")
        await halted.reached()
        await heir.go_on()
        end = await heir.end(ticket.run.id)

    assert end.closed == "the recipe was found"
    assert await house.texts() == ["Bye.", "Goodbye."]
    assert len(heir.llm.asked) == 1
