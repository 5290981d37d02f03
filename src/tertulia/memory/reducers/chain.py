"""A reducer made of several."""

from collections.abc import Mapping, Sequence

from typing_extensions import override

from tertulia.errors import InvalidInput
from tertulia.memory.reducers.base import CostlyReducer, Reducer
from tertulia.memory.reducers.fold import Rule
from tertulia.memory.reducers.folding import FoldingReducer
from tertulia.memory.reducers.identity import description
from tertulia.messages import Message


class ReducerChain(FoldingReducer):
    """Applies reducers in their order, after every message.

    Reducers of ours are looked at together, in one go. If one of another kind is among them, all are
    asked after each message, so that a long list takes its time the first time.
    A reducer that counts tokens does not know yet how long a summary will be that is made in the same
    go, and keeps room for one of 300 words. If it has become longer, that is looked at once more.
    """

    def __init__(self, reducers: Sequence[Reducer]) -> None:
        self._reducers = tuple(reducers)
        if not self._reducers:
            raise InvalidInput("a chain is made of one reducer at least")
        self._ours = [reducer for reducer in self._reducers if isinstance(reducer, FoldingReducer)]
        self.is_mixed: bool = len(self._ours) < len(self._reducers) or any(
            isinstance(reducer, ReducerChain) and reducer.is_mixed for reducer in self._ours
        )
        """Whether a reducer of another kind than ours is among them."""

    @override
    def rules(self) -> list[Rule]:
        return [rule for reducer in self._ours for rule in reducer.rules()]

    @property
    @override
    def is_foldable(self) -> bool:
        return not self.is_mixed

    @property
    @override
    def asks(self) -> bool:
        others = (reducer for reducer in self._reducers if not isinstance(reducer, FoldingReducer))
        return any(reducer.asks for reducer in self._ours) or any(
            isinstance(reducer, CostlyReducer) for reducer in others
        )

    @override
    def is_due(self, messages: list[Message]) -> bool:
        if not self.is_mixed:
            return super().is_due(messages)
        costly = (reducer for reducer in self._reducers if isinstance(reducer, CostlyReducer))
        return any(reducer.is_due(messages) for reducer in costly)

    @override
    async def reduce(self, messages: list[Message]) -> list[Message]:
        if not self.is_mixed:
            return await super().reduce(messages)
        shown: list[Message] = []
        for message in messages:
            shown.append(message)
            for reducer in self._reducers:
                shown = list(await reducer.reduce(shown))
        return shown

    @override
    def describe(self) -> Mapping[str, object]:
        return {"reducer": "chain", "of": [dict(description(reducer)) for reducer in self._reducers]}

    @override
    async def close(self) -> None:
        for reducer in self._ours:
            await reducer.close()
