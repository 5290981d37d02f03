"""Messages as a reducer leaves them, while more of them come in."""

from collections.abc import Sequence
from functools import partial

from tertulia.memory.reducers.base import CostlyReducer, Reducer
from tertulia.memory.reducers.fold import Fold
from tertulia.memory.reducers.folding import FoldingReducer
from tertulia.memory.views.base import Pay
from tertulia.messages import Message


class Growing:
    """A list that a reducer has made shorter; what comes in costs no look at what is there already.

    That holds for reducers of ours; others are given the whole list each time.
    """

    def __init__(self, reducer: Reducer, messages: Sequence[Message] = ()) -> None:
        self.messages = list(messages)
        """What is to be shown."""
        self._reducer = reducer
        self._folding = reducer if isinstance(reducer, FoldingReducer) and reducer.is_foldable else None
        self._fold: Fold | None = None

    @property
    def asks(self) -> bool:
        """Whether a model may be asked, so that it costs less if a long list comes in as a whole."""
        if isinstance(self._reducer, FoldingReducer):
            return self._reducer.asks
        return isinstance(self._reducer, CostlyReducer)

    async def add(self, said: Sequence[Message], *, pay: Pay) -> bool:
        """Take in what was said; return whether more has happened than that it was put at the end."""
        if self._folding is None:
            given = [*self.messages, *said]
            return self._replace(given, await _reduced(self._reducer, list(given), pay=pay))
        fold = self._fold or Fold(self._folding.rules(), self.messages)
        for message in said:
            fold.add(message)
        # A fold remembers where everything stood that is gone; the next one begins without that.
        self._fold = None if fold.is_changed else fold
        if any(rule.is_due for rule in fold.rules):
            given = [*self.messages, *said]
            return self._replace(given, await pay(partial(self._folding.reduce, list(given))))
        if fold.is_changed:
            self.messages = fold.messages()
        else:
            self.messages += said
        return fold.is_changed

    def _replace(self, given: list[Message], reduced: Sequence[Message]) -> bool:
        is_changed = list(reduced) != given
        self.messages = list(reduced) if is_changed else given
        return is_changed


async def _reduced(reducer: Reducer, messages: list[Message], *, pay: Pay) -> list[Message]:
    if isinstance(reducer, CostlyReducer) and reducer.is_due(messages):
        return list(await pay(lambda: reducer.reduce(messages)))
    return list(await reducer.reduce(messages))
