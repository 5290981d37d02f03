"""What of a list of messages fits a budget, ready to be shown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from typing_extensions import override

from tertulia.llms.base import Shown
from tertulia.memory.pairing import Pairing
from tertulia.memory.reducers.fold import Fold, Rule
from tertulia.memory.tokens import tokens_of
from tertulia.memory.transcript import Passage, Transcript
from tertulia.memory.window import floor_of
from tertulia.messages import Message

_NOTHING: Final[Mapping[str, Shown]] = {}


class Fitting:
    """The end of a list that fits ``budget`` estimated tokens, which goes on while the list grows.

    As in :mod:`tertulia.memory.window`, the beginning jumps over a quarter of the budget at a time, and
    what was cut begins with a user message. System messages and summaries stay, and so does the newest
    user message with what came after it, even if those are more than the budget.
    """

    def __init__(
        self, messages: Sequence[Message], *, budget: int, known: Mapping[str, Shown] = _NOTHING
    ) -> None:
        self.known: dict[str, Shown] = {}
        """The shown messages by their ids, so that they need not be encoded anew."""
        self._blocks = _Blocks(budget)
        self._fold = Fold([self._blocks])
        self._show((), known)
        self.add(messages, known=known)

    @property
    def tokens(self) -> int:
        """Estimated, of what is shown."""
        return self._blocks.total

    def add(self, messages: Sequence[Message], *, known: Mapping[str, Shown] | None = None) -> None:
        """Go on with more messages at the end."""
        for message in messages:
            self._fold.add(message)
        known = self.known if known is None else known
        if self._fold.is_changed:
            self._fold.is_changed = False
            self._show(self._fold.messages(), known)
        else:
            self._show_more(messages, known)

    def passage(self, *, opening: tuple[Shown, ...] = ()) -> Passage:
        """Return what is shown, with other messages in front of it."""
        passage = self._transcript.passage(opening=opening, tokens=self.tokens)
        return passage.then(self._pairing.lacking())

    def _show(self, messages: Iterable[Message], known: Mapping[str, Shown]) -> None:
        self._transcript, self._pairing, self.known = Transcript(), Pairing(), {}
        self._show_more(messages, known)

    def _show_more(self, messages: Iterable[Message], known: Mapping[str, Shown]) -> None:
        for message in messages:
            for due in self._pairing.due(message):
                self._transcript.add(due)
            shown = self._pairing.shown(message)
            if shown is not None:
                before = known.get(message.id)
                self.known[message.id] = before if before is not None and before == shown else shown
                self._transcript.add(self.known[message.id])


class _Blocks(Rule):
    """Drops whole blocks of a quarter of the budget, as the window over a log does."""

    def __init__(self, budget: int) -> None:
        self.total = 0
        self._budget, self._gone = budget, 0

    @override
    def size(self, message: Message) -> int:
        return tokens_of(message.content)

    @override
    def apply(self, fold: Fold, total: int) -> bool:
        self.total = total
        missing = floor_of(total + self._gone, budget=self._budget) - self._gone
        if missing <= 0:
            return False
        leaving = fold.leaving(self, low=total - missing)
        fold.drop(leaving)
        self._gone += total - fold.total_of(self)
        return bool(leaving)
