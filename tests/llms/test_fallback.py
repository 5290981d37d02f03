"""Models that stand in for one another: when, for how long, and when not."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from tertulia.agent_settings import ModelSettings
from tertulia.errors import (
    AnswerGone,
    ContextTooLong,
    MissingExtra,
    ModelBusy,
    ModelMalformed,
    ModelRefused,
    ModelTimeout,
    ModelUnreachable,
    TertuliaError,
)
from tertulia.llms import fallback
from tertulia.llms.base import LLM, Begun, Finished, LLMEvent, Prompt, ReasoningDelta, TextDelta
from tertulia.llms.fallback import Fallback
from tertulia.llms.limited import Limited
from tertulia.llms.scripted import ScriptedLLM
from tertulia.testing.llm_contract import LLMContract, a_prompt, heard

FOR_THE_NEXT = [
    ModelRefused(),
    ModelBusy(),
    ModelTimeout(),
    ModelUnreachable(),
    ModelMalformed(),
    MissingExtra(),
]
BY_HOPE = [FOR_THE_NEXT[place] for place in (1, 2, 3, 4, 0, 5)]
SOON = 0.02


class Told(ScriptedLLM):
    """Yields what it was told to, event by event; what is an exception is raised, ``None`` waits for ever."""

    def __init__(
        self, name: str, *events: LLMEvent | TertuliaError | None, window: int | None = None
    ) -> None:
        super().__init__([], name=name)
        self._events, self._window = events, window
        self.asked: list[Prompt] = []
        self.abandoned: list[str] = []

    @property
    @override
    def window(self) -> int | None:
        return self._window

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        self.asked.append(prompt)
        for event in self._events:
            if event is None:
                await asyncio.Event().wait()
            elif isinstance(event, TertuliaError):
                raise event
            else:
                yield event

    @override
    async def abandon(self, external_id: str) -> None:
        self.abandoned.append(external_id)


def answering(name: str, text: str = "Hello", **given: str) -> Told:
    return Told(name, TextDelta(text), Finished(text=text, model=name, **given))  # type: ignore[arg-type]  # the id


def answered(events: list[LLMEvent]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


class TestFallbackContract(LLMContract):
    @pytest.fixture
    def llm(self) -> LLM:
        busy = ScriptedLLM([ModelBusy()] * 10, name="scripted:busy")
        return Fallback([busy, ScriptedLLM(["Hello, how are you?"] * 10, chunk=4)], whole=60)

    @pytest.fixture
    def failing(self) -> LLM:
        return Fallback([ScriptedLLM([ModelBusy()] * 4), ScriptedLLM([ModelUnreachable()] * 4)])


@pytest.mark.parametrize("error", FOR_THE_NEXT, ids=lambda error: type(error).__name__)
async def test_the_next_is_asked_when_one_cannot_answer(error: TertuliaError) -> None:
    first, second, third = Told("a:1", error), answering("b:2"), answering("c:3")

    events = await heard(Fallback([first, second, third], whole=60), a_prompt())

    assert answered(events).model == "b:2"
    assert [len(llm.asked) for llm in (first, second, third)] == [1, 1, 0]


@given(outcomes=st.lists(st.sampled_from([*FOR_THE_NEXT, None]), min_size=1, max_size=5))
async def test_the_first_that_can_answers_and_nobody_behind_it_is_asked(
    outcomes: list[TertuliaError | None],
) -> None:
    models = [Told(f"a:{n}", error) if error else answering(f"a:{n}") for n, error in enumerate(outcomes)]
    working = [llm.name for llm, error in zip(models, outcomes, strict=True) if error is None]

    try:
        events = await heard(Fallback(models, whole=60), a_prompt())
    except TertuliaError as error:
        assert type(error) is next(type(each) for each in BY_HOPE if each in outcomes)
        assert not working
    else:
        assert answered(events).model == working[0]
    assert [len(llm.asked) for llm in models] == sorted((len(llm.asked) for llm in models), reverse=True)


async def test_too_long_a_prompt_is_no_reason_to_ask_another() -> None:
    second = answering("b:2")

    with pytest.raises(ContextTooLong):
        await heard(Fallback([Told("a:1", ContextTooLong()), second]), a_prompt())

    assert second.asked == []


@pytest.mark.parametrize("word", [TextDelta("Well"), ReasoningDelta("Hm")], ids=["said", "thought"])
async def test_nobody_else_is_asked_after_the_first_word(word: LLMEvent) -> None:
    second = answering("b:2")

    with pytest.raises(ModelUnreachable):
        await heard(Fallback([Told("a:1", word, ModelUnreachable()), second], whole=60), a_prompt())

    assert second.asked == []


async def test_what_was_begun_is_abandoned_before_the_next_is_asked() -> None:
    first = Told("a:1", Begun("r1"), ModelUnreachable())

    events = await heard(Fallback([first, answering("b:2")]), a_prompt())

    assert events[0] == Begun("a:1 r1")
    assert answered(events).model == "b:2"
    assert first.abandoned == ["r1"]


async def test_the_error_with_the_most_hope_says_how_each_has_failed() -> None:
    busy, refusing = Told("a:1", ModelBusy("later", retry_after=7)), Told("b:2", ModelRefused("no"))

    with pytest.raises(ModelBusy) as raised:
        await heard(Fallback([busy, refusing]), a_prompt())

    assert str(raised.value) == "no model answered (a:1: model_busy, b:2: model_refused): later"
    assert raised.value.retry_after == 7


@pytest.mark.parametrize("waits", [(9, 7, None), (None, 9, 7), (7, None, None)])
async def test_the_shortest_wait_is_told(waits: tuple[float | None, ...]) -> None:
    models = [Told(f"a:{n}", ModelBusy(retry_after=wait)) for n, wait in enumerate(waits)]

    with pytest.raises(ModelBusy) as raised:
        await heard(Fallback([*models, Told("b:2", ModelRefused(retry_after=1))]), a_prompt())

    assert raised.value.retry_after == 7


async def test_what_is_told_of_many_models_is_short() -> None:
    models = [Told(f"a:{n}" + "x" * 1000, ModelBusy("later")) for n in range(30)]

    with pytest.raises(ModelBusy) as raised:
        await heard(Fallback(models), a_prompt())

    assert len(str(raised.value)) < 1000


async def test_one_model_alone_says_what_it_says() -> None:
    with pytest.raises(ModelBusy, match=r"^later$"):
        await heard(Fallback([Told("a:1", ModelBusy("later"))]), a_prompt())


async def test_one_that_is_silent_loses_its_turn_in_time_for_the_others() -> None:
    first, second, third = Told("a:1", None), Told("b:2", None), answering("c:3")

    events = await heard(Fallback([first, second, third], whole=3 * SOON, clock=lambda: 0), a_prompt())

    assert answered(events).model == "c:3"


async def test_each_has_its_share_of_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float | None] = []

    class Noted(Limited):
        def __init__(
            self, inner: LLM, *, first_token: float | None = None, whole: float | None = None
        ) -> None:
            super().__init__(inner, first_token=first_token, whole=whole)
            waits.append(first_token)

    monkeypatch.setattr(fallback, "Limited", Noted)
    times = iter([0, 0, 4, 6])
    models = [Told("a:1", ModelBusy()), Told("b:2", ModelBusy()), answering("c:3")]

    await heard(Fallback(models, whole=12, clock=lambda: next(times)), a_prompt())

    assert waits == [4, 4, None]


async def test_one_that_speaks_has_all_the_time_that_is_left() -> None:
    prompt = replace(a_prompt(), settings=ModelSettings(timeout=8))
    first, second = Told("a:1", ModelBusy()), answering("b:2")
    times = iter([0, 0, 3])

    await heard(Fallback([first, second], whole=60, clock=lambda: next(times)), prompt)

    assert [llm.asked[0].settings.timeout for llm in (first, second)] == [8, 5]


async def test_a_chain_takes_no_longer_than_one_may() -> None:
    with pytest.raises(ModelTimeout, match="a:1: model_timeout, b:2: model_timeout"):
        await heard(Fallback([Told("a:1", None), Told("b:2", None)], whole=SOON), a_prompt())


async def test_what_was_begun_is_taken_up_where_it_was_begun() -> None:
    first, second, third = answering("a:1"), Told("b:2", ModelUnreachable()), answering("c:3")
    prompt = replace(a_prompt(), resumes="b:2 r7")

    events = await heard(Fallback([first, second, third]), prompt)

    assert answered(events).model == "c:3"
    assert [llm.asked[0].resumes for llm in (second, third)] == ["r7", None]
    assert (first.asked, second.abandoned) == ([], ["r7"])


@pytest.mark.parametrize("resumes", ["gone:4 r7", "r7"])
async def test_what_nobody_here_began_is_begun_anew(resumes: str) -> None:
    first = answering("a:1")

    await heard(Fallback([first, answering("b:2")]), replace(a_prompt(), resumes=resumes))

    assert first.asked[0].resumes is None


async def test_an_answer_is_followed_up_by_the_model_that_gave_it() -> None:
    first, second = answering("a:1"), answering("b:2", external_id="r8")
    chain = Fallback([first, second])

    events = await heard(chain, replace(a_prompt(), follows="b:2 r7"))

    assert answered(events).external_id == "b:2 r8"
    assert second.asked[0].follows == "r7"
    assert first.asked == []


async def test_what_only_a_failing_model_knows_is_gone() -> None:
    second = answering("b:2")
    chain = Fallback([Told("a:1", ModelBusy()), second])

    for follows in ("a:1 r7", "gone:4 r7"):
        with pytest.raises(AnswerGone):
            await heard(chain, replace(a_prompt(), follows=follows))

    assert second.asked == []


async def test_a_conversation_is_gone_on_with_by_the_model_that_keeps_it() -> None:
    first, second = answering("a:1"), answering("b:2", external_id="r8")

    events = await heard(Fallback([first, second]), replace(a_prompt(), within="b:2 c7", follows="a:1 r7"))

    assert answered(events).external_id == "b:2 r8"
    assert (second.asked[0].within, second.asked[0].follows) == ("c7", None)
    assert first.asked == []


async def test_a_conversation_that_only_a_failing_model_keeps_is_gone() -> None:
    second = answering("b:2")
    chain = Fallback([Told("a:1", ModelBusy()), second])

    for within in ("a:1 c7", "gone:4 c7", "c7"):
        with pytest.raises(AnswerGone):
            await heard(chain, replace(a_prompt(), within=within))

    assert second.asked == []


async def test_conversations_are_the_first_models() -> None:
    first, second = (ScriptedLLM(["Hello"], name=name, keeps_answers=True) for name in ("a:1", "b:2"))
    forgetful = ScriptedLLM([])

    conversation = await Fallback([first, second]).begin_conversation()

    assert conversation == "a:1 conversation_1"
    assert list(first.kept) == ["conversation_1"]
    assert second.kept == {}
    assert Fallback([first, forgetful]).keeps_answers
    assert not Fallback([forgetful, first]).keeps_answers


async def test_a_conversation_is_forgotten_by_the_model_that_keeps_it() -> None:
    first, second = (ScriptedLLM([], name=name, keeps_answers=True) for name in ("a:1", "b:2"))
    for llm in (first, second):
        await llm.begin_conversation()
    chain = Fallback([first, second])

    await chain.forget_conversation("b:2 conversation_1")
    with pytest.raises(ModelRefused):
        await chain.forget_conversation("gone:3 conversation_1")

    assert list(first.kept) == ["conversation_1"]
    assert second.kept == {}


async def test_abandoning_goes_to_the_model_that_began() -> None:
    first, second = Told("a:1"), Told("b:2")
    chain = Fallback([first, second])

    for known in ("b:2 r1", "r2", "gone:4 r3"):
        await chain.abandon(known)

    assert (first.abandoned, second.abandoned) == ([], ["r1"])


async def test_the_same_model_twice_is_asked_twice() -> None:
    twice = ScriptedLLM([ModelBusy(), "Hello"])

    events = await heard(Fallback([twice, twice]), a_prompt())

    assert answered(events).text == "Hello"


async def test_what_was_abandoned_is_not_taken_up_again() -> None:
    twice = Told("a:1", ModelBusy())

    with pytest.raises(ModelBusy):
        await heard(Fallback([twice, twice]), replace(a_prompt(), resumes="a:1 r7"))

    assert [prompt.resumes for prompt in twice.asked] == ["r7", None]


async def test_leaving_closes_what_is_inside() -> None:
    class Noted(ScriptedLLM):
        closed = 0

        @override
        async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
            try:
                yield TextDelta("Well")
                await asyncio.Event().wait()
            finally:
                self.closed += 1

    inner = Noted([])

    async with aclosing(Fallback([inner, answering("b:2")], whole=60).stream(a_prompt())) as events:
        await anext(events)

    assert inner.closed == 1


def test_it_has_the_name_and_the_window_of_the_first() -> None:
    chain = Fallback([Told("a:1", window=9000), Told("b:2", window=4000)])

    assert (chain.name, chain.window) == ("a:1", 9000)
    assert Fallback([Told("a:1"), Told("b:2", window=4000)]).window is None


async def test_one_that_stands_in_and_has_less_room_is_passed_over() -> None:
    first, second, third = Told("a:1", ModelBusy()), Told("b:2", ContextTooLong()), answering("c:3")

    events = await heard(Fallback([first, second, third]), a_prompt())

    assert answered(events).model == "c:3"


async def test_the_last_that_stands_in_may_ask_for_less() -> None:
    chain = Fallback([Told("a:1", ModelBusy()), Told("b:2", ContextTooLong())])

    with pytest.raises(ContextTooLong):
        await heard(chain, a_prompt())


async def test_one_that_had_no_room_says_least_of_why_nobody_answered() -> None:
    chain = Fallback([Told("a:1", ModelBusy()), Told("b:2", ContextTooLong()), Told("c:3", ModelRefused())])

    with pytest.raises(ModelBusy, match="b:2: context_too_long"):
        await heard(chain, a_prompt())


async def test_one_that_may_lose_its_turn_is_heard_word_by_word() -> None:
    first, second = Told("a:1", ModelBusy()), answering("b:2")

    await heard(Fallback([first, second], whole=60), replace(a_prompt(), wants_deltas=False))

    assert [llm.asked[0].wants_deltas for llm in (first, second)] == [True, False]


async def test_abandoning_keeps_nobody_waiting_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lingering(Told):
        end = asyncio.Event()

        @override
        async def abandon(self, external_id: str) -> None:
            await self.end.wait()
            await super().abandon(external_id)

    monkeypatch.setattr(fallback, "_ABANDON_SECONDS", SOON)
    first = Lingering("a:1", Begun("r1"), ModelUnreachable())
    chain = Fallback([first, answering("b:2")])

    events = await heard(chain, a_prompt())

    assert answered(events).model == "b:2"
    assert first.abandoned == []
    first.end.set()
    await chain.close()
    assert first.abandoned == ["r1"]
