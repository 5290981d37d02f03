"""Messages as a reducer leaves them, while more of them come in."""

from collections.abc import Sequence

from tertulia.memory.reducers.base import CostlyReducer, Reducer
from tertulia.memory.reducers.fold import Fold
from tertulia.memory.reducers.folding import FoldingReducer
from tertulia.memory.views.base import Pay
from tertulia.messages import Message


class Growing:
    """A list that a reducer has made shorter; what comes in costs no look at what is there already.

    That holds for reducers of ours that ask no model; others are given the whole list each time.
    """

    def __init__(self, reducer: Reducer, messages: Sequence[Message] = ()) -> None:
        self.messages = list(messages)
        """What is to be shown."""
        self._reducer = reducer
        self._live = reducer if isinstance(reducer, FoldingReducer) and reducer.is_live else None
        self._fold: Fold | None = None

    @property
    def wants_all_at_once(self) -> bool:
        """Whether a long list costs less if it comes in as a whole."""
        return self._live is None and isinstance(self._reducer, CostlyReducer)

    async def add(self, said: Sequence[Message], *, pay: Pay) -> bool:
        """Take in what was said; return whether more has happened than that it was put at the end."""
        if self._live is not None:
            return self._add_to_fold(said, self._live)
        given = [*self.messages, *said]
        reduced = await _reduced(self._reducer, list(given), pay=pay)
        self.messages = given if reduced == given else reduced
        return self.messages is not given

    def _add_to_fold(self, said: Sequence[Message], reducer: FoldingReducer) -> bool:
        fold = self._fold or Fold(reducer.rules(), self.messages)
        for message in said:
            fold.add(message)
        if not fold.is_changed:
            self._fold = fold
            self.messages += said
            return False
        # A fold remembers where everything stood that is gone; the next one begins without that.
        self._fold, self.messages = None, fold.messages()
        return True


async def _reduced(reducer: Reducer, messages: list[Message], *, pay: Pay) -> list[Message]:
    if isinstance(reducer, CostlyReducer) and reducer.is_due(messages):
        return list(await pay(lambda: reducer.reduce(messages)))
    return list(await reducer.reduce(messages))
