"""Turns that somebody stops: what is kept of them, and what the model is shown of that later."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest
from typing_extensions import override

from tertulia.agent_settings import ModelSettings
from tertulia.conversations import RunStatus
from tertulia.errors import RunCancelled
from tertulia.llms.base import Finished, LLMEvent, Prompt
from tertulia.llms.scripted import Script, ScriptedLLM
from tertulia.memory.pairing import NO_RESULT
from tertulia.memory.tokens import tokens_of
from tertulia.messages import Flag
from tertulia.parts import Reasoning, Text, ToolCall, ToolResult
from tertulia.runtime import RunOptions
from tertulia.tools.base import Tool
from tertulia.tools.functions import tool
from tests.engine.kit import Gate
from tests.turn.houses import a_house, a_process
from tests.turn.kitchen import DEFINITION, SHAPED, a_kitchen

pytestmark = pytest.mark.usefixtures("quick")


def a_call(ident: str, name: str = "quick") -> ToolCall:
    return ToolCall(id=ident, name=name, arguments=json.dumps({"what": ident}))


class Doing:
    """Tools of which one is done at once, one never, and one does harm if it is done twice."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.cut = list[str]()

    async def _hold(self, what: str) -> str:
        try:
            await self.gate()
        except asyncio.CancelledError:
            self.cut.append(what)
            raise
        return f"did {what}"

    def tools(self) -> list[Tool]:
        @tool(is_idempotent=True)
        async def quick(what: str) -> str:
            """Do something."""
            return f"did {what}"

        @tool(is_idempotent=True)
        async def slow(what: str) -> str:
            """Do something for ever."""
            return await self._hold(what)

        @tool
        async def pay(what: str) -> str:
            """Pay for something, for ever."""
            return await self._hold(what)

        return [quick, slow, pay]


class HaltingLLM(ScriptedLLM):
    """Stands still in its n-th answer, when a piece of it was said, or so many."""

    def __init__(self, script: Script, *, at: int, after: int = 1) -> None:
        super().__init__(script, chunk=4)
        self.gate, self._at, self._after = Gate(), at, after

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        said = 0
        async for event in super().stream(prompt):
            if len(self.asked) == self._at and (isinstance(event, Finished) or said == self._after):
                await self.gate()
            said += 1
            yield event


async def test_what_was_said_before_it_was_stopped_is_kept_after_the_tools_that_were_used() -> None:
    doing = Doing()
    house = await a_house(tools=doing.tools())
    calls = Finished(text="Let me see.", model="m", calls=(a_call("a"),), reasoning=(Reasoning(text="Hm."),))
    llm = HaltingLLM([calls, "All is well.", "Sure."], at=2)
    async with a_process(house, llm) as process:
        ticket = await process.say("Do it.")
        await llm.gate.reached()
        run = await process.engine.cancel(0, ticket.run.id, keep_partial=True)
        llm.gate.open()
        await process.ask("And now?")

    messages = await house.messages()
    assert run.status is RunStatus.CANCELLED
    assert [message.role for message in messages[:4]] == ["user", "assistant", "tool", "assistant"]
    assert messages[1].content == (Reasoning(text="Hm."), Text(text="Let me see."), a_call("a"))
    assert (messages[3].text, messages[3].flags) == ("All ", Flag.INCOMPLETE)
    assert [shown["role"] for shown in llm.prompts[-1][3:]] == ["assistant", "tool", "assistant", "user"]
    row = await house.store.conversations.get(0, house.row.id)
    assert row.tokens == sum(tokens_of(message.content) for message in await house.messages())


async def test_stopped_between_its_tools_and_the_next_word_each_result_is_kept_once() -> None:
    doing = Doing()
    house = await a_house(tools=doing.tools())
    llm = HaltingLLM([[a_call("a"), a_call("b")], "All is well."], at=2, after=0)
    async with a_process(house, llm) as process:
        ticket = await process.say("Do it.")
        await llm.gate.reached()
        await process.engine.cancel(0, ticket.run.id, keep_partial=True)

    messages = await house.messages()
    results = [part.call_id for m in messages for part in m.content if isinstance(part, ToolResult)]
    assert [message.role for message in messages] == ["user", "assistant", "tool", "tool"]
    assert results == ["a", "b"]


async def test_stopped_while_it_mends_its_answer_only_the_new_words_are_kept() -> None:
    house = await a_house(SHAPED)
    llm = HaltingLLM(["three, of course", {"n": 3}], at=2)
    async with a_process(house, llm) as process:
        ticket = await process.say("How many?")
        await llm.gate.reached()
        await process.engine.cancel(0, ticket.run.id, keep_partial=True)

    assert await house.texts() == ["How many?", '{"n"']


async def test_stopped_between_text_and_tools_only_the_text_is_kept() -> None:
    doing = Doing()
    house = await a_house(tools=doing.tools())
    llm = HaltingLLM([Finished(text="Let me see.", model="m", calls=(a_call("a"),))], at=1)
    async with a_process(house, llm) as process:
        ticket = await process.say("Do it.")
        await llm.gate.reached()
        await process.engine.cancel(0, ticket.run.id, keep_partial=True)

    _, said = await house.messages()
    assert said.content == (Text(text="Let "),)
    assert said.flags == Flag.INCOMPLETE


@pytest.mark.parametrize("name", ["slow", "pay"])
async def test_use_that_was_cut_off_is_kept_without_a_result_and_shown_with_one(name: str) -> None:
    doing = Doing()
    house = await a_house(tools=doing.tools())
    script: Script = [[a_call("a"), a_call("b", name)], "Sorry.", "Again."]
    async with a_process(house, script) as process:
        ticket = await process.say("Do both.")
        await doing.gate.reached()
        run = await process.engine.cancel(0, ticket.run.id, keep_partial=True)
        await process.ask("What happened?")
        grown = process.llm.asked[-1].messages
    async with a_process(house, ["Really."]) as fresh:
        await fresh.ask("Really?")
        read = fresh.llm.asked[0].messages

    assert run.status is RunStatus.CANCELLED
    assert doing.cut == ["b"]
    kept = (await house.messages())[:3]
    assert [message.role for message in kept] == ["user", "assistant", "tool"]
    assert kept[2].content == (ToolResult(call_id="a", name="quick", text="did a"),)
    assert [shown.parts[0] for shown in grown[4:6]] == [
        ToolResult(call_id="a", name="quick", text="did a"),
        ToolResult(call_id="b", name=name, text=NO_RESULT, is_error=True),
    ]
    assert list(read[: len(grown)]) == list(grown)
    row = await house.store.conversations.get(0, house.row.id)
    assert row.tokens == sum(tokens_of(message.content) for message in await house.messages())


async def test_turn_that_was_cancelled_keeps_what_it_has_done_and_nothing_else() -> None:
    doing = Doing()
    house = await a_house(tools=doing.tools())
    script: Script = [[a_call("a"), a_call("b", "pay")], "Sorry."]
    async with a_process(house, script) as process:
        ticket = await process.say("Do both.")
        await doing.gate.reached()
        run = await process.engine.cancel(0, ticket.run.id)

        with pytest.raises(RunCancelled):
            await ticket.finished()

    messages = await house.messages()
    assert (run.status, doing.cut) == (RunStatus.CANCELLED, ["b"])
    assert [message.role for message in messages] == ["user", "assistant", "tool"]
    assert [message.flags for message in messages] == [Flag.NONE, Flag.INCOMPLETE, Flag.NONE]
    assert run.usage.model_calls == 1
    assert len(process.llm.prompts) == 1


async def test_nothing_said_and_nothing_used_is_nothing_to_keep() -> None:
    house = await a_house()
    llm = HaltingLLM(["   "], at=1)
    async with a_process(house, llm) as process:
        ticket = await process.say("Say something.")
        await llm.gate.reached()
        await process.engine.cancel(0, ticket.run.id, keep_partial=True)

    assert await house.texts() == ["Say something."]


@pytest.mark.parametrize(("multitask", "flags"), [("interrupt", Flag.NONE), ("rollback", Flag.WITHDRAWN)])
async def test_use_with_an_effect_comes_to_its_end_before_the_run_makes_room(
    multitask: str, flags: Flag
) -> None:
    doing = Doing()
    script: Script = [[a_call("a", "pay")], "Here I am."]
    async with a_kitchen(script, tools=doing.tools()) as kitchen:
        first = await kitchen.runtime.submit("Pay.", conversation=kitchen.row.id)
        await doing.gate.reached()
        options = RunOptions(multitask="rollback" if multitask == "rollback" else "interrupt")
        second = await kitchen.runtime.submit("Wait!", conversation=kitchen.row.id, options=options)
        is_cut_short = bool(doing.cut)
        doing.gate.open()
        with pytest.raises(RunCancelled):
            await first.finished()
        await second.finished()

        messages = await kitchen.messages()
        steps = await kitchen.store.runs.steps(0, first.run.id)

    assert (is_cut_short, doing.cut) == (False, [])
    assert [message.text for message in messages] == ["Pay.", "", "", "Wait!", "Here I am."]
    assert [message.flags & Flag.WITHDRAWN for message in messages[:3]] == [flags] * 3
    assert [shown["content"] for shown in kitchen.llm.prompts[-1][2:]] == (
        ["Wait!"] if flags else ["Pay.", "", "did a", "Wait!"]
    )
    assert len(kitchen.llm.prompts) == 2
    assert [step for step in steps if step.path == "turn/1/tool/1/1" and not step.ended_at] == []


async def test_use_without_an_effect_is_cut_short_by_who_wants_room() -> None:
    doing = Doing()
    async with a_kitchen([[a_call("a", "slow")], "Here I am."], tools=doing.tools()) as kitchen:
        await kitchen.runtime.submit("Do it.", conversation=kitchen.row.id)
        await doing.gate.reached()
        options = RunOptions(multitask="interrupt")
        second = await kitchen.runtime.submit("Wait!", conversation=kitchen.row.id, options=options)
        await second.finished()

        assert doing.cut == ["a"]
        assert await kitchen.texts() == ["Do it.", "Wait!", "Here I am."]


async def test_rolled_back_tools_are_shown_to_no_model() -> None:
    doing = Doing()
    script: Script = [[a_call("a")], "Done.", [a_call("b", "slow")], "Fine."]
    async with a_kitchen(script, tools=doing.tools()) as kitchen:
        await kitchen.ask("Do a.")
        await kitchen.runtime.submit("Do b.", conversation=kitchen.row.id)
        await doing.gate.reached()
        options = RunOptions(multitask="rollback")
        await (await kitchen.runtime.submit("No!", conversation=kitchen.row.id, options=options)).finished()

        said = [shown["content"] for shown in kitchen.llm.prompts[-1][2:]]

    assert said == ["Do a.", "", "did a", "Done.", "No!"]


async def test_stopped_while_it_is_asked_whether_this_was_the_end_the_answer_is_kept() -> None:

    house = await a_house(replace(DEFINITION, settings=ModelSettings(check_end=True)))
    llm = HaltingLLM(["All is well.", {"is_over": True, "reason": "done"}], at=2)
    async with a_process(house, llm) as process:
        ticket = await process.say("How are you?")
        await llm.gate.reached()
        await process.engine.cancel(0, ticket.run.id, keep_partial=True)

    assert await house.texts() == ["How are you?", "All is well."]
    assert (await house.store.conversations.get(0, house.row.id)).closed is None
