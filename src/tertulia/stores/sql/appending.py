"""Messages that were said elsewhere, put at the end of a conversation."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache
from typing import Final

from sqlalchemy import bindparam, select

from tertulia import ids
from tertulia.conversations import Conversation
from tertulia.errors import InvalidInput, NotFound
from tertulia.messages import Message, now_us
from tertulia.parts import encode_content
from tertulia.stores import rules
from tertulia.stores.sql import branching, placing, standing
from tertulia.stores.sql.rows import message_params
from tertulia.stores.sql.schema import MESSAGES
from tertulia.stores.sql.standing import Held
from tertulia.stores.sql.statements import Connection, Row, Statement, chunks, listed, places, size_for

_M: Final = MESSAGES.c
_FEW: Final = 8
"""Messages that are written in one statement."""


@cache
def _where(size: int) -> Statement:
    """Return the statement that finds up to ``size`` messages by their ids."""
    sought = (_M.tenant == bindparam("tenant"), _M.id.in_(places(size, prefix="message")))
    return Statement(select(_M.id, _M.conversation_id, _M.number).where(*sought))


async def append(
    db: Connection, tenant: int, conversation: str, messages: Sequence[Message], *, tokens: Sequence[int]
) -> Conversation:
    """Do what :meth:`ConversationStore.append` promises."""
    found = await standing.resolved(db, tenant, conversation)
    held = None if found is None else await standing.locked(db, tenant, found)
    if held is None:
        raise NotFound("there is no such conversation")
    rules.check_appendable(held.standing)
    there = await _there(db, held.conversation, [message.id for message in messages])
    new = rules.not_there(messages, tokens, there=there)
    return await _written(db, held, new) if new else held.conversation


async def _written(db: Connection, held: Held, new: Sequence[tuple[Message, int]]) -> Conversation:
    conversation, at = held.conversation, now_us()
    key = ids.to_bytes(conversation.id)
    work = []
    for number, (message, _) in enumerate(new, start=conversation.head + 1):
        said = rules.said_elsewhere(message, number=number, at=at)
        params = message_params(conversation.tenant, key, said, encode_content(said.content))
        work.append((placing.INSERT_MESSAGE, params))
    for start in range(0, len(work), _FEW):
        await db.together(work[start : start + _FEW])
    head, tokens = conversation.head + len(new), conversation.tokens + sum(size for _, size in new)
    await db.run(placing.MOVE, placing.moved(held, at=at, holder=None, head=head, tokens=tokens))
    return replace(conversation, head=head, tokens=tokens, updated_at=at)


async def _there(db: Connection, conversation: Conversation, wanted: Sequence[str]) -> set[str]:
    """Return which of these messages stand in the conversation already, its own or shared.

    Raises :class:`~tertulia.errors.InvalidInput` for one that stands in another one only.
    """
    rows: list[Row] = []
    for chunk in chunks(sorted({ids.to_bytes(ident) for ident in wanted})):
        size = size_for(len(chunk))
        params = {"tenant": conversation.tenant, **listed(chunk, prefix="message", size=size)}
        rows += await db.all(_where(size), params)
    shown = await branching.owners(db, conversation, {row[2] for row in rows})
    if not all(_is_shown(row, shown) for row in rows):
        raise InvalidInput(rules.STANDS_ELSEWHERE)
    return {ids.from_bytes(ids.MESSAGE, row[0]) for row in rows}


def _is_shown(row: Row, shown: dict[str, set[int]]) -> bool:
    _, owner, number = row
    mine: Collection[int] = shown.get(ids.from_bytes(ids.CONVERSATION, owner), ())
    return number in mine
