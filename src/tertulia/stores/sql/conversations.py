"""Conversations and their messages in SQL."""

from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import BindParameter, ColumnElement, bindparam, case, literal_column, select, union_all
from typing_extensions import override

from tertulia import ids
from tertulia.conversations import Branch, Conversation, NewConversation, Once
from tertulia.errors import InvalidInput, NotFound
from tertulia.messages import Flag, Message
from tertulia.parts import decode_content
from tertulia.stores import rules
from tertulia.stores.base import ConversationStore
from tertulia.stores.sql import appending, branching, closing, marking, standing
from tertulia.stores.sql.database import Clash, Database
from tertulia.stores.sql.once import renote, taken
from tertulia.stores.sql.rows import (
    CONVERSATION_COLUMNS,
    HIDDEN,
    MESSAGE_COLUMNS,
    conversation_of,
    message_of,
)
from tertulia.stores.sql.schema import CONVERSATIONS, MESSAGES, RUNS, SEGMENTS
from tertulia.stores.sql.statements import Connection, Row, Statement, listed, places, size_for

_C: Final = CONVERSATIONS.c
_M: Final = MESSAGES.c
_S: Final = SEGMENTS.c
_TENANT: Final[BindParameter[int]] = bindparam("tenant")

_HIDDEN: Final[ColumnElement[int]] = literal_column(str(HIDDEN))
# Not "equals 0": PostgreSQL would take that for rare, and sort all conversations rather than walk the index.
_SHOWN: Final = _C.flags.bitwise_and(_HIDDEN) != _HIDDEN
_LIST: Final = Statement(
    select(*CONVERSATION_COLUMNS)
    .where(_C.tenant == _TENANT, _C.agent_id == bindparam("agent"), _C.id > bindparam("after"), _SHOWN)
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
_GREATEST: Final = 2**31 - 1
"""More than any number, and the greatest that PostgreSQL's integers hold."""
# Numbers have no gap, so that bounds cut a page as LIMIT does: nothing beside it is read and sorted.
_FIRST: Final = bindparam("first", type_=_M.number.type)
_LAST: Final = bindparam("last", type_=_M.number.type)
_SHARED: Final = Statement(
    select(*MESSAGE_COLUMNS)
    .join(SEGMENTS, (_S.tenant == _M.tenant) & (_S.source_conversation_id == _M.conversation_id))
    .where(
        _S.tenant == _TENANT,
        _S.conversation_id == bindparam("conversation"),
        _S.from_number <= _LAST,
        _S.to_number >= _FIRST,
        _M.number >= case((_S.from_number > _FIRST, _S.from_number), else_=_FIRST),
        _M.number <= case((_S.to_number < _LAST, _S.to_number), else_=_LAST),
    )
    .order_by(_M.number)
)
_BASE: Final = Statement(select(_C.base).where(_C.tenant == _TENANT, _C.id == bindparam("conversation")))
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
            _C.tenant == _TENANT, _C.agent_id == agent, _C.id > bindparam("after"), _SHOWN
        )
        newest = look.order_by(_C.id.desc()).limit(bindparam("each")).subquery()
        looks.append(select(newest))
    return Statement(union_all(*looks))


class SqlConversations(ConversationStore):
    """Conversations in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    async def create(self, tenant: int, new: NewConversation, *, once: Once | None = None) -> Conversation:
        async def unit(db: Connection) -> Conversation:
            async def make() -> str:
                there = await standing.existing(db, tenant, new)
                return there or await standing.make(db, tenant, new)

            if once is None:
                return await _found(db, tenant, await make())
            return await _found(db, tenant, await _noted(db, (tenant, new.agent_id), once, new.id, make))

        await self._database.check_room()
        return await self._database.write(unit, tenant=tenant)

    @override
    async def fork(self, tenant: int, branch: Branch, *, once: Once | None = None) -> Conversation:
        async def unit(db: Connection) -> Conversation:
            async def make() -> str:
                return await branching.make(db, tenant, branch)

            if once is None:
                return await _found(db, tenant, await make())
            source = await standing.resolved(db, tenant, branch.source)
            if source is None:
                raise NotFound("there is no such conversation")
            return await _found(db, tenant, await _noted(db, (tenant, source), once, branch.id, make))

        await self._database.check_room()
        return await self._database.write(unit, tenant=tenant)

    @override
    async def mark(
        self, tenant: int, conversation_id: str, numbers: Sequence[int], flag: Flag
    ) -> Conversation:
        async def unit(db: Connection) -> Conversation:
            conversation = await _found(db, tenant, conversation_id)
            wanted = set(numbers)
            if wanted and not 0 < min(wanted) <= max(wanted) <= conversation.head:
                raise NotFound("there is no such message")
            await marking.mark_owned(db, tenant, await branching.owners(db, conversation, wanted), flag)
            return await _found(db, tenant, conversation_id)

        if not ids.is_id(conversation_id, prefix=ids.CONVERSATION):
            raise NotFound("there is no such conversation")
        return await self._database.write(unit, tenant=tenant)

    @override
    async def set_closed(self, tenant: int, conversation: str, reason: str | None) -> Conversation:
        async def unit(db: Connection) -> Conversation:
            return await closing.set_closed(db, tenant, conversation, reason)

        return await self._database.write(unit, tenant=tenant)

    @override
    async def append(
        self, tenant: int, conversation: str, messages: Sequence[Message], *, tokens: Sequence[int]
    ) -> Conversation:
        async def unit(db: Connection) -> Conversation:
            return await appending.append(db, tenant, conversation, messages, tokens=tokens)

        rules.check_sayable(messages, tokens)
        await self._database.check_room()
        try:
            return await self._database.write(unit, tenant=tenant)
        except Clash as error:  # somebody else has just written one of these
            raise InvalidInput(rules.STANDS_ELSEWHERE) from error

    @override
    async def get(self, tenant: int, conversation: str) -> Conversation:
        async def unit(db: Connection) -> Conversation:
            return await _found(db, tenant, conversation)

        return await self._database.read(unit, tenant=tenant)

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
        after = max(0, after)
        bounds = {"first": min(after + 1, _GREATEST), "last": min(after + limit, _GREATEST)}
        params = {**_of(tenant, conversation_id), **bounds, "after": after, "limit": limit}

        async def unit(db: Connection) -> Sequence[Row]:
            own = await db.all(_AFTER, params)
            if own and own[0][0] == after + 1:
                return own
            # The first own message of a branch comes after those that it shares.
            return [*await db.all(_SHARED, params), *own][: max(0, limit)]

        return [message_of(row) for row in await self._database.read(unit, tenant=tenant)]

    @override
    async def recent(self, tenant: int, conversation_id: str, *, upto: int, limit: int) -> list[Message]:
        params = {**_of(tenant, conversation_id), "upto": upto, "limit": limit}

        async def unit(db: Connection) -> Sequence[Row]:
            own = await db.all(_RECENT, params)
            last = own[-1][0] - 1 if own else min(upto, await _base(db, params))
            missing = min(last, limit - len(own))
            if missing <= 0:
                return own
            shared = await db.all(_SHARED, {**params, "first": last - missing + 1, "last": last})
            return [*own, *reversed(shared)]

        return [message_of(row) for row in await self._database.read(unit, tenant=tenant)]

    @override
    async def pending(self, tenant: int, conversation_id: str) -> list[Message]:
        return [_waiting(row) for row in await self._all(_PENDING, _of(tenant, conversation_id))]

    async def _all(self, statement: Statement, params: dict[str, Any]) -> Sequence[Row]:
        async def unit(db: Connection) -> Sequence[Row]:
            return await db.all(statement, params)

        return await self._database.read(unit, tenant=params["tenant"])


def _of(tenant: int, conversation_id: str) -> dict[str, Any]:
    return {"tenant": tenant, "conversation": ids.sought(conversation_id)}


async def _found(db: Connection, tenant: int, conversation: str) -> Conversation:
    found = await standing.found(db, tenant, conversation)
    if found is None:
        raise NotFound("there is no such conversation")
    return found


async def _base(db: Connection, key: dict[str, Any]) -> int:
    row = await db.one(_BASE, key)
    return 0 if row is None else int(row[0])


async def _noted(
    db: Connection, scope: tuple[int, str], once: Once, wanted: str, make: Callable[[], Awaitable[str]]
) -> str:
    """Return the id that a key of a tenant and scope leads to; it is made now if the key is new."""
    earlier = await taken(db, *scope, once, wanted)
    if earlier is not None:
        return ids.from_bytes(ids.CONVERSATION, earlier)
    made = await make()
    if made != wanted:
        await renote(db, *scope, once, made)
    return made


def _waiting(row: Row) -> Message:
    ident, run_id, content, created_at = row
    return Message(
        id=ids.from_bytes(ids.MESSAGE, ident),
        role="user",
        content=decode_content(content),
        run_id=ids.from_bytes(ids.RUN, run_id),
        created_at=created_at,
    )
