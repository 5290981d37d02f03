"""What every language model does when it is asked."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from tertulia.definitions import ModelSettings
from tertulia.errors import MissingExtra, ModelError
from tertulia.llms.base import LLM, Finished, LLMEvent, Prompt, Shown, TextDelta

REASONS = {"stop", "length", "content_filter", "tool_calls", "unknown"}


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


async def heard(llm: LLM, prompt: Prompt) -> list[LLMEvent]:
    """Return all that a model says to a prompt."""
    async with aclosing(llm.stream(prompt)) as events:
        return [event async for event in events]


@pytest.mark.asyncio
class LLMContract:
    """The laws of the port; a subclass gives the fixtures ``llm`` and ``failing``.

    ``llm`` can be asked at least ten times, ``failing`` cannot answer and says so.
    """

    async def test_answer_is_deltas_and_then_one_whole(self, llm: LLM) -> None:
        events = await heard(llm, a_prompt())

        *deltas, whole = events
        assert all(isinstance(delta, TextDelta) for delta in deltas)
        assert isinstance(whole, Finished)
        assert whole.text == "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
        assert whole.text
        assert whole.finish_reason in REASONS

    async def test_answer_says_what_it_cost(self, llm: LLM) -> None:
        whole = (await heard(llm, a_prompt()))[-1]

        assert isinstance(whole, Finished)
        assert whole.model
        assert whole.usage.model_calls == 1
        assert whole.usage.input_tokens > 0
        assert whole.usage.output_tokens > 0

    async def test_answer_is_the_same_when_nobody_reads_along(self, llm: LLM) -> None:
        events = await heard(llm, replace(a_prompt(), wants_deltas=False))

        *deltas, whole = events
        assert isinstance(whole, Finished)
        assert whole.text
        assert whole.text == "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))

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
