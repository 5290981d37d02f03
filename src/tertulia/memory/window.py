"""The window: where in a conversation the history that a model is shown starts.

The answer depends on nothing but the log and the budget, so that every replica, and a process that
has just been restarted, sends the same bytes. It moves seldom, so that the beginning of the prompt
stays what it was and providers find it in their prompt caches:

* A log that fits the budget is shown from message 1.
* Otherwise at least ``total - budget`` tokens at its front must go. That is rounded up to whole
  blocks of a quarter of the budget (:func:`floor_of`), and the history starts with the first user
  message that has as many tokens in front of it. While the log grows inside a block, the start
  stays where it is; then it jumps over a quarter of the window at once.
* The newest user message is always shown, even if it is longer than the budget by itself: whoever
  asks the model must then refuse. Question and answer are never parted, since a history that was
  cut starts with a user message. (A log in which no user ever spoke keeps its newest message.)

What is shown after a cut is at most the budget whenever the newest user message, with what follows
it, is; and the start never goes back while the log grows.

There are two ways to the same answer. :func:`find_cut` looks at the log from its end, as a store
reads it; :func:`move_cut` goes on from an earlier answer, as a process that kept the shown messages
does, and costs nothing while the start stays.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tertulia.messages import Role

BLOCKS: Final = 4
"""Into how many blocks a budget is divided: the start jumps over one of them at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """What the window needs to know of a message."""

    number: int
    role: Role
    tokens: int
    """Estimated, the message's own overhead included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Where the shown history starts."""

    start: int
    """Number of the first message that is shown."""
    before: int
    """Tokens of all messages in front of it."""


WHOLE: Final = Cut(start=1, before=0)
"""Nothing is cut off."""


def floor_of(total: int, *, budget: int) -> int:
    """Return how many tokens at the front of a log of ``total`` tokens may not be shown."""
    if total <= budget:
        return 0
    block = max(1, budget // BLOCKS)
    return -(-(total - budget) // block) * block


def find_cut(newest_first: Sequence[Sized], *, total: int, budget: int) -> Cut | None:
    """Return where the history starts; ``None`` if more of the log must be read to know.

    Takes the log's end, newest message first and without a gap, and the tokens of the whole log:
    the sum over all its messages, of which only the newest need be given. After ``None``, ask
    again with a longer end; the answer does not depend on how the log was cut into pages.
    """
    floor = floor_of(total, budget=budget)
    if floor == 0:
        return WHOLE
    chosen: Cut | None = None
    before = total
    for message in newest_first:
        before -= message.tokens
        if before < floor and chosen is not None:
            return chosen
        if message.role == "user":
            chosen = Cut(start=message.number, before=before)
            if before < floor:
                return chosen
        if message.number == 1:
            return chosen or _newest_alone(newest_first[0], total=total)
    return None


def move_cut(cut: Cut, shown: Iterable[Sized], *, total: int, budget: int) -> Cut:
    """Return where the history starts now that the log has grown to ``total`` tokens.

    ``cut`` is the answer for an earlier state of this log under the same budget, ``shown`` are the
    messages from its start to the log's end, oldest first. They are only looked at when the start
    has to move, and then no further than to the new one, unless a single exchange fills the window.
    """
    floor = floor_of(total, budget=budget)
    if floor == 0:
        return cut
    newest: Sized | None = None
    newest_user: Cut | None = None
    before = cut.before
    for message in shown:
        if message.role == "user":
            newest_user = Cut(start=message.number, before=before)
            if before >= floor:
                return newest_user
        newest = message
        before += message.tokens
    if newest_user is not None or newest is None:
        return newest_user or cut
    return _newest_alone(newest, total=total)


def _newest_alone(newest: Sized, *, total: int) -> Cut:
    return Cut(start=newest.number, before=total - newest.tokens)
