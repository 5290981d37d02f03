"""The model that says what it was told to."""

import pytest

from tertulia.errors import ModelBusy, ModelRefused, UnknownModel
from tertulia.llms.base import Finished, LLMEvent, Prompt, Shown, TextDelta
from tertulia.llms.options import LLMOptions
from tertulia.llms.scripted import ScriptedLLM
from tertulia.testing.llm_contract import a_prompt, heard


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
    echo = ScriptedLLM.build("echo", LLMOptions())
    fixed = ScriptedLLM.build("text=Hello: you", LLMOptions())

    assert text_of(await heard(echo, a_prompt("What?"))) == "What?"
    assert text_of(await heard(fixed, a_prompt())) == "Hello: you"
    assert (echo.name, fixed.name) == ("scripted:echo", "scripted:text=Hello: you")


@pytest.mark.parametrize("model", ["", "shout", "text"])
def test_other_names_are_unknown(model: str) -> None:
    with pytest.raises(UnknownModel, match="scripted:echo"):
        ScriptedLLM.build(model, LLMOptions())
