"""Calls through libraries: what is left of them when nobody listens any more, and how much they may say."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Self

import pytest
from pydantic_ai.messages import (
    ModelResponse,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models.function import FunctionModel
from typing_extensions import override

from tertulia.errors import ModelMalformed, ModelRefused
from tertulia.llms.by_pydantic_ai import own_task
from tertulia.llms.by_pydantic_ai.answer import Heard
from tertulia.llms.by_pydantic_ai.asked import AskedModel
from tertulia.llms.by_pydantic_ai.manners import manners_of
from tertulia.llms.by_pydantic_ai.own_task import in_own_task
from tertulia.llms.owned import OwnedTasks
from tertulia.llms.wire import speech

SOON = 0.02


async def test_a_library_that_does_not_let_go_is_left_behind_and_owned(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(own_task, "_GOODBYE_SECONDS", SOON)
    may_end, has_ended = asyncio.Event(), asyncio.Event()

    async def stubborn() -> AsyncGenerator[str, None]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            await may_end.wait()
            has_ended.set()

    owner = OwnedTasks()
    async with aclosing(in_own_task(stubborn(), owner=owner)) as events:
        await anext(events)

    assert "does not let go" in caplog.text
    assert not has_ended.is_set()
    may_end.set()
    await owner.finish(within_seconds=5)
    assert has_ended.is_set()


async def test_who_is_cancelled_while_it_says_goodbye_leaves_nothing_without_an_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(own_task, "_GOODBYE_SECONDS", 3600)
    closes, has_ended = asyncio.Event(), asyncio.Event()

    async def stubborn() -> AsyncGenerator[str, None]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            closes.set()
            try:
                await asyncio.Event().wait()
            finally:
                has_ended.set()

    owner = OwnedTasks()

    async def hear() -> None:
        async with aclosing(in_own_task(stubborn(), owner=owner)) as events:
            await anext(events)

    listening = asyncio.create_task(hear())
    await closes.wait()
    listening.cancel()
    await asyncio.wait((listening,))
    await owner.finish(within_seconds=SOON)

    assert has_ended.is_set()


def pieces(part: str) -> list[ModelResponseStreamEvent]:
    much = "x" * 60
    found: dict[str, list[ModelResponseStreamEvent]] = {
        "thought": [
            PartStartEvent(index=0, part=ThinkingPart(much)),
            PartDeltaEvent(index=0, delta=ThinkingPartDelta(content_delta=much)),
        ],
        "call": [
            PartStartEvent(index=0, part=ToolCallPart("f", much)),
            PartDeltaEvent(index=0, delta=ToolCallPartDelta(args_delta=much)),
        ],
        "call as an object": [
            PartStartEvent(index=0, part=ToolCallPart("f", {"a": much})),
            PartDeltaEvent(index=0, delta=ToolCallPartDelta(args_delta={"b": much})),
        ],
    }
    return found[part]


@pytest.mark.parametrize("part", ["thought", "call", "call as an object"])
def test_thoughts_and_calls_count_to_what_an_answer_may_have(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech, "MAX_ANSWER", 100)
    heard = Heard()
    first, second = pieces(part)
    heard.take(first)

    with pytest.raises(ModelMalformed):
        heard.take(second)


@pytest.mark.parametrize("part", [ThinkingPart("x" * 60), ToolCallPart("f", "x" * 60)])
def test_they_count_in_one_piece_too(
    part: ThinkingPart | ToolCallPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech, "MAX_ANSWER", 100)

    with pytest.raises(ModelMalformed):
        Heard().whole(ModelResponse(parts=[part, TextPart("y" * 60)]))


async def test_a_model_that_cannot_be_entered_says_what_to_set() -> None:
    closed: list[bool] = []

    class Shut(FunctionModel):
        @override
        async def __aenter__(self) -> Self:
            raise LookupError("SECRET: FOO_API_KEY is not set")

    async def close() -> None:
        closed.append(True)

    model = AskedModel(Shut(lambda *_: ModelResponse(parts=[])), manners_of("groq"), close=close)

    with pytest.raises(ModelRefused, match="FOO_API_KEY") as refused:
        await model.enter()

    assert "SECRET" not in str(refused.value)
    assert closed == [True]
