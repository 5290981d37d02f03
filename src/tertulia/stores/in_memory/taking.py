"""Conversations taken out of memory and put in whole."""

from bisect import bisect_left
from dataclasses import replace

from tertulia.conversations import Conversation
from tertulia.errors import ConversationBusy, InvalidInput, SessionMismatch
from tertulia.messages import Message
from tertulia.parts import decode_content, encode_content
from tertulia.stores.base import Taken
from tertulia.stores.in_memory.state import Log, Room
from tertulia.stores.states import KeptState


def take(room: Room, conversation_id: str) -> Taken:
    """Do what :meth:`SupportsTaking.take` promises."""
    log = room.log_of_id(conversation_id)
    return Taken(
        conversation=log.row,
        messages=tuple(log.between(1, log.row.head)),
        states={source: kept.value for source, kept in log.states.items()},
    )


def put_in(room: Room, taken: Taken, *, now: int) -> Conversation:
    """Do what :meth:`SupportsTaking.put_in` promises."""
    given = taken.conversation
    room.agent(given.agent_id, version=given.agent_version)
    _check(room, taken)
    replaced = room.logs.get(given.id)
    if replaced is not None:
        _remove(room, replaced)
    row = replace(
        given,
        base=0,
        head=len(taken.messages),
        # What a process keeps of a conversation, it knows by head and version.
        version=max(given.version, room.gone_version + 1),
        lineage_id=given.lineage_id or given.id,
        created_at=given.created_at or now,
        updated_at=now,
    )
    log = room.add(Log(row=row, states=_states(taken, replaced)))
    log.say(_kept(message, number, now=now) for number, message in enumerate(taken.messages, start=1))
    return log.row


def drop(room: Room, conversation_id: str) -> None:
    """Do what :meth:`SupportsTaking.drop` promises."""
    log = room.logs.get(conversation_id)
    if log is None:
        return
    if log.sharers:
        raise InvalidInput("other conversations begin with messages of this one")
    _remove(room, log)


def _check(room: Room, taken: Taken) -> None:
    """Raise if this cannot be put in, whatever it would replace."""
    given = taken.conversation
    if len({message.id for message in taken.messages}) < len(taken.messages):
        raise InvalidInput("two messages of a conversation cannot have the same id")
    named = None if given.alias is None else room.log(given.alias)
    if named is not None and named.row.id != given.id:
        raise SessionMismatch("the alias of this conversation names another one")


def _remove(room: Room, log: Log) -> None:
    """Forget a conversation with its runs and keys; branches of it go on showing what they share."""
    if log.unfinished:
        raise ConversationBusy("a run holds the conversation, or waits in line")
    row = log.row
    del room.logs[row.id]
    if row.alias is not None:
        room.aliases.pop(row.alias, None)
    if not row.is_hidden:
        listed = room.of_agent[row.agent_id]
        del listed[bisect_left(listed, row.id)]
    for segment in log.segments:
        segment.owner.sharers.remove(log)
    for entry in log.entries:
        del room.runs[entry.run.id]
    if not log.sharers:
        room.written.difference_update(log.numbers)
    _forget_keys(room, {row.id, *(entry.run.id for entry in log.entries)})
    room.gone_version = max(room.gone_version, row.version)


def _forget_keys(room: Room, gone: set[str]) -> None:
    """Forget the keys that are known in what is gone, or lead to it."""
    known = [name for name, key in room.keys.items() if name[0] in gone or key.resource in gone]
    for name in known:
        del room.keys[name]


def _states(taken: Taken, replaced: Log | None) -> dict[str, KeptState]:
    """Return the states as they are given; a version that somebody has read is none of them."""
    earlier = {} if replaced is None else {each: kept.version for each, kept in replaced.states.items()}
    return {
        source: KeptState(value=value, version=earlier.get(source, 0) + 1)
        for source, value in taken.states.items()
    }


def _kept(message: Message, number: int, *, now: int) -> Message:
    return replace(
        message,
        content=decode_content(encode_content(message.content)),
        number=number,
        created_at=message.created_at or now,
        stands_for=(),
    )
