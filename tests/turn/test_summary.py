"""Summaries on demand."""

import json
from dataclasses import replace

import pytest

from tertulia.agent import AgentPerformer
from tertulia.definitions import AgentDefinition
from tertulia.errors import InvalidInput, ShapeMismatch
from tertulia.llms.scripted import Script
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
