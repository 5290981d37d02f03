"""What every language model does when it is asked."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final, TypeAlias

import orjson
import pytest

from tertulia.agent_settings import ModelSettings
from tertulia.definitions import ToolSpec
from tertulia.errors import AnswerGone, MissingExtra, ModelError, ModelRefused
from tertulia.llms.base import LLM, Begun, Finished, LLMEvent, Prompt, ReasoningDelta, Shown, TextDelta
from tertulia.llms.options import LLMOptions, LLMPlug, ModelName
from tertulia.parts import Media, Part, Reasoning, Text, ToolCall, ToolResult, Unknown

REASONS: Final = frozenset({"stop", "length", "content_filter", "tool_calls", "unknown"})
WEATHER: Final = ToolSpec(
    name="weather",
    description="Tells how the weather is in a city.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
CLOCK: Final = ToolSpec(name="clock", description="Tells the time.")
PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC"
"""A picture of one pixel."""
Listing: TypeAlias = tuple[type[LLMPlug], str, LLMOptions]


def a_prompt(text: str = "Say hello.") -> Prompt:
    """Return a short conversation whose answer may be short."""
    return Prompt(
        messages=(
            Shown(role="system", text="You are brief."),
            Shown(role="assistant", text="Hello, what can I do for you?"),
            Shown(role="user", text=text, name="Zoë Müller"),
        ),
        settings=ModelSettings(max_tokens=16),
    )


def a_question(*, tools: tuple[ToolSpec, ...] = (WEATHER, CLOCK)) -> Prompt:
    """Return a question that is answered best by using a tool."""
    return Prompt(messages=(Shown(role="user", text="How is the weather in Ulm?"),), tools=tools)


def with_results(prompt: Prompt, calls: Sequence[ToolCall], *, thoughts: Sequence[Part] = ()) -> Prompt:
    """Return a prompt that goes on with calls of tools and what came of them."""
    called = Shown(role="assistant", text="", parts=(*thoughts, *calls))
    results = (ToolResult(call_id=call.id, name=call.name, text="Rain, 9 °C.") for call in calls)
    told = (Shown(role="tool", text="", parts=(result,)) for result in results)
    return replace(prompt, messages=(*prompt.messages, called, *told))


async def heard(llm: LLM, prompt: Prompt) -> list[LLMEvent]:
    """Return all that a model says to a prompt."""
    async with aclosing(llm.stream(prompt)) as events:
        return [event async for event in events]


async def finished(llm: LLM, prompt: Prompt) -> Finished:
    """Return a model's whole answer to a prompt, having checked that it came as it should."""
    *told, whole = await heard(llm, prompt)
    assert isinstance(whole, Finished)
    begun = [place for place, event in enumerate(told) if isinstance(event, Begun)]
    assert begun == list(range(len(begun)))
    said = [event for event in told if isinstance(event, TextDelta)]
    thought = [event for event in told if isinstance(event, ReasoningDelta)]
    assert len(said) + len(thought) + len(begun) == len(told)
    assert all(event.text for event in told if not isinstance(event, Begun | Finished))
    assert whole.text == "".join(event.text for event in said)
    assert whole.finish_reason in REASONS
    return whole


async def taken_or_refused(llm: LLM, prompt: Prompt) -> None:
    """Ask; raises unless the model answers, or says that it will not."""
    try:
        await finished(llm, prompt)
    except ModelRefused as refusal:
        assert str(refusal)


@pytest.mark.asyncio
class LLMContract:
    """The laws of the port; a subclass gives the fixtures ``llm`` and ``failing``.

    ``llm`` can be asked at least ten times, ``failing`` cannot answer and says so.
    """

    async def test_answer_is_deltas_and_then_one_whole(self, llm: LLM) -> None:
        whole = await finished(llm, a_prompt())

        assert whole.text
        assert not whole.calls

    async def test_answer_says_what_it_cost(self, llm: LLM) -> None:
        whole = (await heard(llm, a_prompt()))[-1]

        assert isinstance(whole, Finished)
        assert whole.model
        assert whole.usage.model_calls == 1
        assert whole.usage.input_tokens > 0
        assert whole.usage.output_tokens > 0

    async def test_answer_is_the_same_when_nobody_reads_along(self, llm: LLM) -> None:
        whole = await finished(llm, replace(a_prompt(), wants_deltas=False))

        assert whole.text

    async def test_many_may_ask_at_once(self, llm: LLM) -> None:
        answers = await asyncio.gather(*(heard(llm, a_prompt(f"Say {n}.")) for n in range(4)))

        assert all(isinstance(answer[-1], Finished) for answer in answers)

    async def test_leaving_early_does_no_harm(self, llm: LLM) -> None:
        async with aclosing(llm.stream(a_prompt())) as events:
            await anext(events)

        assert isinstance((await heard(llm, a_prompt()))[-1], Finished)

    async def test_asking_changes_nothing_in_the_prompt(self, llm: LLM) -> None:
        prompt = a_prompt()

        await heard(llm, prompt)
        noted = [dict(shown.wire) for shown in prompt.messages]
        await heard(llm, prompt)

        assert prompt == a_prompt()
        assert [dict(shown.wire) for shown in prompt.messages] == noted

    async def test_aside_is_taken_and_never_costs_less(self, llm: LLM) -> None:
        prompt = replace(a_prompt(), aside="Today is Monday, and the kitchen is closed.")

        told, plain = await finished(llm, prompt), await finished(llm, a_prompt())

        assert told.text
        assert told.usage.input_tokens >= plain.usage.input_tokens
        assert replace(prompt, aside="") == a_prompt()

    async def test_what_tools_gave_is_taken_or_refused(self, llm: LLM) -> None:
        call = ToolCall(id="call_1", name=WEATHER.name, arguments='{"city":"Ulm"}')
        odd = ToolCall(id="an id of another provider, far longer than most", name="no such", arguments="{no")

        await taken_or_refused(llm, with_results(a_question(), (call, odd)))

        assert (await finished(llm, a_prompt())).text

    async def test_pictures_are_taken_or_refused(self, llm: LLM) -> None:
        picture = Media(kind="image", media_type="image/png", base64=PIXEL)
        shown = Shown(role="user", text="What is this?", parts=(Text(text="What is this?"), picture))

        await taken_or_refused(llm, replace(a_prompt(), messages=(shown,)))

        assert (await finished(llm, a_prompt())).text

    async def test_parts_that_nobody_knows_do_no_harm(self, llm: LLM) -> None:
        parts = (Text(text="Say hello."), Unknown(raw={"type": "smell", "of": "roses"}))
        shown = Shown(role="user", text="Say hello.", parts=parts)

        assert (await finished(llm, replace(a_prompt(), messages=(shown,)))).text

    async def test_stopping_what_was_never_begun_does_no_harm(self, llm: LLM) -> None:
        await llm.abandon("no such id")
        await llm.abandon("no such id")

        assert (await finished(llm, a_prompt())).text

    async def test_what_is_not_kept_cannot_be_gone_on_from(self, llm: LLM) -> None:
        for prompt in (replace(a_prompt(), follows="no such id"), replace(a_prompt(), within="no such id")):
            with pytest.raises(AnswerGone):
                await heard(llm, prompt)

        assert (await finished(llm, a_prompt())).text

    async def test_conversations_are_begun_only_where_answers_are_kept(self, llm: LLM) -> None:
        try:
            begun = await llm.begin_conversation()
        except ModelRefused as refusal:
            begun = ""
            assert str(refusal)

        assert bool(begun) == llm.keeps_answers

    async def test_failure_is_one_of_ours(self, failing: LLM) -> None:
        with pytest.raises((ModelError, MissingExtra)):
            await heard(failing, a_prompt())

    async def test_failing_does_not_wear_out(self, failing: LLM) -> None:
        for _ in range(2):
            with pytest.raises(ModelError):
                await heard(failing, a_prompt())

    async def test_name_and_window_are_told_without_asking(self, llm: LLM) -> None:
        assert llm.name
        assert llm.window is None or llm.window > 0

    async def test_closing_twice_is_closing_once(self, llm: LLM) -> None:
        await heard(llm, a_prompt())

        await llm.close()
        await llm.close()


@pytest.mark.asyncio
class CallingContract:
    """The laws for models that can use tools; a subclass gives the fixture ``calling``.

    ``calling`` answers by calling ``weather`` or ``clock`` when it is first asked, and in words when it
    is shown what came of that.
    """

    @pytest.mark.parametrize("wants_deltas", [True, False], ids=["streamed", "whole"])
    async def test_calls_can_be_told_apart(self, calling: LLM, wants_deltas: bool) -> None:
        whole = await finished(calling, replace(a_question(), wants_deltas=wants_deltas))

        assert whole.calls
        assert whole.finish_reason == "tool_calls"
        assert all(call.id for call in whole.calls)
        assert len({call.id for call in whole.calls}) == len(whole.calls)
        assert {call.name for call in whole.calls} <= {WEATHER.name, CLOCK.name}
        assert all(isinstance(orjson.loads(call.arguments), dict) for call in whole.calls)

    async def test_results_are_answered_in_words(self, calling: LLM) -> None:
        asked = await finished(calling, a_question())

        whole = await finished(calling, with_results(a_question(), asked.calls, thoughts=asked.reasoning))

        assert whole.text
        assert not whole.calls

    async def test_calls_cost_as_much_as_words(self, calling: LLM) -> None:
        whole = await finished(calling, a_question())

        assert whole.usage.model_calls == 1
        assert whole.usage.input_tokens > 0
        assert whole.usage.output_tokens > 0


@pytest.mark.asyncio
class ThinkingContract:
    """The laws for models that show what they think; a subclass gives the fixture ``thinking``."""

    @pytest.mark.parametrize("wants_deltas", [True, False], ids=["streamed", "whole"])
    async def test_thoughts_are_no_words(self, thinking: LLM, wants_deltas: bool) -> None:
        whole = await finished(thinking, replace(a_prompt(), wants_deltas=wants_deltas))

        thoughts = [thought.text for thought in whole.reasoning if thought.text]
        assert thoughts
        assert whole.text
        assert not any(thought in whole.text for thought in thoughts)

    async def test_thoughts_may_be_shown_again(self, thinking: LLM) -> None:
        whole = await finished(thinking, a_prompt())
        parts: tuple[Part, ...] = (*whole.reasoning, Reasoning(text="Hm.", provider="x", opaque="{"))
        shown = Shown(role="assistant", text=whole.text, parts=(*parts, Text(text=whole.text)))

        messages = (*a_prompt().messages, shown, Shown(role="user", text="Go on."))

        assert (await finished(thinking, replace(a_prompt(), messages=messages))).text


@pytest.mark.asyncio
class ListingContract:
    """The laws of listing; a subclass gives the fixture ``listing``.

    ``listing`` is a plug, the provider whose models are to be listed, and the options for both.
    """

    async def test_every_model_in_the_list_can_be_asked_for(self, listing: Listing) -> None:
        plug, provider, options = listing

        names = await plug.list_models(provider, options)

        assert names
        assert names == sorted(set(names))
        assert all(plug.build(ModelName(provider, name), options).name for name in names)
