"""Conversations that come to their end."""

import asyncio
from dataclasses import replace

import pytest

from tertulia.agent_settings import ModelSettings
from tertulia.errors import ConversationClosed, ModelBusy
from tertulia.llms.scripted import Script
from tertulia.parts import ToolCall
from tertulia.tools.functions import tool
from tests.turn.kitchen import DEFINITION, a_kitchen

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
