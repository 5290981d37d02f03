"""A model's answer as a turn goes on from it, and as the journal keeps it."""

from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

import orjson

from tertulia import ids
from tertulia.engine.turns import StepResult
from tertulia.errors import ModelMalformed
from tertulia.llms.base import LLM, Finished, Prompt, Shown
from tertulia.messages import Flag, Message, clean_text, now_us
from tertulia.parts import Part, Reasoning, Text, ToolCall, ToolResult, decode_part, encode_part
from tertulia.turn.briefing import Briefing

_CUT_SHORT: Final = frozenset({"length", "content_filter"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model has said, and what it wants to use before it says more."""

    text: str
    is_cut: bool = False
    calls: tuple[ToolCall, ...] = ()
    reasoning: tuple[Reasoning, ...] = ()
    finish_reason: str = ""
    external_id: str | None = None
    """Under which its provider keeps it, if it does."""

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
        used, calls = set(taken), []
        own = {each.id for each in self.calls}
        for each in self.calls:
            ident, more = each.id, call
            while ident in used or (ident != each.id and ident in own):
                ident, more = f"{each.id}_{more}", more + 1
            used.add(ident)
            calls.append(replace(each, id=ident))
        return replace(self, calls=tuple(calls))


def result_message(result: ToolResult, *, author: str, turn: int) -> Message:
    """Return what a tool has given as it is kept in the log."""
    return _message("tool", (result,), author=author, turn=turn, flags=Flag.NONE)


def keep(finished: Finished, briefing: Briefing | None = None) -> StepResult:
    """Return an answer as the journal keeps it, also one that says nothing: it was paid for.

    With it is kept what its model was told beside the conversation.
    """
    kept: dict[str, object] = {
        "v": 1,
        "text": finished.text,
        "model": finished.model,
        "finish_reason": finished.finish_reason,
    }
    if finished.calls:
        kept["calls"] = [encode_part(_clean(call)) for call in finished.calls]
    if finished.reasoning:
        kept["reasoning"] = [encode_part(_clean(part)) for part in finished.reasoning]
    if finished.external_id is not None:
        kept["external_id"] = finished.external_id
    if briefing is not None:
        kept["briefing"] = briefing.kept()
    return StepResult(output=orjson.dumps(kept).decode(), usage=finished.usage)


def kept_answer(output: str) -> Answer:
    """Return the answer that :func:`keep` was given; raises ``ModelMalformed`` if it says nothing at all."""
    kept = orjson.loads(output)
    if not kept["text"] and not kept.get("calls"):
        raise ModelMalformed(f"the model said nothing (finish reason: {kept['finish_reason']})")
    calls = (decode_part(raw) for raw in kept.get("calls", ()))
    reasoning = (decode_part(raw) for raw in kept.get("reasoning", ()))
    return Answer(
        text=kept["text"],
        is_cut=kept["finish_reason"] in _CUT_SHORT,
        calls=tuple(part for part in calls if isinstance(part, ToolCall)),
        reasoning=tuple(part for part in reasoning if isinstance(part, Reasoning)),
        finish_reason=kept["finish_reason"],
        external_id=kept.get("external_id"),
    )


def _clean(part: ToolCall | Reasoning) -> ToolCall | Reasoning:
    """Return a part that every database can hold."""
    if isinstance(part, Reasoning):
        return replace(part, text=clean_text(part.text))
    given = {name: clean_text(getattr(part, name)) for name in ("id", "name", "arguments")}
    return replace(part, **given)


async def whole_answer(llm: LLM, prompt: Prompt) -> Finished:
    """Ask a model and return its whole answer; raises what the model raises."""
    async with aclosing(llm.stream(prompt)) as events:
        async for event in events:
            if isinstance(event, Finished):
                return event
    raise ModelMalformed("the model's answer has no end")


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
