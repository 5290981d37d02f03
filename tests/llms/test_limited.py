"""Time limits, and what they leave behind."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from typing_extensions import override

from tertulia.agent_settings import ModelSettings
from tertulia.errors import ModelTimeout
from tertulia.llms.base import LLMEvent, Prompt, TextDelta
from tertulia.llms.limited import Limited
from tertulia.llms.retrying import Retrying
from tertulia.llms.scripted import ScriptedLLM
from tertulia.testing.llm_contract import a_prompt, heard

SOON = 0.02


class Stuck(ScriptedLLM):
    """Says some words, then nothing more, and never ends."""

    def __init__(self, *words: str) -> None:
        super().__init__([])
        self.words, self.closed = words, 0

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        self.prompts.append([])
        try:
            for word in self.words:
                yield TextDelta(word)
            await asyncio.Event().wait()
        finally:
            self.closed += 1


async def no_pause(_seconds: float) -> None:
    pass


async def test_silent_model_is_given_up() -> None:
    inner = Stuck()

    with pytest.raises(ModelTimeout):
        await heard(Limited(inner, first_token=SOON), a_prompt())

    assert inner.closed == 1


async def test_first_word_ends_the_wait_for_it() -> None:
    inner = Stuck("Well")
    llm = Limited(inner, first_token=SOON, whole=5 * SOON)

    with pytest.raises(ModelTimeout):
        await heard(llm, a_prompt())

    assert inner.closed == 1


async def test_limit_of_the_prompt_takes_the_place_of_ours() -> None:
    prompt = Prompt(messages=a_prompt().messages, settings=ModelSettings(timeout=SOON))

    with pytest.raises(ModelTimeout):
        await heard(Limited(Stuck(), whole=3600), prompt)


async def test_limit_never_strikes_the_caller() -> None:
    llm = Limited(ScriptedLLM(["one two"], chunk=4), whole=SOON)

    async with aclosing(llm.stream(a_prompt())) as events:
        await anext(events)
        # The caller takes longer than the model may; only asking on is an error then.
        await asyncio.sleep(2 * SOON)
        rest = [event async for event in events]

    assert rest[0] == TextDelta("two")


async def test_whole_limit_spans_all_attempts() -> None:
    inner = Stuck()
    llm = Limited(Retrying(Limited(inner, first_token=SOON), attempts=1000, pause=no_pause), whole=10 * SOON)

    with pytest.raises(ModelTimeout):
        await heard(llm, a_prompt())

    assert 1 < len(inner.prompts) < 1000
    assert inner.closed == len(inner.prompts)


async def test_leaving_closes_what_is_inside() -> None:
    inner = Stuck("Well")

    async with aclosing(Limited(Retrying(inner), whole=60).stream(a_prompt())) as events:
        await anext(events)

    assert inner.closed == 1


async def test_being_cancelled_is_no_timeout() -> None:
    inner = Stuck()
    task = asyncio.create_task(heard(Limited(inner, whole=60), a_prompt()))
    while not inner.prompts:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert inner.closed == 1


async def test_without_limits_nothing_changes() -> None:
    inner = ScriptedLLM(["Hello"] * 2)

    assert await heard(Limited(inner), a_prompt()) == await heard(inner, a_prompt())


async def test_first_word_is_waited_for_where_it_comes_first() -> None:
    asked: list[bool] = []

    class Noted(ScriptedLLM):
        @override
        async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
            asked.append(prompt.wants_deltas)
            async for event in super().stream(prompt):
                yield event

    inner = Noted(["Hello"] * 2)
    prompt = Prompt(messages=a_prompt().messages, wants_deltas=False)

    await heard(Limited(inner, first_token=60), prompt)
    await heard(Limited(inner, whole=60), prompt)

    assert asked == [True, False]


class Pondering(ScriptedLLM):
    """Never comes to an end with a conversation."""

    @override
    async def begin_conversation(self) -> str:
        await asyncio.Event().wait()
        return ""

    @override
    async def forget_conversation(self, external_id: str) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    "limits", [{"whole": SOON}, {"first_token": SOON}, {"whole": 60, "first_token": SOON}]
)
async def test_conversations_are_not_waited_for_without_end(limits: dict[str, float]) -> None:
    llm = Limited(Pondering([]), **limits)

    with pytest.raises(ModelTimeout):
        await llm.begin_conversation()
    with pytest.raises(ModelTimeout):
        await llm.forget_conversation("conversation_1")
