"""What reducers of ours have in common: their rules, looked at after every message."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from typing_extensions import override

from tertulia.errors import InvalidInput
from tertulia.memory.reducers.base import Reducer
from tertulia.memory.reducers.fold import Fold, Rule
from tertulia.memory.reducers.identity import SupportsDescribing
from tertulia.messages import Message


class FoldingReducer(Reducer, SupportsDescribing):
    """A reducer that is nothing but its rules."""

    @abstractmethod
    def rules(self) -> list[Rule]:
        """Return the rules, made anew: they remember what they have seen."""

    @abstractmethod
    @override
    def describe(self) -> Mapping[str, object]: ...

    @property
    def is_foldable(self) -> bool:
        """Whether a fold by its rules does all that it does, as long as no rule is due."""
        return True

    @property
    def asks(self) -> bool:
        """Whether it may ask a model."""
        return any(rule.asks for rule in self.rules())

    def is_due(self, messages: list[Message]) -> bool:
        """Whether :meth:`reduce` would ask a model for these messages."""
        return any(rule.is_due for rule in Fold(self.rules(), messages).rules)

    @override
    async def reduce(self, messages: list[Message]) -> list[Message]:
        fold = Fold(self.rules(), messages)
        due = [rule for rule in fold.rules if rule.is_due]
        if not due:
            return fold.messages()
        silent = [rule for rule in self.rules() if not rule.asks]
        for rule in due:
            if not await rule.settle(fold):
                return _by(silent, messages)
        # Whether a text that a model has made is longer than the room that was kept is only known now.
        return _by(silent, fold.messages())

    async def close(self) -> None:
        """Let go of what was opened here, if anything was; may be called twice."""
        return


def _by(rules: Sequence[Rule], messages: list[Message]) -> list[Message]:
    return Fold(rules, messages).messages() if rules else list(messages)


def check_at_least(least: int, **given: int) -> None:
    """Raise :class:`~tertulia.errors.InvalidInput` for a number that is too small, or none at all."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InvalidInput(f"{name} is a whole number, {least} or more")
