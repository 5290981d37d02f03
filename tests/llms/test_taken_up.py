"""What a provider works on by itself is taken up again, but not for ever and not if it is no answer."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest
from typing_extensions import override

from tertulia.agent_settings import ModelSettings
from tertulia.errors import ModelMalformed, ModelTimeout, ModelUnreachable, TertuliaError
from tertulia.llms.base import Begun, Finished, LLMEvent, Prompt, TextDelta
from tertulia.llms.limited import Limited
from tertulia.llms.models import Models
from tertulia.llms.options import LLMOptions
from tertulia.llms.retrying import Retrying
from tertulia.llms.scripted import ScriptedLLM
from tertulia.llms.wire.responses_answer import ResponsesAnswer
from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.llm_contract import a_prompt, finished, heard

SOON = 0.02
WHOLE = (TextDelta("Hello"), Finished(text="Hello", model="a"))
CREATED = b'data: {"type":"response.created","response":{"id":"resp_1"}}\n\n'
WORD = b'data: {"type":"response.output_text.delta","delta":"H"}\n\n'
FAILED = b'data: {"type":"response.failed","response":{"id":"resp_1","status":"failed"}}\n\n'
GARBAGE = b"data: {no\n\n"


class Calls(ScriptedLLM):
    """Each call yields what it was told to; what is an exception is raised, ``None`` waits for ever."""

    def __init__(self, *calls: tuple[LLMEvent | TertuliaError | None, ...]) -> None:
        super().__init__([])
        self._calls = iter(calls)

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        self.asked.append(prompt)
        for event in next(self._calls):
            if event is None:
                await asyncio.Event().wait()
            elif isinstance(event, TertuliaError):
                raise event
            else:
                yield event

    @property
    def taken_up(self) -> list[str | None]:
        return [prompt.resumes for prompt in self.asked]


async def no_pause(_seconds: float) -> None:
    pass


async def test_what_was_taken_up_and_is_no_answer_is_begun_anew() -> None:
    inner = Calls((ModelMalformed(),), WHOLE)

    events = await heard(Retrying(inner, pause=no_pause), replace(a_prompt(), resumes="r1"))

    assert events[-1] == WHOLE[-1]
    assert inner.taken_up == ["r1", None]
    assert inner.abandoned == ["r1"]


async def test_what_was_just_begun_and_is_no_answer_is_taken_up() -> None:
    inner = Calls((Begun("r2"), ModelMalformed()), WHOLE)

    await heard(Retrying(inner, pause=no_pause), replace(a_prompt(), resumes="r1"))

    assert inner.taken_up == ["r1", "r2"]
    assert inner.abandoned == []


async def test_what_cannot_be_reached_is_taken_up_again() -> None:
    inner = Calls((ModelUnreachable(),), WHOLE)

    await heard(Retrying(inner, pause=no_pause), replace(a_prompt(), resumes="r1"))

    assert inner.taken_up == ["r1", "r1"]
    assert inner.abandoned == []


async def test_what_was_taken_up_and_stays_silent_is_abandoned() -> None:
    inner = Calls((None,))

    with pytest.raises(ModelTimeout):
        await heard(Limited(inner, whole=SOON), replace(a_prompt(), resumes="r1"))

    assert inner.abandoned == ["r1"]


@pytest.mark.parametrize("heard_of", [Begun("r2"), TextDelta("Well")], ids=["begun", "said"])
async def test_what_is_heard_of_is_not_abandoned(heard_of: LLMEvent) -> None:
    inner = Calls((heard_of, None))

    with pytest.raises(ModelTimeout):
        await heard(Limited(inner, whole=SOON), replace(a_prompt(), resumes="r1"))

    assert inner.abandoned == []


async def test_one_attempt_that_is_silent_is_no_reason_to_abandon() -> None:
    inner = Calls((None,))

    with pytest.raises(ModelTimeout):
        await heard(Limited(inner, first_token=SOON), replace(a_prompt(), resumes="r1"))

    assert inner.abandoned == []


async def test_provider_that_will_not_stop_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf(Calls):
        @override
        async def abandon(self, external_id: str) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr("tertulia.llms.limited._ABANDON_SECONDS", SOON)

    with pytest.raises(ModelTimeout):
        await heard(Limited(Deaf((None,)), whole=SOON), replace(a_prompt(), resumes="r1"))


async def test_answer_that_stays_in_its_queue_is_begun_anew_by_a_later_attempt() -> None:
    async with FakeOpenAI() as fake:
        fake.hold()
        options = LLMOptions(base_url=fake.base_url, whole_seconds=0.4)
        gpt = Models("openai:gpt-x", options=options).get(None)
        prompt = replace(a_prompt(), settings=ModelSettings(background=True))
        begun: list[str] = []

        async def ask(resumes: str | None) -> None:
            async for event in gpt.stream(replace(prompt, resumes=resumes)):
                if isinstance(event, Begun):
                    begun.append(event.external_id)

        with pytest.raises(ModelTimeout):
            await ask(None)
        assert fake.working == 1
        with pytest.raises(ModelTimeout):
            await ask(begun[0])
        assert fake.working == 0
        fake.release()
        whole = await finished(
            gpt, replace(prompt, resumes=begun[0], settings=ModelSettings(background=True, timeout=30))
        )
        await gpt.close()

    assert len(whole.text) == fake.reply_chars
    assert whole.external_id not in begun
    assert fake.calls == 2


@pytest.mark.parametrize(
    ("end", "error"), [(FAILED, ModelUnreachable), (GARBAGE, ModelMalformed)], ids=["failed", "garbage"]
)
@pytest.mark.parametrize("between", [b"", WORD], ids=["at once", "with a word"])
def test_answer_that_is_begun_and_fails_in_one_read_is_told_to_have_begun(
    between: bytes, end: bytes, error: type[TertuliaError]
) -> None:
    answer = ResponsesAnswer("gpt-x", works_alone=True)

    told = answer.feed(CREATED + between + end)

    # Its words are not told, so that asking again is still possible.
    assert told == [Begun("resp_1")]
    assert answer.is_done
    assert not answer.goes_on
    with pytest.raises(error):
        answer.finished()


def test_answer_that_fails_without_having_been_begun_fails_at_once() -> None:
    answer = ResponsesAnswer("gpt-x")

    with pytest.raises(ModelUnreachable):
        answer.feed(CREATED + WORD + FAILED)
