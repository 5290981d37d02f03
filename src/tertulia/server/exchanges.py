"""A conversation told as pairs, the tutorial's way: what was asked, and what was answered to it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tertulia.messages import Flag, Message
from tertulia.stores import ConversationStore

_HIDDEN = Flag.WITHDRAWN | Flag.DELETED


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A user's message with its answer; ``None`` while there is none."""

    asked: Message
    answer: str | None = None
    last_number: int
    """Number of the last message that belongs to it; 0 while it waits for one."""


async def turn_page(
    stored: ConversationStore, tenant: int, conversation_id: str, *, after: int, limit: int
) -> tuple[list[Exchange], int | None]:
    """Return ``limit`` exchanges after a number, and the number that the next page begins after.

    The last page has none; it alone tells the messages that still wait for their number, all of
    them, beyond the limit too: nothing could name a place between them.
    """
    # Before the log, so that a message which is numbered meanwhile is seen twice rather than never.
    pending = await stored.pending(tenant, conversation_id)
    wanted = 2 * limit + 1
    messages = await stored.messages(tenant, conversation_id, after=after, limit=wanted)
    batch = messages
    while len(batch) == wanted and len(pair(messages)) <= limit:
        batch = await stored.messages(tenant, conversation_id, after=messages[-1].number, limit=wanted)
        messages = messages + batch
    found = pair(messages)
    if len(found) > limit:
        return found[:limit], found[limit - 1].last_number
    return with_pending(found, pending), None


def pair(messages: Iterable[Message]) -> list[Exchange]:
    """Return the exchanges that these messages of a log make, in its order.

    Runs never interleave, so that whatever follows a user's message, up to the next one, answers
    it. What answers a message before the first one given is left out, and so is what was
    withdrawn or deleted.
    """
    found: list[Exchange] = []
    is_hidden = True
    for message in messages:
        if message.role == "user":
            is_hidden = bool(message.flags & _HIDDEN)
            if not is_hidden:
                found.append(Exchange(asked=message, last_number=message.number))
        elif not is_hidden:
            found[-1] = _with(found[-1], message)
    return found


def with_pending(exchanges: Sequence[Exchange], pending: Iterable[Message]) -> list[Exchange]:
    """Return the exchanges with those that still wait for their number at the end."""
    known = {exchange.asked.id for exchange in exchanges}
    waiting = (Exchange(asked=message, last_number=0) for message in pending if message.id not in known)
    return [*exchanges, *waiting]


def spoken(messages: Iterable[Message]) -> str:
    """Return what an agent said in these messages."""
    return "\n\n".join(message.text for message in messages if message.role == "assistant")


def _with(exchange: Exchange, message: Message) -> Exchange:
    if message.role != "assistant" or message.flags & _HIDDEN:
        return replace(exchange, last_number=message.number)
    said = message.text if exchange.answer is None else f"{exchange.answer}\n\n{message.text}"
    return replace(exchange, answer=said, last_number=message.number)
