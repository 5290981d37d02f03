"""History in the server's own tables: its sessions are conversations, and the other way round."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from typing_extensions import override

from tertulia.conversations import Conversation
from tertulia.errors import Conflict, InvalidInput, NotFound, ProviderError, StoreError
from tertulia.ids import MESSAGE, is_id
from tertulia.memory.history.base import HistoryProvider
from tertulia.memory.history.loop_stores import LoopStores
from tertulia.memory.history.session_rows import alias_of, aliased, find, have_share, make, shares
from tertulia.memory.sessions import ProviderSession
from tertulia.memory.tokens import tokens_of
from tertulia.messages import Flag, Message
from tertulia.stores import Store

_PAGE: Final = 500


class SQLHistoryProvider(HistoryProvider):
    """Keeps sessions in the database that a URL names, or in a store that is lent.

    An agent that has it as its history works on that database: runs, locks and all. By itself it makes
    the agent (by its name) and the conversation (under the session's id) where they are not there, and
    puts messages at its end. A session id under which another agent or user has a conversation already is
    used together with the agent's own id and the user's digest. Messages must have ids of our own form, as
    those of all runs have; others are refused with :class:`~tertulia.errors.InvalidInput`.

    A session that begins with messages that stand in another one, as a branch does, has its messages
    under ids of its own in the tables; they are loaded with those that they have. One that has begun
    with others takes none that stand elsewhere.

    It opens the store when it is first asked, one for each event loop, and closes it with that loop or when
    nobody holds the provider any more.
    """

    def __init__(self, url: str | Store) -> None:
        self._url = url if isinstance(url, str) else ""
        if self._url.startswith("memory:"):
            raise InvalidInput("memory:// is no database; use InMemoryHistoryProvider()")
        self._given = LoopStores(url) if isinstance(url, str) else url

    @property
    def store_url(self) -> str:
        """The URL of the store on which an agent works that has this history; empty if it was lent."""
        return self._url

    @override
    async def load(self, session: ProviderSession) -> list[Message]:
        with _told():
            store = await self._store()
            found = await find(store, session)
            if found is None:
                return []
            return await _own(store, found, _remembered(await _all(store, found)))

    async def recent(self, session: ProviderSession, *, limit: int) -> list[Message]:
        """Return the newest ``limit`` messages of a session, oldest of them first."""
        with _told():
            store = await self._store()
            found = await find(store, session)
            newest: list[Message] = []
            upto, missing = 0 if found is None else found.head, limit
            while found is not None and missing > 0 and upto > 0:
                page = await store.conversations.recent(session.tenant, found.id, upto=upto, limit=missing)
                newest += _remembered(page)
                upto, missing = page[-1].number - 1 if page else 0, limit - len(newest)
            return [] if found is None else await _own(store, found, newest[::-1])

    @override
    async def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
        if not all(is_id(message.id, prefix=MESSAGE) for message in messages):
            raise InvalidInput(f"a message has an id of another form than ours: {MESSAGE}_ and 32 digits")
        with _told():
            store = await self._store()
            found = await find(store, session) or await make(store, session)
            try:
                await _append(store, found, await _own(store, found, messages))
            except InvalidInput:
                if found.head:
                    raise
                # One of the first messages may stand elsewhere: then this is a branch.
                await have_share(store, found)
                await _append(store, found, aliased(messages, within=found))

    async def forget(self, session: ProviderSession, ids: Collection[str]) -> None:
        """Erase messages of a session, and of all branches that share them; raises while a run says them.

        What is not there cannot be kept away: it is kept if it is appended later.
        """
        with _told():
            store = await self._store()
            found = await find(store, session)
            if found is None:
                return
            is_branch = await shares(store, found)
            gone_ids = {alias_of(each, within=found) for each in ids} if is_branch else ids
            gone = [message.number for message in await _all(store, found) if message.id in gone_ids]
            if gone:
                await store.conversations.mark(session.tenant, found.id, gone, Flag.DELETED)

    @override
    async def close(self) -> None:
        if isinstance(self._given, LoopStores):
            await self._given.close()

    async def _store(self) -> Store:
        return await self._given.opened() if isinstance(self._given, LoopStores) else self._given


@contextmanager
def _told() -> Iterator[None]:
    """Raise what a store raises as our own."""
    try:
        yield
    except (StoreError, Conflict, NotFound) as error:
        raise ProviderError(f"the store of the history: {error}", retry_after=error.retry_after) from error


async def _append(store: Store, found: Conversation, messages: Sequence[Message]) -> None:
    tokens = [tokens_of(message.content) for message in messages]
    await store.conversations.append(found.tenant, found.id, messages, tokens=tokens)


async def _own(store: Store, found: Conversation, messages: Sequence[Message]) -> list[Message]:
    """Return messages as they are known in the tables, or those of the tables as they are known here."""
    if messages and await shares(store, found):
        return aliased(messages, within=found)
    return list(messages)


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
