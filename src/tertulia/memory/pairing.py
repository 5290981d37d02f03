"""Calls of tools and their results, paired: no provider takes the one without the other.

A turn that was cut short leaves calls in the log that nobody answered, and withdrawing a message can
part the two. The log stays as it is; in what a model is shown, a call without a result is given one
that says so, and a result without a call is left out. Long results are shortened, so that what a
tool has given does not push out what was said.
"""

from typing import Final

from tertulia.llms.base import Shown
from tertulia.memory.shortening import shortened
from tertulia.messages import Message
from tertulia.parts import Part, Reasoning, Text, ToolCall, ToolResult

NO_RESULT: Final = "No result: this use of the tool was cut off, and whether it took effect is not known."


class Pairing:
    """Goes through a log in order, and says what is to be shown of it."""

    __slots__ = ("_open", "called_at")

    def __init__(self) -> None:
        self.called_at = 0
        """Number of the message with the newest calls."""
        self._open: dict[str, str] = {}
        """Names of the tools by the ids of calls that have no result yet."""

    def due(self, message: Message) -> tuple[Shown, ...]:
        """Return the results that are due before the next message, which is this one."""
        return () if message.role == "tool" else self.lacking()

    def shown(self, message: Message) -> Shown | None:
        """Return the next message as it is shown; ``None`` if it is not."""
        if message.role == "tool":
            return next((self._result(part) for part in message.content if self._answers(part)), None)
        self._open = {part.id: part.name for part in message.content if isinstance(part, ToolCall)}
        self.called_at = message.number
        return shown_of(message)

    def lacking(self) -> tuple[Shown, ...]:
        """Return the results that are due before anything else can be said."""
        if not self._open:
            return ()
        return tuple(
            shown_result(ToolResult(call_id=call_id, name=name, text=NO_RESULT, is_error=True))
            for call_id, name in self._open.items()
        )

    def forget(self, *, before: int) -> None:
        """Expect no result any more for calls in messages of lower numbers: they are shown no more."""
        if self.called_at < before:
            self._open = {}

    def _answers(self, part: Part) -> bool:
        return isinstance(part, ToolResult) and part.call_id in self._open

    def _result(self, part: Part) -> Shown:
        assert isinstance(part, ToolResult)  # noqa: S101  # looked at before
        del self._open[part.call_id]
        return shown_result(shortened(part))


def shown_of(message: Message) -> Shown:
    """Return a message as a model is shown it, without what was thought before it was said."""
    content = message.content
    if len(content) == 1 and isinstance(content[0], Text):
        return Shown(role=message.role, text=content[0].text)
    parts = tuple(part for part in content if not isinstance(part, Reasoning))
    return Shown(role=message.role, text=message.text, parts=parts if _is_more_than_text(parts) else ())


def shown_result(result: ToolResult) -> Shown:
    """Return what a tool has given as a model is shown it."""
    return Shown(role="tool", text=result.text, parts=(result,))


def _is_more_than_text(parts: tuple[Part, ...]) -> bool:
    return any(not isinstance(part, Text) for part in parts)
