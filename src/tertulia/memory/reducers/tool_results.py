"""A reducer that lets old results of tools collapse to a line."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from typing_extensions import override

from tertulia.memory.reducers.fold import Exchange, Fold, Rule
from tertulia.memory.reducers.folding import FoldingReducer, check_at_least
from tertulia.messages import Message
from tertulia.parts import Part, ToolResult

_COLLAPSED: Final = re.compile(r"\[the result of .* is left out: \d+ characters\]", re.DOTALL)


class ToolResultReducer(FoldingReducer):
    """Shows the results of the newest ``keep_last`` uses of tools whole, and of older ones one line.

    A message with calls counts once, however many they are. The calls stay, each with its result; the
    line says which tool it was and how much was cut. Results shorter than the line stay. With a
    ``threshold`` nothing happens before a whole result is so many uses older than that.
    """

    def __init__(self, keep_last: int, *, threshold: int = 0) -> None:
        check_at_least(0, keep_last=keep_last, threshold=threshold)
        self._keep_last, self._threshold = keep_last, threshold

    @override
    def rules(self) -> list[Rule]:
        return [_Collapse(keep_last=self._keep_last, threshold=self._threshold)]

    @override
    def describe(self) -> Mapping[str, object]:
        return {"reducer": "tool_results", "keep_last": self._keep_last, "threshold": self._threshold}


class _Collapse(Rule):
    def __init__(self, *, keep_last: int, threshold: int) -> None:
        self._keep_last, self._threshold = keep_last, threshold
        self._done = 0
        """How many exchanges at the front hold no whole result."""

    @override
    def apply(self, fold: Fold, total: int) -> bool:
        exchanges, touched = fold.tool_exchanges, fold.touched
        if touched is None or not exchanges:
            return False
        if 0 <= touched.number < self._done:  # a late result
            self._done = touched.number
        count = len(exchanges) - self._keep_last
        while self._done < count - self._threshold and not _whole_results(exchanges[self._done], fold):
            self._done += 1
        if self._done >= count - self._threshold:
            return False
        for exchange in exchanges[self._done : count]:
            for place in _whole_results(exchange, fold):
                fold.put(place, collapsed(fold.message_at(place)))
        self._done = count
        return True


def collapsed(message: Message) -> Message:
    """Return a message with a line in the place of each result of a tool that is longer than that."""
    return replace(message, content=tuple(_collapsed(part) for part in message.content))


def _collapsed(part: Part) -> Part:
    if not isinstance(part, ToolResult) or _COLLAPSED.fullmatch(part.text):
        return part
    line = f"[the result of {part.name} is left out: {len(part.text)} characters]"
    return replace(part, text=line) if len(line) < len(part.text) else part


def _whole_results(exchange: Exchange, fold: Fold) -> list[int]:
    """Return where results of an exchange stand that can collapse."""
    if exchange.is_gone:
        return []
    return [place for place in exchange.places if _is_whole(fold.message_at(place))]


def _is_whole(message: Message) -> bool:
    return message.role == "tool" and any(_collapsed(part) is not part for part in message.content)
