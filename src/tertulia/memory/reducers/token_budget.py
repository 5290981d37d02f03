"""A reducer that keeps what is shown within a budget of tokens."""

from collections.abc import Mapping

from typing_extensions import override

from tertulia.errors import InvalidInput
from tertulia.memory.counting import counter, message_tokens
from tertulia.memory.reducers.cutting import cut_to_tokens
from tertulia.memory.reducers.fold import Rule
from tertulia.memory.reducers.folding import FoldingReducer, check_at_least
from tertulia.messages import Message


class TokenBudgetReducer(FoldingReducer):
    """Shows at most ``high`` tokens: when there are more, it cuts down to ``low`` (3/4 of it by default).

    In between, the beginning of the prompt stays the same, which makes it cheaper. Tokens are counted
    by the vocabulary of ``model`` (``openai:gpt-5-mini``) if that is known, which takes the package
    of the extra ``tokens``; otherwise they are estimated, rather too high than too low.

    All messages count. System messages, summaries, and the newest user message with what came after it
    stay, even if that is more than the budget. A summary takes 500 tokens of it at least, or a quarter of
    ``low`` if that is less, so that what is cut does not depend on when it was made.
    """

    def __init__(self, high: int, low: int | None = None, *, model: str | None = None) -> None:
        check_at_least(1, high=high)
        self._high, self._low = high, max(1, high * 3 // 4) if low is None else low
        check_at_least(1, low=self._low)
        if self._low > high:
            raise InvalidInput("low is what is left of more than high: give one that is not above high")
        self._count = counter(model)

    @property
    def vocabulary(self) -> str:
        """By which tokens are counted, as ``o200k_base``; or ``estimate``."""
        return self._count.vocabulary

    @override
    def rules(self) -> list[Rule]:
        return [cut_to_tokens(self._tokens, high=self._high, low=self._low)]

    @override
    def describe(self) -> Mapping[str, object]:
        counted_by = self._count.vocabulary
        return {"reducer": "token_budget", "high": self._high, "low": self._low, "vocabulary": counted_by}

    def _tokens(self, message: Message) -> int:
        return message_tokens(message, self._count)
