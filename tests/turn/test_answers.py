"""Answers that think, speak and use tools at once, and those that have to be mended on the way."""

import json
from dataclasses import replace

import pytest

from tertulia.errors import ModelMalformed, ShapeMismatch
from tertulia.events import ReasoningDelta, RunFinished, StepRestarted, TextDelta, ToolCalled, ToolFinished
from tertulia.llms.base import Finished
from tertulia.llms.scripted import Script
from tertulia.messages import Flag
from tertulia.parts import Reasoning, Text, ToolCall, ToolResult
from tertulia.tools.functions import tool
from tertulia.turn.answer import Answer, keep, kept_answer
from tertulia.usage import Usage
from tests.turn.kitchen import SHAPED, a_kitchen


@tool(is_idempotent=True)
def add(one: int) -> int:
    """Add."""
    return one + 1


def a_call(ident: str, one: int = 1, opaque: str = "") -> ToolCall:
    return ToolCall(id=ident, name="add", arguments=json.dumps({"one": one}), opaque=opaque)


THOUGHT = Reasoning(text="Hm.", provider="fake", opaque="sealed")
SEALED = Reasoning(provider="fake", opaque="sealed too")


async def test_what_its_provider_wants_to_see_again_is_shown_within_the_turn_and_never_after_it() -> None:
    script: Script = [
        Finished(
            text="Let me see.", model="m", calls=(a_call("a", opaque="x"),), reasoning=(THOUGHT, SEALED)
        ),
        "Two.",
        "Again.",
    ]
    async with a_kitchen(script, tools=[add]) as kitchen:
        finished = await kitchen.ask("1 + 1?")
        await kitchen.ask("And?")

        within, after = kitchen.llm.asked[1].messages[-2], kitchen.llm.asked[2].messages[-4]
        assert within.parts == (THOUGHT, SEALED, Text(text="Let me see."), a_call("a", opaque="x"))
        assert after.parts == (Text(text="Let me see."), a_call("a"))
        assert finished.messages[0].content == (
            Reasoning(text="Hm."),
            Text(text="Let me see."),
            a_call("a"),
        )


async def test_followers_hear_what_is_thought_said_and_done_in_its_order() -> None:
    calls = (a_call("a"), a_call("b", 2))
    script: Script = [
        Finished(text="Wait", model="m", calls=calls, reasoning=(THOUGHT,)),
        Finished(text="Done", model="m", reasoning=(Reasoning(text="So."),)),
    ]
    async with a_kitchen(script, tools=[add]) as kitchen:
        events = await kitchen.follow("Add.")

        told: list[str] = []
        for event in events:
            match event:
                case ReasoningDelta() | TextDelta():
                    told.append(event.text)
                case ToolCalled():
                    told.append(f"call {event.call_id} {event.turn}")
                case ToolFinished():
                    told.append(f"result {event.call_id} {event.text}")
                case StepRestarted():
                    told.append("restart")
        assert told[:4] == ["Hm.", "Wait", "call a 1", "call b 1"]
        assert sorted(told[4:6]) == ["result a 2", "result b 3"]
        assert told[6:] == ["So.", "Done"]


async def test_answer_that_only_thinks_is_none() -> None:
    async with a_kitchen([Finished(text="", model="m", reasoning=(THOUGHT,))]) as kitchen:
        with pytest.raises(ModelMalformed, match="stop"):
            await kitchen.ask("Hi.")


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_answer_that_was_cut_off_is_marked(reason: str) -> None:
    cut = Finished(
        text="Once upon", model="m", finish_reason="length" if reason == "length" else "content_filter"
    )
    async with a_kitchen([cut, "Whole."]) as kitchen:
        await kitchen.ask("Tell.")
        await kitchen.ask("On.")

        flags = [message.flags for message in await kitchen.messages()]
        assert flags == [Flag.NONE, Flag.INCOMPLETE, Flag.NONE, Flag.NONE]


async def test_shape_is_mended_between_and_after_tools_and_only_the_last_answer_is_kept_of_that() -> None:
    script: Script = ["two?", a_call("a"), "two, really", a_call("a"), {"n": 2}]
    async with a_kitchen(script, SHAPED, tools=[add]) as kitchen:
        events = await kitchen.follow("1 + 1?")

        finished = events[-1]
        assert isinstance(finished, RunFinished)
        assert [message.role for message in finished.messages] == [
            *("assistant", "tool", "assistant", "tool"),
            "assistant",
        ]
        assert finished.messages[-1].text == '{"n":2}'
        roles = [shown["role"] for shown in kitchen.llm.prompts[-1][3:]]
        assert roles == [
            *("assistant", "user"),
            *("assistant", "tool"),
            *("assistant", "user"),
            *("assistant", "tool"),
        ]
        assert kitchen.llm.prompts[-1][3]["content"] == "two?"
        said = ""
        for event in events:
            said = "" if isinstance(event, StepRestarted) else said
            said += event.text if isinstance(event, TextDelta) else ""
        assert said == '{"n":2}'


async def test_tools_between_do_not_give_more_repairs() -> None:
    script: Script = ["no", a_call("a"), "no", a_call("b"), "no", {"n": 2}]
    async with a_kitchen(script, SHAPED, tools=[add]) as kitchen:
        with pytest.raises(ShapeMismatch):
            await kitchen.ask("1 + 1?")

        assert "no" not in await kitchen.texts()
        assert len(kitchen.llm.prompts) == 5


async def test_shape_is_asked_for_in_every_call_of_the_turn() -> None:
    async with a_kitchen([a_call("a"), {"n": 2}], SHAPED, tools=[add]) as kitchen:
        await kitchen.ask("1 + 1?")

        assert all(prompt.response_schema for prompt in kitchen.llm.asked)


async def test_ids_of_earlier_turns_may_come_again() -> None:
    script: Script = [a_call("call_0"), "Two.", a_call("call_0", 5), "Six.", "Bye."]
    async with a_kitchen(script, tools=[add]) as kitchen:
        await kitchen.ask("1 + 1?")
        await kitchen.ask("5 + 1?")
        await kitchen.ask("Bye.")

        parts = [part for shown in kitchen.llm.asked[-1].messages for part in shown.parts]
        results = [(part.call_id, part.text) for part in parts if isinstance(part, ToolResult)]
        assert results == [("call_0", "2"), ("call_0", "6")]


async def test_every_use_has_a_key_of_its_own_even_where_ids_come_twice() -> None:
    keys: list[str] = []

    @tool(is_idempotent=True, name="add")
    async def add_once(one: int) -> int:
        """Add."""
        keys.append(str(one))
        return one

    script: Script = [[a_call("c", 1), a_call("d", 2)], [a_call("d", 3), a_call("c", 4)], "Done."]
    async with a_kitchen(script, tools=[add_once]) as kitchen:
        finished = await kitchen.ask("Add.")

        calls = [p.id for m in finished.messages for p in m.content if isinstance(p, ToolCall)]
        results = [p.call_id for m in finished.messages for p in m.content if isinstance(p, ToolResult)]
        assert sorted(keys) == ["1", "2", "3", "4"]
        assert calls == results == ["c", "d", "d_2", "c_2"]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(text="Hi.", finish_reason="stop"),
        Answer(text="Hi.", is_cut=True, finish_reason="length"),
        Answer(text="", calls=(a_call("a", opaque="x"), a_call("b")), finish_reason="tool_calls"),
        Answer(
            text="Hi.",
            calls=(a_call("a"),),
            reasoning=(THOUGHT, SEALED),
            finish_reason="stop",
            external_id="r_1",
        ),
    ],
)
def test_answer_is_kept_whole(answer: Answer) -> None:
    finished = Finished(
        text=answer.text,
        model="m",
        calls=answer.calls,
        reasoning=answer.reasoning,
        finish_reason=answer.finish_reason,  # type: ignore[arg-type]  # those that are given above
        external_id=answer.external_id,
        usage=Usage(model_calls=1),
    )

    kept = keep(finished)

    assert kept_answer(kept.output) == answer
    assert kept.usage == finished.usage


def test_ids_that_were_taken_are_replaced_and_no_others() -> None:
    answer = Answer(text="", calls=(a_call("a"), a_call("b")))

    distinct = answer.with_distinct_ids(["b", "c"], call=3)

    assert [call.id for call in distinct.calls] == ["a", "b_3"]
    assert [replace(call, id="") for call in distinct.calls] == [
        replace(call, id="") for call in answer.calls
    ]
