"""Conversations and their messages, in memory."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from typing_extensions import override

from tertulia.conversations import Branch, Conversation, NewConversation, Once
from tertulia.errors import ConversationBusy, InvalidInput, NotFound
from tertulia.messages import Flag, Message
from tertulia.parts import decode_content, encode_content
from tertulia.stores import rules
from tertulia.stores.base import ConversationStore
from tertulia.stores.in_memory import branching, marking
from tertulia.stores.in_memory.once import made_before, note
from tertulia.stores.in_memory.state import Log, Room, State


class InMemoryConversations(ConversationStore):
    """Conversations, for as long as the process lives."""

    def __init__(self, state: State) -> None:
        self._state = state

    @override
    async def create(self, tenant: int, new: NewConversation, *, once: Once | None = None) -> Conversation:
        with self._state.lock:
            room, now = self._state.rooms[tenant], self._state.now()
            log = made_before(room, new.agent_id, once, room.logs, now=now)
            if log is None:
                log = find(room, new) or make(room, new, tenant=tenant, now=now)
                note(room, (new.agent_id,), once, log.row.id, now=now)
            return log.row

    @override
    async def fork(self, tenant: int, branch: Branch, *, once: Once | None = None) -> Conversation:
        with self._state.lock:
            room, now = self._state.rooms[tenant], self._state.now()
            source = room.known_log(branch.source)
            log = made_before(room, source.row.id, once, room.logs, now=now)
            if log is None:
                log = branching.find(room, source, branch) or branching.make(room, source, branch, now=now)
                note(room, (source.row.id,), once, log.row.id, now=now)
            return log.row

    @override
    async def mark(
        self, tenant: int, conversation_id: str, numbers: Sequence[int], flag: Flag
    ) -> Conversation:
        with self._state.lock:
            log = self._log(tenant, conversation_id)
            if log is None or not all(0 < number <= log.row.head for number in numbers):
                raise NotFound("there is no such conversation, or no such message in it")
            if any(_is_at_work(log, number) for number in numbers):
                raise ConversationBusy(
                    "the run that holds the conversation has said one of these, or answers it"
                )
            marking.mark(log, numbers, flag, now=self._state.now())
            return log.row

    @override
    async def set_closed(self, tenant: int, conversation: str, reason: str | None) -> Conversation:
        with self._state.lock:
            log = self._state.rooms[tenant].known_log(conversation)
            if (log.row.closed is None) is not (reason is None):
                log.close(reason, now=self._state.now())
            return log.row

    @override
    async def append(
        self, tenant: int, conversation: str, messages: Sequence[Message], *, tokens: Sequence[int]
    ) -> Conversation:
        rules.check_sayable(messages, tokens)
        with self._state.lock:
            room = self._state.rooms[tenant]
            log = room.known_log(conversation)
            rules.check_appendable(log.standing())
            there = {message.id for message in messages if log.shows(message.id)}
            new = rules.not_there(messages, tokens, there=there)
            if any(message.id in room.written for message, _ in new):
                raise InvalidInput(rules.STANDS_ELSEWHERE)
            if new:
                _append(log, new, now=self._state.now())
            return log.row

    @override
    async def get(self, tenant: int, conversation: str) -> Conversation:
        with self._state.lock:
            return self._state.rooms[tenant].known_log(conversation).row

    @override
    async def page(
        self, tenant: int, agent_id: str, *, after: str | None = None, limit: int = 100
    ) -> list[Conversation]:
        with self._state.lock:
            room = self._state.rooms[tenant]
            ids = room.of_agent.get(agent_id, [])
            start = bisect_right(ids, after) if after is not None else 0
            return [room.logs[i].row for i in ids[start : start + limit]]

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
            log, first = self._log(tenant, conversation_id), max(0, after) + 1
            return log.between(first, first + limit - 1) if log else []

    @override
    async def recent(self, tenant: int, conversation_id: str, *, upto: int, limit: int) -> list[Message]:
        with self._state.lock:
            log = self._log(tenant, conversation_id)
            last = min(upto, log.row.head) if log else 0
            return log.between(last - limit + 1, last)[::-1] if log else []

    @override
    async def pending(self, tenant: int, conversation_id: str) -> list[Message]:
        with self._state.lock:
            log = self._log(tenant, conversation_id)
            return [entry.input for entry in log.unfinished if entry.input is not None] if log else []

    def _log(self, tenant: int, conversation_id: str) -> Log | None:
        return self._state.rooms[tenant].logs.get(conversation_id)


def find(room: Room, new: NewConversation) -> Log | None:
    """Return the conversation that a request would make if it is there already, ``None`` if it can be made.

    Raises :class:`~tertulia.errors.NotFound`, :class:`~tertulia.errors.SessionMismatch`.
    """
    log = room.log(new.alias) if new.alias is not None else None
    log = log or room.logs.get(new.id)
    if log is None:
        room.agent(new.agent_id, version=new.agent_version)
    else:
        rules.check_whose(new, log.row)
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
    return room.add(Log(row=row))


def _append(log: Log, new: Sequence[tuple[Message, int]], *, now: int) -> None:
    """Put messages at the end of a conversation, with their tokens; content as after a round trip."""
    head = log.row.head
    log.say(
        [
            replace(
                rules.said_elsewhere(message, number=number, at=now),
                content=decode_content(encode_content(message.content)),
            )
            for number, (message, _) in enumerate(new, start=head + 1)
        ]
    )
    tokens = log.row.tokens + sum(size for _, size in new)
    log.row = replace(log.row, head=head + len(new), tokens=tokens, updated_at=now)


def _is_at_work(log: Log, number: int) -> bool:
    """Whether the run that holds the conversation of a message has said it, or answers it."""
    holder = log.owner_of(number).holder
    return holder is not None and number in holder.numbers
