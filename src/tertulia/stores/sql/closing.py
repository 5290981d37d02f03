"""Conversations that take no further message, and those that are opened again."""

from dataclasses import replace
from typing import Any, Final

from sqlalchemy import bindparam, update

from tertulia import ids
from tertulia.conversations import Conversation
from tertulia.errors import NotFound
from tertulia.messages import now_us
from tertulia.stores.sql import standing
from tertulia.stores.sql.schema import CONVERSATIONS
from tertulia.stores.sql.standing import Held
from tertulia.stores.sql.statements import Connection, Statement

_C: Final = CONVERSATIONS.c
_SET: Final = Statement(
    update(CONVERSATIONS)
    .where(_C.tenant == bindparam("tenant"), _C.id == bindparam("conversation_key"))
    .values(closed=bindparam("new_closed"), updated_at=bindparam("at"))
)


async def set_closed(db: Connection, tenant: int, conversation: str, reason: str | None) -> Conversation:
    """Do what :meth:`ConversationStore.set_closed` promises."""
    found = await standing.resolved(db, tenant, conversation)
    held = None if found is None else await standing.locked(db, tenant, found)
    if held is None:
        raise NotFound("there is no such conversation")
    if (held.conversation.closed is None) is not (reason is None):
        await note(db, held, reason)
    return held.conversation


async def open_again(db: Connection, held: Held) -> None:
    """Have a locked conversation take messages again, if it does not; writes nothing otherwise."""
    if held.conversation.closed is not None:
        await note(db, held, None)


async def note(db: Connection, held: Held, reason: str | None) -> None:
    """Note in a locked conversation why it takes no further message; ``None`` if it does."""
    conversation, at = held.conversation, now_us()
    params: dict[str, Any] = {
        "tenant": conversation.tenant,
        "conversation_key": ids.to_bytes(conversation.id),
        "new_closed": reason,
        "at": at,
    }
    await db.run(_SET, params)
    held.conversation = replace(conversation, closed=reason, updated_at=at)
