from dataclasses import replace

import pytest

from tertulia import ids
from tertulia.agent.stored import PERFORMER, AgentPerformer
from tertulia.agent_settings import ModelSettings
from tertulia.conversations import NewConversation
from tertulia.definitions import AgentDefinition
from tertulia.errors import ContextTooLong, ModelBusy, ModelMalformed, ShapeMismatch, UnknownModel
from tertulia.events import (
    RunFinished,
    RunStarted,
    StepRestarted,
    TextDelta,
    TurnFinished,
    TurnStarted,
)
from tertulia.llms.base import Prompt
from tertulia.llms.models import Models
from tertulia.runtime import Runtime
from tertulia.stores.in_memory import InMemoryStore
from tests.turn.kitchen import DEFINITION, SHAPED, a_kitchen


async def test_model_is_shown_context_instructions_opening_history_and_message() -> None:
    async with a_kitchen(["Pasta.", "Tiramisu."]) as kitchen:
        await kitchen.ask("What for dinner?")
        await kitchen.ask("And dessert?")

        assert kitchen.llm.prompts[1] == [
            {"role": "system", "content": "You are a chef.\n\nBe brief."},
            {"role": "assistant", "content": "Hello, I am the chef."},
            {"role": "user", "content": "What for dinner?"},
            {"role": "assistant", "content": "Pasta."},
            {"role": "user", "content": "And dessert?"},
        ]


async def test_agent_that_says_nothing_of_itself_sends_the_message_alone() -> None:
    async with a_kitchen(["Hi."], AgentDefinition(name="Bare")) as kitchen:
        await kitchen.ask("Hello?")

        assert kitchen.llm.prompts == [[{"role": "user", "content": "Hello?"}]]


async def test_shape_rule_reaches_the_model_and_the_answer_is_canonical() -> None:
    async with a_kitchen(['Sure!\n```json\n{ "n": 3 }\n```'], SHAPED) as kitchen:
        finished = await kitchen.ask("How many?")

        assert '"n"' in kitchen.llm.prompts[0][0]["content"]
        assert finished.messages[0].text == '{"n":3}'


async def test_answer_without_the_shape_is_mended_and_only_the_mended_one_is_kept() -> None:
    async with a_kitchen(["three", '{"n": "three"}', '{"n": 3}'], SHAPED) as kitchen:
        events = await kitchen.follow("How many?")

        assert await kitchen.texts() == ["How many?", '{"n":3}']
        assert [m["content"] for m in kitchen.llm.prompts[2]][-4::2] == ["three", '{"n": "three"}']
        assert sum(isinstance(event, StepRestarted) for event in events) == 3
        finished = events[-1]
        assert isinstance(finished, RunFinished)
        assert finished.usage.model_calls == 3


async def test_answer_that_never_has_the_shape_fails_and_keeps_the_question() -> None:
    async with a_kitchen(["no", "no", "no", '{"n": 1}'], SHAPED) as kitchen:
        with pytest.raises(ShapeMismatch):
            await kitchen.ask("How many?")

        assert await kitchen.texts() == ["How many?"]
        assert len(kitchen.llm.prompts) == 3


async def test_failure_of_the_model_keeps_the_question_and_nothing_else() -> None:
    async with a_kitchen([ModelBusy("come back later", retry_after=7), "Here I am."]) as kitchen:
        with pytest.raises(ModelBusy) as failure:
            await kitchen.ask("Anybody there?")

        assert failure.value.retry_after == 7
        assert failure.value.run_id is not None
        assert await kitchen.texts() == ["Anybody there?"]
        await kitchen.ask("Hello?")
        assert await kitchen.texts() == ["Anybody there?", "Hello?", "Here I am."]


async def test_empty_answer_is_no_answer() -> None:
    async with a_kitchen([""]) as kitchen:
        with pytest.raises(ModelMalformed):
            await kitchen.ask("Say something.")

        assert await kitchen.texts() == ["Say something."]


async def test_nul_and_lone_surrogates_in_an_answer_are_replaced_everywhere() -> None:
    async with a_kitchen(["a\x00b\ud800c"]) as kitchen:
        events = await kitchen.follow("Go on.")

        assert (await kitchen.texts())[1] == "a\ufffdb\ufffdc"
        spoken = "".join(event.text for event in events if isinstance(event, TextDelta))
        assert spoken == "a\ufffdb\ufffdc"


async def test_run_is_told_from_start_to_end() -> None:
    async with a_kitchen(["Pasta today."]) as kitchen:
        events = await kitchen.follow("What for dinner?")

        kinds = [type(event) for event in events]
        assert kinds[:2] == [RunStarted, TurnStarted]
        assert kinds[-2:] == [TurnFinished, RunFinished]
        assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Pasta today."


async def test_settings_of_a_run_go_before_those_of_its_agent() -> None:
    seen: list[ModelSettings] = []
    definition = replace(DEFINITION, settings=ModelSettings(temperature=0.2, max_tokens=50))

    async with a_kitchen(lambda prompt: seen.append(prompt.settings) or "ok", definition) as kitchen:  # type: ignore[func-returns-value]  # append, then answer
        await kitchen.ask("Hi.", temperature=1.5)

    assert seen == [ModelSettings(temperature=1.5, max_tokens=50)]


async def test_long_history_is_cut_to_whole_exchanges_that_fit() -> None:
    async with a_kitchen(lambda _: "b " * 60, context_tokens=400) as kitchen:
        for turn in range(12):
            await kitchen.ask(f"{turn} " + "a " * 60)

        shown = kitchen.llm.prompts[-1]
        assert [m["role"] for m in shown[:3]] == ["system", "assistant", "user"]
        assert shown[-1]["content"].startswith("11 ")
        assert len(shown) < 12
        assert len(await kitchen.texts()) == 24


async def test_start_of_a_long_history_moves_seldom() -> None:
    async with a_kitchen(lambda _: "b " * 10, context_tokens=600) as kitchen:
        for turn in range(40):
            await kitchen.ask(f"{turn} " + "a " * 10)

        starts = [prompt[2]["content"] for prompt in kitchen.llm.prompts]
        assert len(set(starts)) < len(starts) / 3


async def test_message_that_cannot_fit_fails_and_says_so() -> None:
    async with a_kitchen(["never"], context_tokens=300) as kitchen:
        with pytest.raises(ContextTooLong):
            await kitchen.ask("word " * 2000)

        assert kitchen.llm.prompts == []


async def test_first_message_stays_what_it_was_when_the_conversation_began() -> None:
    async with a_kitchen(["one", "two"]) as kitchen:
        await kitchen.ask("Hi.")
        agent = await kitchen.store.agents.get(0, "Chef")
        await kitchen.store.agents.update(
            0, agent.id, replace(DEFINITION, first_message="Something else.", context="You are a baker.")
        )
        await kitchen.ask("Again.")

        shown = kitchen.llm.prompts[1]
        assert shown[0]["content"].startswith("You are a baker.")
        assert shown[1]["content"] == "Hello, I am the chef."


async def test_model_that_is_not_there_fails_the_run_with_its_name() -> None:
    store = InMemoryStore()
    performer = AgentPerformer(store, Models("scripted:echo"), context_tokens=1000)
    runtime = Runtime(store, {PERFORMER: performer})
    await runtime.start()
    agent = await store.agents.create(
        0, ids.new_id(ids.AGENT), AgentDefinition(name="Lost", model="nowhere:model")
    )

    ticket = await runtime.submit(
        "Hi.", conversation=NewConversation(id=ids.new_id(ids.CONVERSATION), agent_id=agent.id)
    )
    with pytest.raises(UnknownModel, match="nowhere:model"):
        await ticket.finished()
    await runtime.stop()


async def test_turns_of_one_process_do_not_read_the_log_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_kitchen(lambda _: "Yes.") as kitchen:
        await kitchen.ask("First?")

        async def never(*_: object, **__: object) -> None:
            raise AssertionError("the log was read")

        monkeypatch.setattr(kitchen.store.conversations, "recent", never)
        await kitchen.ask("Second?")
        await kitchen.ask("Third?")

        assert [m["content"] for m in kitchen.llm.prompts[-1][2:]] == [
            "First?", "Yes.", "Second?", "Yes.", "Third?",
        ]  # fmt: skip


async def test_prompt_that_the_provider_finds_too_long_is_cut_and_asked_again() -> None:
    def short_of_memory(prompt: Prompt) -> str | Exception:
        return ContextTooLong("too long") if len(prompt.messages) > 6 else "Yes."

    async with a_kitchen(short_of_memory, context_tokens=300) as kitchen:
        for turn in range(8):
            await kitchen.ask(f"{turn} " + "a " * 10)

        assert len(await kitchen.texts()) == 16
        assert kitchen.llm.prompts[-1][-1]["content"].startswith("7 ")
        lengths = [len(prompt) for prompt in kitchen.llm.prompts]
        assert sum(length > 6 for length in lengths) <= 3  # found out, and then kept in mind


async def test_message_that_no_provider_takes_fails_after_a_few_attempts() -> None:
    async with a_kitchen(lambda _: ContextTooLong("too long"), context_tokens=4000) as kitchen:
        with pytest.raises(ContextTooLong):
            await kitchen.ask("hello")

        assert len(kitchen.llm.prompts) == 4
        assert await kitchen.texts() == ["hello"]


async def test_agent_whose_own_texts_fill_the_window_says_which_they_are() -> None:
    async with a_kitchen(
        ["never"], replace(DEFINITION, context="word " * 900), context_tokens=300
    ) as kitchen:
        with pytest.raises(ContextTooLong, match="the agent's own texts and tools take about"):
            await kitchen.ask("hi")
