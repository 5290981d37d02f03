"""Where a history begins that is known from its end only: at a message, until that is too far back.

What is shown begins with the same message for as long as it fits the budget. Then the beginning jumps
to where about three quarters of the budget are left, so that the prompt begins with the same bytes for
many turns in between.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from tertulia.messages import Message

_LEFT: Final = (3, 4)
"""How much of the budget is shown after a jump."""


def begin(
    messages: Sequence[Message], sizes: Sequence[int], *, anchor: str | None, budget: int
) -> tuple[int, int]:
    """Return the place of the first message that is shown, and the tokens from there on.

    ``sizes`` are the messages' tokens, ``anchor`` is the id of the message with which the history has
    begun so far. A history that is cut begins with a user's message; the newest one of these, or else
    the newest message, is shown whatever it takes.
    """
    if not messages:
        return 0, 0
    rest = list(accumulate(reversed(sizes)))[::-1]
    start = next((place for place, each in enumerate(messages) if each.id == anchor), 0)
    if rest[start] <= budget:
        return start, rest[start]
    users = [place for place, message in enumerate(messages) if message.role == "user"]
    low = budget * _LEFT[0] // _LEFT[1]
    last = users[-1] if users else len(messages) - 1
    place = next((place for place in users if rest[place] <= low), last)
    return place, rest[place]
