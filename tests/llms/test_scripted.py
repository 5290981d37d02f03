"""The model that says what it was told to."""

from dataclasses import replace

import pytest

from tertulia.agent_settings import ModelSettings
from tertulia.errors import AnswerGone, ModelBusy, ModelRefused, UnknownModel
from tertulia.llms.base import Begun, Finished, LLMEvent, Prompt, ReasoningDelta, Shown, TextDelta
from tertulia.llms.options import LLMOptions, ModelName
from tertulia.llms.scripted import ScriptedLLM
from tertulia.parts import Reasoning, ToolCall, ToolResult
from tertulia.testing.llm_contract import a_prompt, heard
from tertulia.usage import Usage

WEATHER = ToolCall(id="c1", name="weather", arguments='{"city":"Ulm"}')
CLOCK = ToolCall(id="c2", name="clock", arguments="{}")


def text_of(events: list[LLMEvent]) -> str:
    assert isinstance(events[-1], Finished)
    return events[-1].text


async def test_replies_come_in_order_and_then_no_more() -> None:
    llm = ScriptedLLM(["one", {"two": [2]}, ["three"]])

    assert [text_of(await heard(llm, a_prompt())) for _ in range(3)] == ["one", '{"two":[2]}', '["three"]']
    with pytest.raises(ModelRefused, match="held 3 replies"):
        await heard(llm, a_prompt())


async def test_exception_is_raised_in_its_turn() -> None:
    llm = ScriptedLLM([ModelBusy(), "then"])

    with pytest.raises(ModelBusy):
        await heard(llm, a_prompt())

    assert text_of(await heard(llm, a_prompt())) == "then"


async def test_function_sees_the_prompt() -> None:
    llm = ScriptedLLM(lambda prompt: f"{len(prompt.messages)} messages")

    assert text_of(await heard(llm, a_prompt())) == "3 messages"


async def test_it_keeps_what_it_was_shown() -> None:
    llm = ScriptedLLM(["hello"])

    await heard(
        llm, Prompt(messages=(Shown(role="system", text="Be."), Shown(role="user", text="Hi", name="Ann")))
    )

    assert llm.prompts == [
        [{"role": "system", "content": "Be."}, {"role": "user", "content": "Hi", "name": "Ann"}]
    ]


async def test_chunks_have_the_size_asked_for() -> None:
    events = await heard(ScriptedLLM(["abcdefg"], chunk=3, delay=0.0001), a_prompt())

    assert events[:-1] == [TextDelta("abc"), TextDelta("def"), TextDelta("g")]


async def test_text_comes_out_clean() -> None:
    assert text_of(await heard(ScriptedLLM(["\x00 \ud83d"]), a_prompt())) == "\ufffd \ufffd"


async def test_models_by_name_echo_or_say_a_text() -> None:
    echo = ScriptedLLM.build(ModelName("scripted", "echo"), LLMOptions())
    fixed = ScriptedLLM.build(ModelName("scripted", "text=Hello: you"), LLMOptions())

    assert text_of(await heard(echo, a_prompt("What?"))) == "What?"
    assert text_of(await heard(fixed, a_prompt())) == "Hello: you"
    assert (echo.name, fixed.name) == ("scripted:echo", "scripted:text=Hello: you")


@pytest.mark.parametrize("model", ["", "shout", "text"])
def test_other_names_are_unknown(model: str) -> None:
    with pytest.raises(UnknownModel, match="scripted:echo"):
        ScriptedLLM.build(ModelName("scripted", model), LLMOptions())


@pytest.mark.parametrize(("entry", "calls"), [(WEATHER, (WEATHER,)), ([WEATHER, CLOCK], (WEATHER, CLOCK))])
async def test_calls_of_tools_come_with_no_text(entry: object, calls: tuple[ToolCall, ...]) -> None:
    [whole] = await heard(ScriptedLLM([entry]), a_prompt())  # type: ignore[list-item]  # both are replies

    assert isinstance(whole, Finished)
    assert (whole.text, whole.calls, whole.finish_reason) == ("", calls, "tool_calls")
    assert whole.usage.output_tokens > 0


async def test_list_that_is_not_all_calls_is_a_value() -> None:
    assert [text_of(await heard(ScriptedLLM([each]), a_prompt())) for each in ([], ["a", 1])] == [
        "[]",
        '["a",1]',
    ]


async def test_whole_answer_is_said_as_it_was_written() -> None:
    written = Finished(
        text="So.",
        model="m-1",
        finish_reason="length",
        usage=Usage(input_tokens=7, model_calls=1),
        reasoning=(Reasoning(text="Hm."),),
        external_id="resp_1",
    )

    openly = await heard(ScriptedLLM([written]), a_prompt())
    behind = await heard(ScriptedLLM([written]), replace(a_prompt(), settings=ModelSettings(background=True)))

    assert openly == [ReasoningDelta("Hm."), TextDelta("So."), written]
    assert behind == [Begun("resp_1"), *openly]


async def test_it_keeps_calls_and_results_and_the_whole_prompt() -> None:
    llm = ScriptedLLM(["fine"])
    result = ToolResult(call_id="c1", name="weather", text="rain")
    prompt = Prompt(
        messages=(
            Shown(role="user", text="How is it?"),
            Shown(role="assistant", text="", parts=(WEATHER,)),
            Shown(role="tool", text="", parts=(result,)),
        )
    )

    await heard(llm, prompt)

    assert llm.asked == [prompt]
    assert llm.prompts == [
        [
            {"role": "user", "content": "How is it?"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "c1", "name": "weather", "arguments": '{"city":"Ulm"}'}],
            },
            {"role": "tool", "content": "rain", "tool_call_id": "c1"},
        ]
    ]


async def test_it_keeps_what_it_was_told_to_stop() -> None:
    llm = ScriptedLLM([])

    await llm.abandon("resp_1")

    assert llm.abandoned == ["resp_1"]


async def test_it_keeps_what_was_said_with_every_answer() -> None:
    llm = ScriptedLLM([WEATHER, "Rain."], keeps_answers=True)
    asked = Prompt(messages=(Shown(role="user", text="How is it?"),), settings=ModelSettings(store=True))
    result = Shown(role="tool", text="", parts=(ToolResult(call_id="c1", name="weather", text="rain"),))

    first = (await heard(llm, asked))[-1]
    second = (await heard(llm, Prompt(messages=(result,), follows="answer_1")))[-1]

    assert isinstance(first, Finished)
    assert isinstance(second, Finished)
    assert (first.external_id, second.external_id) == ("answer_1", "answer_2")
    assert len(llm.prompts[1]) == 1
    assert [said["role"] for said in llm.kept["answer_2"]] == ["user", "assistant", "tool", "assistant"]
    assert llm.kept["answer_2"][:2] == llm.kept["answer_1"]
    assert llm.kept["answer_2"][-1] == {"role": "assistant", "content": "Rain."}


async def test_conversation_grows_with_every_answer() -> None:
    llm = ScriptedLLM(["one", "two"], keeps_answers=True)
    conversation = await llm.begin_conversation()

    for text in ("first", "second"):
        await heard(llm, Prompt(messages=(Shown(role="user", text=text),), within=conversation))

    assert [said["content"] for said in llm.kept[conversation]] == ["first", "one", "second", "two"]


@pytest.mark.parametrize("name", ["conversation_1", None], ids=["one", "all"])
async def test_what_was_forgotten_is_gone_and_costs_no_reply(name: str | None) -> None:
    llm = ScriptedLLM(["one"], keeps_answers=True)
    conversation = await llm.begin_conversation()
    llm.forget(name)

    with pytest.raises(AnswerGone):
        await heard(llm, replace(a_prompt(), within=conversation))

    assert text_of(await heard(llm, a_prompt())) == "one"


async def test_answer_has_no_id_unless_it_is_to_be_kept() -> None:
    whole = (await heard(ScriptedLLM(["one"], keeps_answers=True), a_prompt()))[-1]

    assert isinstance(whole, Finished)
    assert whole.external_id is None


async def test_it_keeps_nothing_unless_it_is_told_to() -> None:
    llm = ScriptedLLM(["one"])

    await heard(llm, replace(a_prompt(), settings=ModelSettings(store=True)))
    llm.forget()

    assert llm.kept == {}
