"""A model's answer as a turn goes on from it, and as the journal keeps it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import orjson

from tertulia import ids
from tertulia.engine.turns import StepResult
from tertulia.errors import ModelMalformed
from tertulia.llms.base import Finished, Shown
from tertulia.messages import Flag, Message, now_us
from tertulia.parts import Part, Reasoning, Text, ToolCall, ToolResult, decode_part, encode_part

_CUT_SHORT: Final = frozenset({"length", "content_filter"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model has said, and what it wants to use before it says more."""

    text: str
    is_cut: bool = False
    calls: tuple[ToolCall, ...] = ()
    reasoning: tuple[Reasoning, ...] = ()

    @property
    def shown(self) -> Shown:
        """The answer as its model is shown it within the same turn."""
        if not self.calls and not self.reasoning:
            return Shown(role="assistant", text=self.text)
        said = (Text(text=self.text),) if self.text else ()
        return Shown(role="assistant", text=self.text, parts=(*self.reasoning, *said, *self.calls))

    def message(self, *, author: str, turn: int) -> Message:
        """Return the answer as it is kept in the log, without what only its provider can read."""
        thought = tuple(Reasoning(text=part.text) for part in self.reasoning if part.text)
        said = (Text(text=self.text),) if self.text or not self.calls else ()
        calls = tuple(replace(call, opaque="") for call in self.calls)
        flags = Flag.INCOMPLETE if self.is_cut else Flag.NONE
        return _message("assistant", (*thought, *said, *calls), author=author, turn=turn, flags=flags)

    def with_distinct_ids(self, taken: Iterable[str], *, call: int) -> "Answer":
        """Return the answer with other ids for those calls whose ids an earlier answer had as well."""
        if not self.calls:
            return self
        used = set(taken)
        calls = tuple(
            replace(each, id=f"{each.id}_{call}") if each.id in used else each for each in self.calls
        )
        return replace(self, calls=calls)


def result_message(result: ToolResult, *, author: str, turn: int) -> Message:
    """Return what a tool has given as it is kept in the log."""
    return _message("tool", (result,), author=author, turn=turn, flags=Flag.NONE)


def shown_result(result: ToolResult) -> Shown:
    """Return what a tool has given as a model is shown it."""
    return Shown(role="tool", text=result.text, parts=(result,))


def keep(finished: Finished) -> StepResult:
    """Return an answer as the journal keeps it; raises ``ModelMalformed`` if it says nothing at all."""
    if not finished.text and not finished.calls:
        raise ModelMalformed(f"the model said nothing (finish reason: {finished.finish_reason})")
    kept: dict[str, object] = {
        "v": 1,
        "text": finished.text,
        "model": finished.model,
        "finish_reason": finished.finish_reason,
    }
    if finished.calls:
        kept["calls"] = [encode_part(call) for call in finished.calls]
    if finished.reasoning:
        kept["reasoning"] = [encode_part(part) for part in finished.reasoning]
    return StepResult(output=orjson.dumps(kept).decode(), usage=finished.usage)


def kept_answer(output: str) -> Answer:
    """Return the answer that :func:`keep` was given."""
    kept = orjson.loads(output)
    calls = (decode_part(raw) for raw in kept.get("calls", ()))
    reasoning = (decode_part(raw) for raw in kept.get("reasoning", ()))
    return Answer(
        text=kept["text"],
        is_cut=kept["finish_reason"] in _CUT_SHORT,
        calls=tuple(part for part in calls if isinstance(part, ToolCall)),
        reasoning=tuple(part for part in reasoning if isinstance(part, Reasoning)),
    )


def _message(role: str, content: tuple[Part, ...], *, author: str, turn: int, flags: Flag) -> Message:
    return Message(
        id=ids.new_id(ids.MESSAGE),
        role="tool" if role == "tool" else "assistant",
        content=content,
        author=author,
        turn=turn,
        flags=flags,
        created_at=now_us(),
    )
