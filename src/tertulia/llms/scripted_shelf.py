"""What a scripted model was shown and has said, and keeps as a provider would."""

from collections.abc import Sequence
from itertools import count
from typing import Any, TypeAlias

from tertulia.errors import AnswerGone
from tertulia.llms.base import Finished, Prompt, Shown
from tertulia.parts import Part, ToolCall, ToolResult

Seen: TypeAlias = dict[str, Any]
"""A message: ``role`` and ``content``, with ``name``, ``tool_calls`` and ``tool_call_id`` if it has any."""


class Shelf:
    """Answers and conversations by their ids, each with all that was said up to its end."""

    def __init__(self) -> None:
        self.kept: dict[str, list[Seen]] = {}
        self._answers, self._conversations = count(1), count(1)

    def begin(self) -> str:
        """Return the id of a new conversation."""
        ident = f"conversation_{next(self._conversations)}"
        self.kept[ident] = []
        return ident

    def new_answer(self) -> str:
        """Return an id for an answer."""
        return f"answer_{next(self._answers)}"

    def before(self, prompt: Prompt) -> list[Seen]:
        """Return what was said before a prompt; raises ``AnswerGone`` if that is not kept."""
        if prompt.leans_on is None:
            return []
        if prompt.leans_on not in self.kept:
            raise AnswerGone("the scripted model does not keep what this was to go on from")
        return list(self.kept[prompt.leans_on])

    def keep(self, ident: str, before: Sequence[Seen], new: Sequence[Seen], *, within: str | None) -> None:
        """Keep an answer with what came before it, and add what is new to the conversation it is in."""
        self.kept[ident] = [*before, *new]
        if within is not None and within in self.kept:
            self.kept[within] += new

    def forget(self, ident: str | None) -> None:
        """Let go of the answer or the conversation of this id, or of all."""
        if ident is None:
            self.kept.clear()
        else:
            self.kept.pop(ident, None)


def seen(shown: Shown) -> Seen:
    """Return a message as it was shown."""
    return _seen(shown.role, shown.text, name=shown.name, parts=shown.parts)


def said(whole: Finished) -> Seen:
    """Return an answer as a message."""
    return _seen("assistant", whole.text, name=None, parts=whole.calls)


def _seen(role: str, text: str, *, name: str | None, parts: Sequence[Part]) -> Seen:
    found: Seen = {"role": role, "content": text}
    if name:
        found["name"] = name
    for part in parts:
        if isinstance(part, ToolCall):
            call = {"id": part.id, "name": part.name, "arguments": part.arguments}
            found.setdefault("tool_calls", []).append(call)
        elif isinstance(part, ToolResult):
            found |= {"content": part.text, "tool_call_id": part.call_id}
    return found
