"""Summaries on demand."""

import json
from dataclasses import replace

import pytest

from tertulia.agent.stored import AgentPerformer
from tertulia.definitions import AgentDefinition
from tertulia.errors import InvalidInput, ModelBusy, ShapeMismatch
from tertulia.llms.scripted import Script
from tertulia.parts import ToolCall
from tertulia.tools.functions import tool
from tertulia.tools.toolbox import Toolbox
from tests.engine.kit import Gate
from tests.turn.kitchen import DEFINITION, SHAPED, Kitchen, OneModel, a_kitchen


async def summary(kitchen: Kitchen) -> dict[str, object]:
    performer = AgentPerformer(kitchen.store, OneModel(kitchen.llm), context_tokens=16_000)
    return await performer.summarize(await kitchen.conversation())


async def test_summary_has_the_keys_of_the_shape_and_its_own_and_is_kept_nowhere() -> None:
    async with a_kitchen(['{"n": 3}', {"n": 3, "summary": "Three it is."}], SHAPED) as kitchen:
        await kitchen.ask("How many?")
        before = await kitchen.conversation()

        found = await summary(kitchen)

        assert found == {"n": 3, "summary": "Three it is."}
        assert await kitchen.conversation() == before
        assert [shown["content"] for shown in kitchen.llm.prompts[1][:-1]][-2:] == ["How many?", '{"n":3}']


async def test_summary_of_an_agent_without_a_shape_is_the_summary_alone() -> None:
    async with a_kitchen(["Pasta.", {"summary": "Pasta was chosen."}]) as kitchen:
        await kitchen.ask("Dinner?")

        assert await summary(kitchen) == {"summary": "Pasta was chosen."}


async def test_loose_shape_gets_the_summary_as_one_more_key() -> None:
    definition = replace(DEFINITION, response_shape="{'recipes': 'List of strings'}")
    script: Script = [{"recipes": []}, {"recipes": ["Pasta"], "summary": "Pasta."}]
    async with a_kitchen(script, definition) as kitchen:
        await kitchen.ask("Dinner?")

        assert await summary(kitchen) == {"recipes": ["Pasta"], "summary": "Pasta."}


async def test_model_may_mend_its_summary_twice() -> None:
    script: Script = ["Pasta.", "what?", {"other": 1}, {"summary": "Pasta."}]
    async with a_kitchen(script) as kitchen:
        await kitchen.ask("Dinner?")

        assert await summary(kitchen) == {"summary": "Pasta."}
        assert kitchen.llm.prompts[2][:-2] == kitchen.llm.prompts[1]


async def test_summary_that_never_is_one_is_an_error() -> None:
    async with a_kitchen(["Pasta.", "what?", "what?", "what?"]) as kitchen:
        await kitchen.ask("Dinner?")

        with pytest.raises(ShapeMismatch):
            await summary(kitchen)


async def test_nothing_is_no_conversation_to_summarise() -> None:
    async with a_kitchen([], AgentDefinition(name="Bare")) as kitchen:
        with pytest.raises(InvalidInput, match="nothing was said"):
            await summary(kitchen)


async def test_shape_that_is_no_object_stands_under_answer() -> None:
    shape = json.dumps(
        {"type": "array", "items": {"$ref": "#/$defs/dish"}, "$defs": {"dish": {"type": "string"}}}
    )
    script: Script = ['["Pasta"]', {"answer": ["Pasta"], "summary": "Pasta."}]
    async with a_kitchen(script, replace(DEFINITION, response_shape=shape)) as kitchen:
        await kitchen.ask("Dinner?")

        assert await summary(kitchen) == {"answer": ["Pasta"], "summary": "Pasta."}


@tool(is_idempotent=True)
def look() -> str:
    """Look."""
    return "seen"


A_LOOK = ToolCall(id="a", name="look", arguments="{}")


async def test_summary_is_asked_for_with_tools_and_opening_as_the_turns_were() -> None:
    async with a_kitchen([A_LOOK, "Seen.", {"summary": "It was seen."}], tools=[look]) as kitchen:
        await kitchen.ask("Look.")
        performer = AgentPerformer(
            kitchen.store, OneModel(kitchen.llm), context_tokens=16_000, toolbox=Toolbox([look])
        )

        found = await performer.summarize(await kitchen.conversation())

        before, asked = kitchen.llm.asked[-2:]
        assert found == {"summary": "It was seen."}
        assert list(asked.messages[: len(before.messages)]) == list(before.messages)
        assert asked.tools == before.tools
        assert [shown["content"] for shown in kitchen.llm.prompts[-1][:-1]] == [
            *("You are a chef.\n\nBe brief.", "Hello, I am the chef."),
            *("Look.", "", "seen", "Seen."),
        ]


async def test_summary_of_a_turn_that_was_cut_off_in_its_tools_has_calls_and_results_in_pairs() -> None:
    gate = Gate()

    @tool(is_idempotent=True)
    async def look_for_ever() -> str:
        """Look for ever."""
        await gate()
        return "never"

    script: Script = [
        [A_LOOK, ToolCall(id="b", name="look_for_ever", arguments="{}")],
        {"summary": "Nothing."},
    ]
    async with a_kitchen(script, tools=[look, look_for_ever]) as kitchen:
        ticket = await kitchen.runtime.submit("Look.", conversation=kitchen.row.id)
        await gate.reached()
        await kitchen.runtime.cancel(ticket.run.id, keep_partial=True)
        performer = AgentPerformer(
            kitchen.store,
            OneModel(kitchen.llm),
            context_tokens=16_000,
            toolbox=Toolbox([look, look_for_ever]),
        )
        await performer.summarize(await kitchen.conversation())

        assert [shown["role"] for shown in kitchen.llm.prompts[-1][2:]] == [
            *("user", "assistant", "tool", "tool", "user"),
        ]


async def test_long_history_is_summarised_as_far_as_there_is_room() -> None:
    script: Script = [*["b " * 60] * 12, {"summary": "Much was said."}]
    async with a_kitchen(script, context_tokens=400) as kitchen:
        for turn in range(12):
            await kitchen.ask(f"{turn} " + "a " * 60)
        performer = AgentPerformer(kitchen.store, OneModel(kitchen.llm), context_tokens=400)

        found = await performer.summarize(await kitchen.conversation())

        shown = kitchen.llm.prompts[-1]
        assert found == {"summary": "Much was said."}
        assert len(shown) < 24
        assert shown[2]["role"] == "user"


async def test_turns_go_on_after_a_summary_as_if_there_had_been_none() -> None:
    async with a_kitchen(["Pasta.", {"summary": "Pasta."}, "Tiramisu."]) as kitchen:
        await kitchen.ask("Dinner?")
        performer = kitchen.runtime.engine._carrier._office.performers["agent"]
        assert isinstance(performer, AgentPerformer)
        await performer.summarize(await kitchen.conversation())
        await kitchen.ask("Dessert?")

        assert [shown["content"] for shown in kitchen.llm.prompts[-1][2:]] == [
            *("Dinner?", "Pasta.", "Dessert?"),
        ]


async def test_failure_of_the_model_is_the_summary_s_own() -> None:
    async with a_kitchen(["Pasta.", ModelBusy("later", retry_after=3)]) as kitchen:
        await kitchen.ask("Dinner?")

        with pytest.raises(ModelBusy):
            await summary(kitchen)
