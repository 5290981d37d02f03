"""History in the server's own tables: its sessions are conversations, and the other way round."""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from typing_extensions import override

from tertulia.conversations import Conversation, NewConversation
from tertulia.definitions import AgentDefinition, StoredAgent
from tertulia.errors import (
    Conflict,
    DuplicateName,
    InvalidInput,
    NotFound,
    ProviderError,
    SessionMismatch,
    StoreError,
)
from tertulia.ids import AGENT, CONVERSATION, MESSAGE, is_id, new_id
from tertulia.llms.per_loop import PerLoop
from tertulia.memory.history.base import HistoryProvider
from tertulia.memory.sessions import ProviderSession
from tertulia.memory.tokens import tokens_of
from tertulia.messages import Flag, Message
from tertulia.stores import Store, open_store

_PAGE: Final = 500


@dataclass(slots=True)
class _Opened:
    """The store of one event loop, once it is open."""

    store: Store | None = None
    one_opens: asyncio.Lock = field(default_factory=asyncio.Lock)


class SQLHistoryProvider(HistoryProvider):
    """Keeps sessions in the database that a URL names, or in a store that is lent.

    An agent that has it as its history works on that database: runs, locks and all. By itself it makes
    the agent (by its name) and the conversation (under the session's id) where they are not there, and
    puts messages at its end. A session id under which another agent has a conversation already is used
    together with the agent's own id. Messages must have ids of our own form, as those of all runs have, and
    each can stand in one session only; others are refused with :class:`~tertulia.errors.InvalidInput`.

    It opens the store when it is first asked, one for each event loop.
    """

    def __init__(self, url: str | Store) -> None:
        self._lent = None if isinstance(url, str) else url
        self._url = url if isinstance(url, str) else ""
        if self._lent is None:
            open_store(self._url)  # so that a URL that cannot be right is known at once
        if self._url.startswith("memory:"):
            raise InvalidInput("memory:// is no database; use InMemoryHistoryProvider()")
        self._opened: PerLoop[_Opened] = PerLoop(_Opened)

    @property
    def store_url(self) -> str:
        """The URL of the store on which an agent works that has this history; empty if it was lent."""
        return self._url

    @override
    async def load(self, session: ProviderSession) -> list[Message]:
        with _told():
            store = await self._store()
            found = await _find(store, session)
            return [] if found is None else _remembered(await _all(store, found))

    async def recent(self, session: ProviderSession, *, limit: int) -> list[Message]:
        """Return the newest ``limit`` messages of a session, oldest of them first."""
        with _told():
            store = await self._store()
            found = await _find(store, session)
            newest: list[Message] = []
            upto, missing = 0 if found is None else found.head, limit
            while found is not None and missing > 0 and upto > 0:
                page = await store.conversations.recent(session.tenant, found.id, upto=upto, limit=missing)
                newest += _remembered(page)
                upto, missing = page[-1].number - 1 if page else 0, limit - len(newest)
            return newest[::-1]

    @override
    async def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
        if not all(is_id(message.id, prefix=MESSAGE) for message in messages):
            raise InvalidInput(f"a message has an id of another form than ours: {MESSAGE}_ and 32 digits")
        with _told():
            store = await self._store()
            found = await _find(store, session) or await _make(store, session)
            tokens = [tokens_of(message.content) for message in messages]
            await store.conversations.append(session.tenant, found.id, messages, tokens=tokens)

    async def forget(self, session: ProviderSession, ids: Collection[str]) -> None:
        """Erase messages of a session, and of all branches that share them; raises while a run says them.

        What is not there cannot be kept away: it is kept if it is appended later.
        """
        with _told():
            store = await self._store()
            found = await _find(store, session)
            if found is None:
                return
            gone = [message.number for message in await _all(store, found) if message.id in ids]
            if gone:
                await store.conversations.mark(session.tenant, found.id, gone, Flag.DELETED)

    @override
    async def close(self) -> None:
        here = asyncio.get_running_loop()
        for loop, opened in self._opened.take_all():
            store, opened.store = opened.store, None
            if store is not None and loop is here:
                await store.close()
            elif store is not None and not loop.is_closed():
                # What belongs to another loop is closed there; if that is just ending, with it.
                with suppress(RuntimeError):
                    asyncio.run_coroutine_threadsafe(store.close(), loop)

    async def _store(self) -> Store:
        if self._lent is not None:
            return self._lent
        opened = self._opened.get()
        async with opened.one_opens:
            if opened.store is None:
                store = open_store(self._url)
                await store.open()
                opened.store = store
            return opened.store


@contextmanager
def _told() -> Iterator[None]:
    """Raise what a store raises as our own."""
    try:
        yield
    except (StoreError, Conflict, NotFound) as error:
        raise ProviderError(f"the store of the history: {error}", retry_after=error.retry_after) from error


async def _find(store: Store, session: ProviderSession) -> Conversation | None:
    """Return the conversation that a session is; None if there is none yet."""
    try:
        agent = await store.agents.get(session.tenant, session.agent)
    except NotFound:
        return None
    for name in (session.id, _qualified(session, agent)):
        with suppress(NotFound):
            found = await store.conversations.get(session.tenant, name)
            if found.agent_id == agent.id:
                return found
    return None


async def _all(store: Store, found: Conversation) -> list[Message]:
    """Return all messages of a conversation, those that were erased as well."""
    messages: list[Message] = []
    while (after := messages[-1].number if messages else 0) < found.head:
        page = await store.conversations.messages(found.tenant, found.id, after=after, limit=_PAGE)
        if not page:
            break
        messages += page
    return messages


def _remembered(messages: Sequence[Message]) -> list[Message]:
    return [message for message in messages if not message.flags & Flag.DELETED]


async def _make(store: Store, session: ProviderSession) -> Conversation:
    """Return the conversation that a session is, made now, or just before by somebody else."""
    agent = await _agent(store, session)
    try:
        return await store.conversations.create(session.tenant, _new(session, agent, session.id))
    except SessionMismatch:
        new = _new(session, agent, _qualified(session, agent))
        return await store.conversations.create(session.tenant, new)


async def _agent(store: Store, session: ProviderSession) -> StoredAgent:
    try:
        return await store.agents.get(session.tenant, session.agent)
    except NotFound:
        definition = AgentDefinition(name=session.agent).checked()
    try:
        return await store.agents.create(session.tenant, new_id(AGENT), definition)
    except DuplicateName:
        return await store.agents.get(session.tenant, session.agent)


def _new(session: ProviderSession, agent: StoredAgent, name: str) -> NewConversation:
    is_ours = is_id(name, prefix=CONVERSATION)
    return NewConversation(
        id=name if is_ours else new_id(CONVERSATION),
        agent_id=agent.id,
        alias=None if is_ours else name,
        user_id=session.user,
    )


def _qualified(session: ProviderSession, agent: StoredAgent) -> str:
    return f"{agent.id}/{session.id}"
