"""Branches: conversations that begin with the first messages of another, shared by reference.

A branch keeps a list of segments: which of its messages stand in which ancestor's log. The list is
flat, so that no reader walks from parent to parent, and it never changes once the branch is made.
All segments of one ancestor begin where that one's own messages begin.
"""

from typing import Any, Final

from sqlalchemy import bindparam, case, func, insert, select

from tertulia import ids
from tertulia.conversations import Branch, Conversation
from tertulia.errors import InvalidInput, NotFound, SessionMismatch
from tertulia.messages import now_us
from tertulia.stores.sql import standing, states
from tertulia.stores.sql.rows import HIDDEN, inserting
from tertulia.stores.sql.schema import ALIASES, CONVERSATIONS, SEGMENTS, Id
from tertulia.stores.sql.statements import Connection, Params, Statement, inserting_once

_S: Final = SEGMENTS.c
_OF_SOURCE: Final = (_S.tenant == bindparam("tenant"), _S.conversation_id == bindparam("source"))
_AT: Final = bindparam("at", type_=_S.to_number.type)
_COPY: Final = Statement(
    insert(SEGMENTS).from_select(
        [column.name for column in SEGMENTS.c],
        select(
            _S.tenant,
            bindparam("branch", type_=Id),
            _S.i,
            _S.source_conversation_id,
            _S.from_number,
            case((_S.to_number < _AT, _S.to_number), else_=_AT),
        ).where(*_OF_SOURCE, _S.from_number <= _AT),
    )
)
_ADD: Final = inserting(SEGMENTS, i=select(func.count()).where(*_OF_SOURCE).scalar_subquery())
_TAKE_ALIAS: Final = inserting_once(ALIASES, ALIASES.c.id)
_INSERT: Final = inserting_once(CONVERSATIONS, CONVERSATIONS.c.id)
_SEGMENTS: Final = Statement(
    select(_S.source_conversation_id, _S.from_number, _S.to_number)
    .where(
        _S.tenant == bindparam("tenant"),
        _S.conversation_id == bindparam("conversation"),
        _S.from_number <= bindparam("upto"),
    )
    .order_by(_S.i)
)


async def make(db: Connection, tenant: int, branch: Branch) -> str:
    """Make a branch, or find it made already; return its id. Its source is locked from then on.

    Raises as :meth:`ConversationStore.fork` does.
    """
    source_id = await standing.resolved(db, tenant, branch.source)
    held = None if source_id is None else await standing.locked(db, tenant, source_id)
    if held is None:
        raise NotFound("there is no such conversation")
    source = held.conversation
    if not 0 <= branch.at <= source.head:
        raise InvalidInput(f"the conversation has messages 1 to {source.head}; {branch.at} is not among them")
    there = await _existing(db, source, branch)
    if there is not None or not await _is_inserted(db, source, branch):
        return there or await _made_meanwhile(db, source, branch)
    await db.together(_shared(source, branch))
    return branch.id


async def owners(db: Connection, conversation: Conversation, numbers: set[int]) -> dict[str, set[int]]:
    """Return the conversations in whose logs messages of these numbers stand, with the numbers."""
    key = {"tenant": conversation.tenant, "conversation": ids.to_bytes(conversation.id)}
    shared = {number for number in numbers if number <= conversation.base}
    found = {conversation.id: numbers - shared}
    for source, first, last in await db.all(_SEGMENTS, {**key, "upto": max(shared)}) if shared else ():
        found[ids.from_bytes(ids.CONVERSATION, source)] = {
            number for number in shared if first <= number <= last
        }
    return {owner: mine for owner, mine in found.items() if mine}


async def _existing(db: Connection, source: Conversation, branch: Branch) -> str | None:
    """Return the id of the branch if it is there; what else has its names is a mismatch."""
    there = None
    for name in (branch.alias, branch.id):
        if there is None and name is not None:
            there = await standing.found(db, source.tenant, name)
    if there is None:
        return None
    if (there.parent_id, there.base) != (source.id, branch.at):
        raise SessionMismatch("this id names another conversation, or another branch")
    return there.id


async def _is_inserted(db: Connection, source: Conversation, branch: Branch) -> bool:
    """Insert the row and the alias; False if another transaction has done so meanwhile."""
    row = _row(source, branch)
    if branch.alias is not None and await db.one(_TAKE_ALIAS, row) is None:
        return False
    return await db.one(_INSERT, row) is not None


async def _made_meanwhile(db: Connection, source: Conversation, branch: Branch) -> str:
    there = await _existing(db, source, branch)
    if there is None:
        raise NotFound("there is no such conversation")
    return there


def _shared(source: Conversation, branch: Branch) -> list[tuple[Statement, Params]]:
    """Return the writes of what the branch begins with: lists of what it shares, and states."""
    key = {"tenant": source.tenant, "source": ids.to_bytes(source.id)}
    work: list[tuple[Statement, Params]] = []
    if min(source.base, branch.at) > 0:
        work.append((_COPY, {**key, "branch": ids.to_bytes(branch.id), "at": branch.at}))
    if branch.at > source.base:
        own = {
            "conversation_id": ids.to_bytes(branch.id),
            "source_conversation_id": ids.to_bytes(source.id),
            "from_number": source.base + 1,
            "to_number": branch.at,
        }
        work.append((_ADD, {**key, **own}))
    if branch.at == source.head:
        work.append(states.copied(source, branch.id))
    return work


def _row(source: Conversation, branch: Branch) -> dict[str, Any]:
    at = now_us()
    return {
        "tenant": source.tenant,
        "id": ids.to_bytes(branch.id),
        "agent_id": ids.to_bytes(source.agent_id),
        "agent_version": source.agent_version,
        "alias": branch.alias,
        "user_id": source.user_id,
        "parent_id": ids.to_bytes(source.id),
        "base": branch.at,
        "title": None,
        "head": branch.at,
        "tokens": branch.tokens,
        "version": 1,
        "next_run": 1,
        "holder": None,
        "queued": 0,
        "lineage_id": ids.to_bytes(source.lineage_id),
        "flags": HIDDEN if branch.is_hidden else 0,
        "first_message": source.first_message,
        "state": source.state if branch.at == source.head else None,
        "closed": None,
        "metadata": None,
        "created_at": at,
        "updated_at": at,
    }
