"""The client for completions: a text to go on with, and what the model adds."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tertulia.agent_settings import ModelSettings
from tertulia.definitions import ToolSpec
from tertulia.errors import AnswerGone, ModelRefused, UnknownModel
from tertulia.llms.base import Prompt, Shown
from tertulia.llms.openai_completions import OpenAICompletions
from tertulia.llms.options import LLMOptions, ModelName
from tertulia.llms.wire.body import Dialect
from tertulia.llms.wire.completion import USUAL_TOKENS, Continuation, encode
from tertulia.memory.transcript import Transcript
from tertulia.parts import Media, Text, ToolCall, ToolResult
from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.llm_contract import finished

ONCE = Prompt(messages=(Shown(role="user", text="Once upon a time"),))
TALK = Prompt(
    messages=(
        Shown(role="system", text="Be brief.\n"),
        Shown(role="assistant", text="Hello."),
        Shown(role="user", text="Who are you?", name="Zoë: Müller"),
    )
)


def asked(prompt: Prompt) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encode("m", prompt, Dialect()))
    return found


def test_single_message_is_gone_on_with_as_it_is() -> None:
    assert asked(ONCE) == {
        "model": "m",
        "prompt": "Once upon a time",
        "max_tokens": USUAL_TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_conversation_is_written_out_and_ends_where_the_assistant_speaks() -> None:
    found = asked(TALK)

    assert found["prompt"] == "Be brief.\n\nAssistant: Hello.\n\nZoë Müller: Who are you?\n\nAssistant:"
    assert found["stop"] == ["\nZoë Müller:", "\nUser:"]


def test_assistant_goes_on_under_the_name_that_it_had() -> None:
    said = (Shown(role="user", text="Hi"), Shown(role="assistant", text="Ho", name="Chef"))

    found = asked(Prompt(messages=(*said, Shown(role="user", text="\ud83d"))))

    assert found["prompt"] == "User: Hi\n\nChef: Ho\n\nUser: \ufffd\n\nChef:"
    assert found["stop"] == ["\nUser:"]


def test_speaker_of_the_assistant_s_name_ends_nothing() -> None:
    said = (Shown(role="user", text="Hi", name="Assistant"), Shown(role="user", text="Ho", name="Ann"))

    assert asked(Prompt(messages=said))["stop"] == ["\nAnn:", "\nUser:"]


def test_what_tools_gave_is_part_of_the_transcript() -> None:
    call = ToolCall(id="a", name="weather", arguments="{}")
    result = ToolResult(call_id="a", name="weather", text="Rain.")
    messages = (
        Shown(role="user", text="How is it?"),
        Shown(role="assistant", text="", parts=(call,)),
        Shown(role="tool", text="", parts=(result,)),
    )

    assert asked(Prompt(messages=messages))["prompt"] == "User: How is it?\n\nTool: Rain.\n\nAssistant:"


def test_transcript_of_a_long_history_is_the_same() -> None:
    history = Transcript(TALK.messages[1:]).passage(opening=(TALK.messages[0],))

    assert asked(replace(TALK, messages=history)) == asked(TALK)


def test_settings_that_the_wire_knows_are_told() -> None:
    settings = ModelSettings(max_tokens=9, stop=("a", "b", "c"), seed=7, reasoning_effort="low", store=True)

    found = asked(replace(TALK, settings=settings, wants_deltas=False))

    assert found["stop"] == ["a", "b", "c", "\nZoë Müller:"]
    assert found.keys() == {"model", "prompt", "max_tokens", "stop", "seed"}


def test_schema_is_left_to_whoever_checks_the_answer() -> None:
    assert asked(replace(ONCE, response_schema={"type": "object"})) == asked(ONCE)


def test_tools_are_refused() -> None:
    with pytest.raises(ModelRefused, match="know no tools"):
        asked(replace(ONCE, tools=(ToolSpec(name="clock"),)))


def test_media_are_refused() -> None:
    parts = (Text(text="See"), Media(kind="image", url="https://example.com/secret"))

    with pytest.raises(ModelRefused, match="nothing but text") as refused:
        asked(Prompt(messages=(Shown(role="user", text="See", parts=parts),)))

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b""])
def test_blanks_before_the_first_word_are_left_out(end: bytes) -> None:
    answer = Continuation("m")
    for text, reason in ((" ", None), ("\n So", None), (" it went.", None), ("", "length")):
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
        answer.feed(b"data: " + json.dumps({"choices": [choice], "model": "m-1"}).encode() + b"\n\n")
    answer.feed(end)
    answer.end()

    whole = answer.finished()

    assert (whole.text, whole.finish_reason, whole.model) == ("So it went.", "length", "m-1")


def test_plain_answer_is_understood() -> None:
    answer = Continuation("m")
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    answer.feed(json.dumps({"choices": [{"text": " So.", "finish_reason": "stop"}], "usage": usage}).encode())
    answer.end()

    whole = answer.finished()

    assert (whole.text, whole.usage.input_tokens, whole.usage.output_tokens) == ("So.", 5, 2)


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as server:
        yield server


@pytest.mark.parametrize("wants_deltas", [True, False], ids=["streamed", "whole"])
async def test_server_goes_on_with_a_text(fake: FakeOpenAI, wants_deltas: bool) -> None:
    fake.script(["there was a fox."])
    model = OpenAICompletions.build(
        ModelName("openai-completions", "base"), LLMOptions(base_url=fake.base_url)
    )

    whole = await finished(model, replace(ONCE, wants_deltas=wants_deltas))

    assert (model.name, whole.text, whole.finish_reason) == (
        "openai-completions:base",
        "there was a fox.",
        "stop",
    )
    assert whole.usage.output_tokens > 0
    assert fake.requests[0]["prompt"] == "Once upon a time"
    await model.close()


async def test_answer_that_was_kept_cannot_be_followed(fake: FakeOpenAI) -> None:
    model = OpenAICompletions("base", base_url=fake.base_url)

    with pytest.raises(AnswerGone):
        await finished(model, replace(ONCE, follows="cmpl-1"))

    assert fake.calls == 0
    await model.close()


def test_model_must_have_a_name() -> None:
    with pytest.raises(UnknownModel, match="openai-completions:NAME"):
        OpenAICompletions.build(ModelName("openai-completions", ""), LLMOptions())
