"""Messages withdrawn and erased, in memory."""

from collections.abc import Iterable
from dataclasses import replace

from tertulia.messages import Flag, Message
from tertulia.stores.in_memory.state import Log
from tertulia.stores.states import VIEW_SOURCE


def mark(log: Log, numbers: Iterable[int], flag: Flag, *, now: int) -> None:
    """Mark messages of a conversation, which are there, in whichever log they stand.

    The version of every conversation that shows one that has changed rises by one.
    """
    touched: dict[str, Log] = {}
    for number in numbers:
        owner = log.owner_of(number)
        message = owner.own(number)
        if flag in message.flags:
            continue
        owner.messages[number - owner.row.base - 1] = _marked(message, flag)
        if Flag.DELETED in flag:
            _forget_events(owner, message)
        showing = (each for each in (owner, *owner.sharers) if each.owner_of(number) is owner)
        touched |= {each.row.id: each for each in showing}
    for each in touched.values():
        each.row = replace(each.row, version=each.row.version + 1, updated_at=now)
        for source in [source for source in each.states if source.startswith(VIEW_SOURCE)]:
            del each.states[source]


def _marked(message: Message, flag: Flag) -> Message:
    marked = replace(message, flags=message.flags | flag)
    return replace(marked, content=(), author=None) if Flag.DELETED in flag else marked


def _forget_events(owner: Log, message: Message) -> None:
    """Drop the events of the run that said a message, or of all that were asked it."""
    for entry in owner.entries:
        if entry.run.id == message.run_id or entry.run.input_message_id == message.id:
            entry.frames.clear()
