"""Conversations and their messages in SQL."""

from collections.abc import Sequence
from functools import cache
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import BindParameter, bindparam, literal_column, select, union_all
from typing_extensions import override

from tertulia import ids
from tertulia.conversations import Conversation, NewConversation
from tertulia.errors import NotFound
from tertulia.messages import Message, decode_content
from tertulia.stores.base import ConversationStore
from tertulia.stores.sql import standing
from tertulia.stores.sql.database import Database
from tertulia.stores.sql.rows import CONVERSATION_COLUMNS, MESSAGE_COLUMNS, conversation_of, message_of
from tertulia.stores.sql.schema import CONVERSATIONS, MESSAGES, RUNS
from tertulia.stores.sql.statements import Connection, Row, Statement, listed, places, size_for

_C: Final = CONVERSATIONS.c
_M: Final = MESSAGES.c
_TENANT: Final[BindParameter[int]] = bindparam("tenant")

_LIST: Final = Statement(
    select(*CONVERSATION_COLUMNS)
    .where(_C.tenant == _TENANT, _C.agent_id == bindparam("agent"), _C.id > bindparam("after"))
    .order_by(_C.id)
    .limit(bindparam("limit"))
)
_MESSAGES: Final = select(*MESSAGE_COLUMNS).where(
    _M.tenant == _TENANT, _M.conversation_id == bindparam("conversation")
)
_AFTER: Final = Statement(
    _MESSAGES.where(_M.number > bindparam("after")).order_by(_M.number).limit(bindparam("limit"))
)
_RECENT: Final = Statement(
    _MESSAGES.where(_M.number <= bindparam("upto")).order_by(_M.number.desc()).limit(bindparam("limit"))
)
_PENDING: Final = Statement(
    select(RUNS.c.input_message_id, RUNS.c.id, RUNS.c.input, RUNS.c.created_at)
    .where(
        RUNS.c.tenant == _TENANT,
        RUNS.c.conversation_id == bindparam("conversation"),
        RUNS.c.status == literal_column("'queued'"),
        RUNS.c.input_number == literal_column("0"),
    )
    .order_by(RUNS.c.n)
)


_CHUNK: Final = 64
"""Agents whose conversations are found in one statement."""


@cache
def _newest(size: int) -> Statement:
    """Return the statement that finds the newest conversations of up to ``size`` agents.

    One look into the index for each agent: ranking all their conversations would read them all.
    """
    looks = []
    for agent in places(size, prefix="agent"):
        # The bound on the id is what makes SQLite take the index of agents rather than the key.
        look = select(*CONVERSATION_COLUMNS).where(
            _C.tenant == _TENANT, _C.agent_id == agent, _C.id > bindparam("after")
        )
        newest = look.order_by(_C.id.desc()).limit(bindparam("each")).subquery()
        looks.append(select(newest))
    return Statement(union_all(*looks))


class SqlConversations(ConversationStore):
    """Conversations in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    async def create(self, tenant: int, new: NewConversation) -> Conversation:
        async def unit(db: Connection) -> Conversation | None:
            there = await standing.existing(db, tenant, new)
            return await standing.found(db, tenant, there or await standing.make(db, tenant, new))

        return _there(await self._database.write(unit))

    @override
    async def get(self, tenant: int, conversation: str) -> Conversation:
        async def unit(db: Connection) -> Conversation | None:
            return await standing.found(db, tenant, conversation)

        return _there(await self._database.read(unit))

    @override
    async def page(
        self, tenant: int, agent_id: str, *, after: str | None = None, limit: int = 100
    ) -> list[Conversation]:
        params = {
            "tenant": tenant,
            "agent": ids.sought(agent_id),
            "after": ids.to_bytes(after) if after else bytes(16),
            "limit": limit,
        }
        return [conversation_of(row) for row in await self._all(_LIST, params)]

    @override
    async def newest(
        self, tenant: int, agent_ids: Sequence[str], *, each: int
    ) -> dict[str, list[Conversation]]:
        found: dict[str, dict[str, Conversation]] = {agent_id: {} for agent_id in agent_ids}
        for start in range(0, len(agent_ids), _CHUNK):
            raw = [ids.sought(agent_id) for agent_id in agent_ids[start : start + _CHUNK]]
            size = size_for(len(raw))
            params = {"tenant": tenant, "each": each, "after": bytes(16)}
            params |= listed(raw, prefix="agent", size=size)
            for row in await self._all(_newest(size), params):
                conversation = conversation_of(row)
                found[conversation.agent_id][conversation.id] = conversation
        return {agent_id: sorted(each.values(), key=attrgetter("id")) for agent_id, each in found.items()}

    @override
    async def messages(
        self, tenant: int, conversation_id: str, *, after: int = 0, limit: int = 100
    ) -> list[Message]:
        params = {**_of(tenant, conversation_id), "after": after, "limit": limit}
        return [message_of(row) for row in await self._all(_AFTER, params)]

    @override
    async def recent(self, tenant: int, conversation_id: str, *, upto: int, limit: int) -> list[Message]:
        params = {**_of(tenant, conversation_id), "upto": upto, "limit": limit}
        return [message_of(row) for row in await self._all(_RECENT, params)]

    @override
    async def pending(self, tenant: int, conversation_id: str) -> list[Message]:
        return [_waiting(row) for row in await self._all(_PENDING, _of(tenant, conversation_id))]

    async def _all(self, statement: Statement, params: dict[str, Any]) -> Sequence[Row]:
        async def unit(db: Connection) -> Sequence[Row]:
            return await db.all(statement, params)

        return await self._database.read(unit)


def _of(tenant: int, conversation_id: str) -> dict[str, Any]:
    return {"tenant": tenant, "conversation": ids.sought(conversation_id)}


def _there(conversation: Conversation | None) -> Conversation:
    if conversation is None:
        raise NotFound("there is no such conversation")
    return conversation


def _waiting(row: Row) -> Message:
    ident, run_id, content, created_at = row
    return Message(
        id=ids.from_bytes(ids.MESSAGE, ident),
        role="user",
        content=decode_content(content),
        run_id=ids.from_bytes(ids.RUN, run_id),
        created_at=created_at,
    )
