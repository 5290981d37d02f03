"""A reducer that forgets the oldest messages."""

from collections.abc import Mapping

from typing_extensions import override

from tertulia.errors import InvalidInput
from tertulia.memory.counting import message_tokens
from tertulia.memory.reducers.cutting import Cut, cut_to_tokens
from tertulia.memory.reducers.fold import Rule
from tertulia.memory.reducers.folding import FoldingReducer, check_at_least
from tertulia.messages import Message


class TruncationReducer(FoldingReducer):
    """Shows at most ``max_messages`` messages, or messages of ``max_tokens`` estimated tokens.

    Nothing is cut before there are ``threshold`` more than that (messages or tokens); then the oldest
    exchanges go until there are no more than the maximum, and what is left begins with a user message.
    So with a threshold the beginning of the prompt stays the same for some time, which makes it cheaper.

    All messages count. System messages, summaries, and the newest user message with what came after it
    stay, even if that is more than the maximum. Where tokens count, a summary takes 500 of them at least,
    or a quarter of ``max_tokens`` if that is less.
    """

    def __init__(
        self, max_messages: int | None = None, *, max_tokens: int | None = None, threshold: int = 0
    ) -> None:
        self._max_messages, self._max_tokens, self._threshold = max_messages, max_tokens, threshold
        if (max_messages is None) == (max_tokens is None):
            raise InvalidInput("give either max_messages or max_tokens")
        check_at_least(1, **{name: value for name, value in self._bounds() if value is not None})
        check_at_least(0, threshold=threshold)

    @override
    def rules(self) -> list[Rule]:
        if self._max_messages is not None:
            return [Cut(_one, high=self._max_messages + self._threshold, low=self._max_messages)]
        most = self._max_tokens or 0
        return [cut_to_tokens(message_tokens, high=most + self._threshold, low=most)]

    @override
    def describe(self) -> Mapping[str, object]:
        return {"reducer": "truncation", **dict(self._bounds()), "threshold": self._threshold}

    def _bounds(self) -> tuple[tuple[str, int | None], ...]:
        return ("max_messages", self._max_messages), ("max_tokens", self._max_tokens)


def _one(_message: Message) -> int:
    return 1
