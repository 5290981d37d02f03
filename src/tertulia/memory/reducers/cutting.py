"""The rule of most reducers: too much, so the oldest exchanges go."""

from collections.abc import Callable
from typing import Final, TypeAlias

from typing_extensions import override

from tertulia.memory.reducers.fold import Fold, Rule
from tertulia.messages import Message

Size: TypeAlias = Callable[[Message], int]

_SUMMARY: Final = 500
"""Tokens of a summary as long as a model is asked for, and of what says that it is one."""
_PART: Final = 4
"""A summary is never taken to be longer than a part of what is left."""


class Cut(Rule):
    """When there is more than ``high``, cuts from the front until there is ``low`` at most.

    Between two cuts the beginning stays what it is, so that providers find it in their prompt caches.
    A summary counts ``summary`` at least. So it counts the same before it is made and after that.
    """

    def __init__(self, size: Size, *, high: int, low: int, summary: int = 0) -> None:
        self._size, self._high, self._low, self._summary = size, high, low, summary

    @override
    def size(self, message: Message) -> int:
        size = self._size(message)
        return max(size, self._summary) if message.stands_for else size

    @override
    def apply(self, fold: Fold, total: int) -> bool:
        if total <= self._high:
            return False
        leaving = fold.leaving(self, low=self._low)
        fold.drop(leaving)
        return bool(leaving)


def cut_to_tokens(size: Size, *, high: int, low: int) -> Cut:
    """Return the rule for messages that are counted in tokens: room for a summary is kept free."""
    return Cut(size, high=high, low=low, summary=min(_SUMMARY, low // _PART))
