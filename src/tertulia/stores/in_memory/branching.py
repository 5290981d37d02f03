"""Branches in memory: conversations that begin with messages of another."""

from dataclasses import replace

from tertulia.conversations import Branch, Conversation
from tertulia.errors import InvalidInput, SessionMismatch
from tertulia.stores.in_memory.state import Log, Room, Segment


def find(room: Room, source: Log, branch: Branch) -> Log | None:
    """Return the branch if it is there already, ``None`` if it can be made.

    Raises :class:`~tertulia.errors.InvalidInput`, :class:`~tertulia.errors.SessionMismatch`.
    """
    if not 0 <= branch.at <= source.row.head:
        raise InvalidInput(f"the conversation has no {branch.at} messages to share")
    log = room.log(branch.alias) if branch.alias is not None else None
    log = log or room.logs.get(branch.id)
    if log is not None and (log.row.parent_id, log.row.base) != (source.row.id, branch.at):
        raise SessionMismatch("this conversation is another one than the branch that was asked for")
    return log


def make(room: Room, source: Log, branch: Branch, *, now: int) -> Log:
    """Make a branch that :func:`find` did not find."""
    parent = source.row
    row = Conversation(
        tenant=parent.tenant,
        id=branch.id,
        agent_id=parent.agent_id,
        agent_version=parent.agent_version,
        alias=branch.alias,
        user_id=parent.user_id,
        parent_id=parent.id,
        base=branch.at,
        is_hidden=branch.is_hidden,
        head=branch.at,
        tokens=branch.tokens,
        lineage_id=parent.lineage_id,
        first_message=parent.first_message,
        state=parent.state if branch.at == parent.head else None,
        created_at=now,
        updated_at=now,
    )
    states = dict(source.states) if branch.at == parent.head else {}
    log = room.add(Log(row=row, segments=_shared(source, upto=branch.at), states=states))
    for segment in log.segments:
        segment.owner.sharers.append(log)
    return log


def _shared(source: Log, *, upto: int) -> tuple[Segment, ...]:
    """Return where the first messages of a conversation stand, however many branches lie between."""
    own = Segment(owner=source, first=source.row.base + 1, last=source.row.head)
    reached = (segment for segment in (*source.segments, own) if segment.first <= upto)
    return tuple(replace(segment, last=min(segment.last, upto)) for segment in reached)
