"""Conversations and their messages, in memory."""

from bisect import bisect_right, insort
from collections.abc import Sequence

from typing_extensions import override

from tertulia.conversations import Conversation, NewConversation, RunStatus
from tertulia.errors import SessionMismatch
from tertulia.messages import Message
from tertulia.stores.base import ConversationStore
from tertulia.stores.in_memory.state import Log, Room, State


class InMemoryConversations(ConversationStore):
    """Conversations, for as long as the process lives."""

    def __init__(self, state: State) -> None:
        self._state = state

    @override
    async def create(self, tenant: int, new: NewConversation) -> Conversation:
        with self._state.lock:
            room = self._state.rooms[tenant]
            found = find(room, new)
            log = found if isinstance(found, Log) else make(room, found, tenant=tenant, now=self._state.now())
            return log.row

    @override
    async def get(self, tenant: int, conversation: str) -> Conversation:
        with self._state.lock:
            return self._state.rooms[tenant].known_log(conversation).row

    @override
    async def newest(
        self, tenant: int, agent_ids: Sequence[str], *, each: int
    ) -> dict[str, list[Conversation]]:
        with self._state.lock:
            room = self._state.rooms[tenant]
            ids = {agent_id: room.of_agent.get(agent_id, []) for agent_id in agent_ids}
            return {
                agent_id: [room.logs[i].row for i in found[max(0, len(found) - each) :]]
                for agent_id, found in ids.items()
            }

    @override
    async def messages(
        self, tenant: int, conversation_id: str, *, after: int = 0, limit: int = 100
    ) -> list[Message]:
        with self._state.lock:
            log = self._state.rooms[tenant].logs.get(conversation_id)
            return log.messages[max(0, after) :][:limit] if log else []

    @override
    async def recent(self, tenant: int, conversation_id: str, *, upto: int, limit: int) -> list[Message]:
        with self._state.lock:
            log = self._state.rooms[tenant].logs.get(conversation_id)
            return log.messages[: max(0, upto)][::-1][:limit] if log else []

    @override
    async def pending(self, tenant: int, conversation_id: str) -> list[Message]:
        with self._state.lock:
            log = self._state.rooms[tenant].logs.get(conversation_id)
            waiting = [e for e in log.unfinished if e.run.status is RunStatus.QUEUED] if log else []
            return [entry.input for entry in waiting if not entry.input.number]

    @override
    async def page(
        self, tenant: int, agent_id: str, *, after: str | None = None, limit: int = 100
    ) -> list[Conversation]:
        with self._state.lock:
            room = self._state.rooms[tenant]
            ids = room.of_agent.get(agent_id, [])
            start = bisect_right(ids, after) if after is not None else 0
            return [room.logs[i].row for i in ids[start : start + limit]]


def find(room: Room, named: str | NewConversation) -> Log | NewConversation:
    """Return the conversation that a request names, or the one that can be made for it.

    Raises :class:`~tertulia.errors.NotFound`, :class:`~tertulia.errors.SessionMismatch`.
    """
    if isinstance(named, str):
        return room.known_log(named)
    log = room.log(named.alias) if named.alias is not None else None
    log = log or room.logs.get(named.id)
    if log is None:
        room.agent(named.agent_id, version=named.agent_version)
        return named
    if log.row.agent_id != named.agent_id:
        raise SessionMismatch
    return log


def make(room: Room, new: NewConversation, *, tenant: int, now: int) -> Log:
    """Make a conversation that :func:`find` did not find."""
    row = Conversation(
        tenant=tenant,
        id=new.id,
        agent_id=new.agent_id,
        agent_version=new.agent_version,
        alias=new.alias,
        user_id=new.user_id,
        lineage_id=new.id,
        created_at=now,
        updated_at=now,
    )
    room.logs[row.id] = log = Log(row=row)
    insort(room.of_agent[row.agent_id], row.id)
    if row.alias is not None:
        room.aliases[row.alias] = row.id
    return log
