"""A conversation told as pairs, the tutorial's way: what was asked, and what was answered to it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tertulia.messages import HIDDEN, Message
from tertulia.parts import ToolCall
from tertulia.stores import ConversationStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A user's message with its answer."""

    asked: Message
    said: tuple[Message, ...] = ()
    """What answers it."""
    last_number: int
    """Number of the last message that belongs to it; 0 while it waits for one."""

    @property
    def answer(self) -> str | None:
        """What was answered; ``None`` while nothing was."""
        return spoken(self.said) if self.said else None


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
        wanted = len(messages)  # as much again, since a single answer may have used many tools
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
            is_hidden = bool(message.flags & HIDDEN)
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
    """Return what an agent said in these messages: the last of each turn.

    What was said beside a wish to use tools was said on the way, and is no answer.
    """
    turns: dict[tuple[str | None, int], str] = {}
    for message in messages:
        if _is_said(message):
            turn = (message.run_id, message.turn)
            turns[turn] = message.text or turns.get(turn, "")
    return "\n\n".join(turns.values())


def _with(exchange: Exchange, message: Message) -> Exchange:
    if message.flags & HIDDEN or not _is_said(message):
        return replace(exchange, last_number=message.number)
    return replace(exchange, said=(*exchange.said, message), last_number=message.number)


def _is_said(message: Message) -> bool:
    """Whether a message is an agent's, and not on the way to the use of tools."""
    if message.role != "assistant":
        return False
    return not any(isinstance(part, ToolCall) for part in message.content)
