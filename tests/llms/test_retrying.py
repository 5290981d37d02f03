"""When a model is asked again, and when not."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from tertulia.agent_settings import ModelSettings
from tertulia.errors import (
    ContextTooLong,
    ModelBusy,
    ModelError,
    ModelMalformed,
    ModelRefused,
    ModelTimeout,
    ModelUnreachable,
)
from tertulia.llms.base import Finished, LLMEvent, Prompt, TextDelta
from tertulia.llms.retrying import Retrying
from tertulia.llms.scripted import ScriptedLLM, ScriptedReply
from tertulia.testing.llm_contract import a_prompt, heard

PASSING = [ModelBusy(), ModelUnreachable(), ModelTimeout(), ModelMalformed()]
LASTING = [ModelRefused(), ContextTooLong()]


class Clock:
    """Time that passes only in pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class BreaksOff(ScriptedLLM):
    """Says a word, then fails."""

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        self.prompts.append([])
        yield TextDelta("Well")
        raise ModelUnreachable


def retrying(
    replies: Sequence[ScriptedReply], clock: Clock, *, attempts: int = 3, jitter: float = 1.0
) -> tuple[Retrying, ScriptedLLM]:
    inner = ScriptedLLM(replies)
    around = Retrying(
        inner, attempts=attempts, budget_seconds=60, pause=clock.pause, jitter=lambda: jitter, clock=clock
    )
    return around, inner


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
async def test_what_passes_is_asked_again(error: ModelError) -> None:
    llm, inner = retrying([error, "Hello"], Clock())

    events = await heard(llm, a_prompt())

    assert isinstance(events[-1], Finished)
    assert events[-1].text == "Hello"
    assert len(inner.prompts) == 2


@pytest.mark.parametrize("error", LASTING, ids=lambda error: type(error).__name__)
async def test_what_lasts_is_not(error: ModelError) -> None:
    llm, inner = retrying([error, "Hello"], Clock())

    with pytest.raises(type(error)):
        await heard(llm, a_prompt())

    assert len(inner.prompts) == 1


async def test_no_more_attempts_than_allowed() -> None:
    llm, inner = retrying([ModelBusy()] * 9, Clock(), attempts=4)

    with pytest.raises(ModelBusy):
        await heard(llm, a_prompt())

    assert len(inner.prompts) == 4


async def test_what_is_no_answer_is_asked_for_once_more_only() -> None:
    llm, inner = retrying([ModelMalformed()] * 9, Clock(), attempts=5)

    with pytest.raises(ModelMalformed):
        await heard(llm, a_prompt())

    assert len(inner.prompts) == 2


async def test_nothing_is_asked_again_after_the_first_word() -> None:
    inner = BreaksOff([])
    llm = Retrying(inner, pause=Clock().pause)
    said: list[LLMEvent] = []

    with pytest.raises(ModelUnreachable):
        async with aclosing(llm.stream(a_prompt())) as events:
            async for event in events:
                said.append(event)

    assert said == [TextDelta("Well")]
    assert len(inner.prompts) == 1


async def test_pauses_double() -> None:
    clock = Clock()
    llm, _ = retrying([ModelBusy()] * 4 + ["Hello"], clock, attempts=5)

    await heard(llm, a_prompt())

    assert clock.pauses == [0.5, 1, 2, 4]


async def test_model_that_says_when_is_taken_at_its_word() -> None:
    clock = Clock()
    llm, _ = retrying([ModelBusy(retry_after=30), "Hello"], clock, jitter=0)

    await heard(llm, a_prompt())

    assert clock.pauses == [30]


async def test_wait_beyond_the_budget_is_not_waited() -> None:
    clock = Clock()
    llm, inner = retrying([ModelBusy(retry_after=61), "Hello"], clock)

    with pytest.raises(ModelBusy) as raised:
        await heard(llm, a_prompt())

    assert raised.value.retry_after == 61
    assert (clock.pauses, len(inner.prompts)) == ([], 1)


async def test_timeout_of_the_prompt_is_a_budget_too() -> None:
    clock = Clock()
    llm, inner = retrying([ModelBusy(retry_after=30), "Hello"], clock)
    prompt = Prompt(messages=a_prompt().messages, settings=ModelSettings(timeout=20))

    with pytest.raises(ModelBusy):
        await heard(llm, prompt)

    assert (clock.pauses, len(inner.prompts)) == ([], 1)


@given(waits=st.lists(st.none() | st.floats(0, 100), min_size=1, max_size=20), jitter=st.floats(0, 1))
async def test_no_attempt_begins_beyond_the_budget(waits: list[float | None], jitter: float) -> None:
    clock = Clock()
    llm, inner = retrying(
        [ModelBusy(retry_after=wait) for wait in waits] + ["Hello"], clock, attempts=30, jitter=jitter
    )

    with suppress(ModelBusy):
        await heard(llm, a_prompt())

    assert clock.now <= 60
    assert len(inner.prompts) == len(clock.pauses) + 1


class Struggling(ScriptedLLM):
    """Fails some times before it does anything with a conversation."""

    def __init__(self, *errors: ModelError) -> None:
        super().__init__([], keeps_answers=True)
        self.errors = [*errors]

    @override
    async def begin_conversation(self) -> str:
        self._struggle()
        return await super().begin_conversation()

    @override
    async def forget_conversation(self, external_id: str) -> None:
        self._struggle()
        await super().forget_conversation(external_id)

    def _struggle(self) -> None:
        if self.errors:
            raise self.errors.pop(0)


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
async def test_conversations_are_begun_and_forgotten_with_patience(error: ModelError) -> None:
    inner, clock = Struggling(error), Clock()
    llm = Retrying(inner, pause=clock.pause, jitter=lambda: 1.0, clock=clock)

    conversation = await llm.begin_conversation()
    inner.errors = [error]
    await llm.forget_conversation(conversation)

    assert llm.keeps_answers
    assert inner.kept == {}
    assert clock.pauses == [0.5, 0.5]


@pytest.mark.parametrize(
    "errors",
    [[ModelRefused()], [ModelBusy()] * 3, [ModelBusy(retry_after=61)]],
    ids=["lasting", "many", "late"],
)
async def test_patience_with_conversations_has_an_end(errors: list[ModelError]) -> None:
    inner, clock = Struggling(*errors), Clock()

    with pytest.raises(type(errors[0])):
        await Retrying(inner, budget_seconds=60, pause=clock.pause, clock=clock).begin_conversation()

    assert inner.errors == []
