"""Where the beginning of a history can be cut off without parting what belongs together."""

from collections.abc import Sequence
from itertools import accumulate

from tertulia.messages import Message
from tertulia.parts import ToolCall, ToolResult


def beginning_of(messages: Sequence[Message], *, upto: int) -> int:
    """Return the greatest place, ``upto`` at most, at which a history can begin; 0 if it must stay whole.

    At such a place stands a user's message, and no call of a tool before it has its result at it or
    after it, wherever that stands.
    """
    spans, _ = _pairs(messages)
    changes = [0] * (len(messages) + 1)
    for call, result in spans:
        changes[call + 1] += 1
        changes[result + 1] -= 1
    parted = list(accumulate(changes))  # how many pairs a cut before this message would part
    for place in range(min(upto, len(messages) - 1), 0, -1):
        if messages[place].role == "user" and not parted[place]:
            return place
    return 0


def has_open_calls(messages: Sequence[Message]) -> bool:
    """Whether a call of a tool has no result among these messages."""
    _, open_calls = _pairs(messages)
    return bool(open_calls)


def _pairs(messages: Sequence[Message]) -> tuple[list[tuple[int, int]], dict[str, int]]:
    """Return the places of each call and its result, and those of calls without one, by id.

    A result belongs to the newest call before it that has its id.
    """
    spans: list[tuple[int, int]] = []
    open_calls: dict[str, int] = {}
    for place, message in enumerate(messages):
        for part in message.content:
            if isinstance(part, ToolCall):
                open_calls[part.id] = place
            elif isinstance(part, ToolResult) and part.call_id in open_calls:
                spans.append((open_calls.pop(part.call_id), place))
    return spans, open_calls
