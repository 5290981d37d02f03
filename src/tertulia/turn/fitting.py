"""Making a turn's own uses of tools fit: the oldest results are shortened first."""

from collections.abc import Sequence
from typing import Final

from tertulia.errors import ContextTooLong
from tertulia.llms.base import Shown
from tertulia.memory.pairing import shown_result
from tertulia.memory.shortening import LATER, shortened
from tertulia.memory.tokens import MESSAGE_TOKENS, estimate
from tertulia.parts import Part, Reasoning, ToolCall, ToolResult

_STEPS: Final = (LATER, 200)
"""To how many characters results are shortened: all of them, oldest first, before any goes to the next."""


def fitted(further: Sequence[Shown], *, budget: int) -> list[Shown]:
    """Return what a turn has added to its conversation, within so many estimated tokens.

    Raises :class:`~tertulia.errors.ContextTooLong` if it cannot be made so short.
    """
    fitting, total = list(further), sum(_tokens(shown) for shown in further)
    for characters in _STEPS:
        for place, shown in enumerate(fitting):
            if total <= budget:
                return fitting
            fitting[place] = _shortened(shown, characters)
            total += _tokens(fitting[place]) - _tokens(shown)
    if total > budget:
        raise ContextTooLong(
            f"what this turn has asked of tools, and been given, takes about {total} tokens, and there is "
            f"room for {budget}: ask for less at a time, or let models be shown more "
            "(context_tokens of an agent in code, TERTULIA_CONTEXT_TOKENS of a server)"
        )
    return fitting


def _shortened(shown: Shown, characters: int) -> Shown:
    for part in shown.parts:
        if isinstance(part, ToolResult) and len(part.text) > characters:
            return shown_result(shortened(part, characters))
    return shown


def _tokens(shown: Shown) -> int:
    return MESSAGE_TOKENS + estimate(shown.text) + sum(_more(part) for part in shown.parts)


def _more(part: Part) -> int:
    """Return the tokens of a part that are not those of the message's text."""
    match part:
        case ToolCall():
            texts = (part.name, part.arguments, part.opaque)
            return MESSAGE_TOKENS + sum(estimate(text) for text in texts)
        case Reasoning():
            return estimate(part.text) + estimate(part.opaque)
        case _:
            return 0
