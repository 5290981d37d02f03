"""An answer of pydantic-ai's as ours."""

from collections.abc import Mapping
from typing import Final

from pydantic_ai.messages import (
    ModelResponse,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.usage import RequestUsage

from tertulia.errors import ModelUnreachable
from tertulia.llms.base import Finished, FinishReason, ReasoningDelta, TextDelta
from tertulia.llms.by_pydantic_ai.opaque import kept_call, kept_reasoning
from tertulia.llms.wire.speech import check_size
from tertulia.llms.wire.sse import CleanText
from tertulia.parts import ToolCall
from tertulia.usage import Usage

_REASONS: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_call": "tool_calls",
}
_MOST: Final = 2**53
"""Tokens beyond which a count is no count."""


class Heard:
    """What has been heard of an answer so far."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._size = 0
        self._clean, self._clean_thought = CleanText(), CleanText()

    def take(self, event: ModelResponseStreamEvent) -> TextDelta | ReasoningDelta | None:
        """Take in an event and return what it adds to what was said or thought."""
        piece = event.part if isinstance(event, PartStartEvent) else None
        if isinstance(event, PartDeltaEvent):
            return self._added(event)
        if isinstance(piece, TextPart):
            return self._said(piece.content)
        if isinstance(piece, ThinkingPart):
            return self._thought(piece.content)
        if isinstance(piece, ToolCallPart):
            self._grow(_length(piece.args))
        return None

    def whole(self, response: ModelResponse) -> TextDelta | None:
        """Take in an answer that came in one piece."""
        for part in response.parts:
            if isinstance(part, ThinkingPart):
                self._grow(len(part.content))
            elif isinstance(part, ToolCallPart):
                self._grow(_length(part.args))
        return self._said("".join(part.content for part in response.parts if isinstance(part, TextPart)))

    def rest(self) -> TextDelta | None:
        """Return what was still waited for."""
        return self._kept(self._clean.rest())

    def finished(self, response: ModelResponse, *, system: str, model: str) -> Finished:
        """Return the whole answer; raises if it was cut before its end."""
        calls = _told_apart(
            [kept_call(part, system) for part in response.parts if isinstance(part, ToolCallPart)]
        )
        return Finished(
            text="".join(self._texts),
            model=response.model_name or model,
            usage=usage_of(response.usage),
            finish_reason="tool_calls" if calls and response.finish_reason == "stop" else _reason(response),
            calls=calls,
            reasoning=tuple(
                kept_reasoning(part, system) for part in response.parts if isinstance(part, ThinkingPart)
            ),
        )

    def _added(self, event: PartDeltaEvent) -> TextDelta | ReasoningDelta | None:
        if isinstance(event.delta, TextPartDelta):
            return self._said(event.delta.content_delta)
        if isinstance(event.delta, ThinkingPartDelta):
            return self._thought(event.delta.content_delta or "")
        if isinstance(event.delta, ToolCallPartDelta):
            self._grow(_length(event.delta.args_delta))
        return None

    def _said(self, text: str) -> TextDelta | None:
        return self._kept(self._clean.feed(text))

    def _kept(self, text: str) -> TextDelta | None:
        if not text:
            return None
        self._texts.append(text)
        self._grow(len(text))
        return TextDelta(text)

    def _thought(self, text: str) -> ReasoningDelta | None:
        shown = self._clean_thought.feed(text)
        self._grow(len(shown))
        return ReasoningDelta(shown) if shown else None

    def _grow(self, length: int) -> None:
        """Count what has come of text, thoughts and calls; raises ``ModelMalformed`` for too much."""
        self._size += length
        check_size(self._size)


def usage_of(found: RequestUsage) -> Usage:
    """Return what a call cost, as far as its provider says."""
    return Usage(
        input_tokens=_count(found.input_tokens),
        output_tokens=_count(found.output_tokens),
        cached_tokens=_count(found.cache_read_tokens),
        reasoning_tokens=_count(found.output_reasoning_tokens),
        model_calls=1,
    )


def _length(arguments: str | Mapping[str, object] | None) -> int:
    """Return how long a call's arguments are as text, or a piece of them."""
    return len(arguments) if isinstance(arguments, str) else len(str(arguments or ""))


def _count(tokens: int) -> int:
    return min(max(tokens, 0), _MOST)


def _reason(response: ModelResponse) -> FinishReason:
    if response.finish_reason == "error":
        raise ModelUnreachable("the model's provider broke off its answer")
    if response.finish_reason:
        return _REASONS.get(response.finish_reason, "unknown")
    if not (response.provider_details or {}).get("finish_reason"):
        raise ModelUnreachable("the model's answer was cut before its end")
    return "unknown"


def _told_apart(calls: list[ToolCall]) -> tuple[ToolCall, ...]:
    """Return calls whose ids are not empty and differ."""
    found: dict[str, ToolCall] = {}
    for place, call in enumerate(calls):
        name = call.id if call.id and call.id not in found else f"{call.id}_{place}".lstrip("_")
        while name in found:
            name += "_"
        found[name] = call if name == call.id else _renamed(call, name)
    return tuple(found.values())


def _renamed(call: ToolCall, name: str) -> ToolCall:
    return ToolCall(id=name, name=call.name, arguments=call.arguments, opaque=call.opaque)
