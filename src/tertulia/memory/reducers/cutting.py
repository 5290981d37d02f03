"""The rule of most reducers: too much, so the oldest exchanges go."""

from collections.abc import Callable
from typing import TypeAlias

from typing_extensions import override

from tertulia.memory.reducers.fold import Fold, Rule
from tertulia.messages import Message

Size: TypeAlias = Callable[[Message], int]


class Cut(Rule):
    """When there is more than ``high``, cuts from the front until there is ``low`` at most.

    Between two cuts the beginning stays what it is, so that providers find it in their prompt caches.
    """

    def __init__(self, size: Size, *, high: int, low: int) -> None:
        self._size, self._high, self._low = size, high, low

    @override
    def size(self, message: Message) -> int:
        return self._size(message)

    @override
    def apply(self, fold: Fold, total: int) -> bool:
        if total <= self._high:
            return False
        leaving = fold.leaving(self, low=self._low)
        fold.drop(leaving)
        return bool(leaving)
