"""The message stores of an agent's threads, as the one history provider that its agent has."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from tertulia.compat.agent_framework.messages import chat_message_of, message_of
from tertulia.compat.agent_framework.stores import ChatMessageStoreProtocol, as_chat_message
from tertulia.errors import ProviderError
from tertulia.memory.history import HistoryProvider
from tertulia.memory.sessions import ProviderSession
from tertulia.messages import Message
from tertulia.parts import Text, ToolResult

if TYPE_CHECKING:
    from tertulia.compat.agent_framework.threads import AgentThread

NAME: Final = "chat_message_store"


class ThreadHistory(HistoryProvider):
    """Reads and writes the message store of whichever thread a run belongs to."""

    def __init__(self, threads: Mapping[str, "AgentThread"]) -> None:
        """Find threads here, by the ids of their sessions."""
        self._threads = threads

    @property
    @override
    def name(self) -> str:
        return NAME

    @override
    async def load(self, session: ProviderSession) -> list[Message]:
        return await self._kept(session).load()

    @override
    async def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
        await self._kept(session).append(messages)

    def _kept(self, session: ProviderSession) -> "StoredMessages":
        thread = self._threads.get(session.id)
        if thread is None or thread.stored is None:
            raise ProviderError("the thread of this run is gone, and its message store with it")
        return thread.stored


class StoredMessages:
    """The messages of one thread in its store, each with an id whether the store keeps ids or not."""

    def __init__(self, store: ChatMessageStoreProtocol) -> None:
        self.store = store
        self._added: list[Message] = []
        self._ids: set[str] = set()
        self._is_unsure = False
        """Whether a store was interrupted, and may have kept what it did not confirm."""

    async def load(self) -> list[Message]:
        """Return all messages, oldest first."""
        listed = [as_chat_message(each) for each in await self.store.list_messages()]
        known = list(self._added)
        found: list[Message] = []
        for chat_message in reversed(listed):
            message = message_of(chat_message)
            found.append(message if chat_message.message_id else _with_id_again(message, known))
        found.reverse()
        return [part for message in _distinct(found) for part in _one_by_one(message) if _is_whole(part)]

    async def append(self, messages: Sequence[Message]) -> None:
        """Keep messages; those that are kept already are left out."""
        if self._is_unsure:
            listed = [as_chat_message(each) for each in await self.store.list_messages()]
            self._ids |= {each.message_id for each in listed if each.message_id}
        new = list({message.id: message for message in messages if message.id not in self._ids}.values())
        self._is_unsure = True
        if new:
            await self.store.add_messages([chat_message_of(message) for message in new])
        self._is_unsure = False
        self._ids |= {message.id for message in new}
        self._added += new


def _with_id_again(message: Message, known: list[Message]) -> Message:
    """Return a message with the id that its store has lost; ``known`` loses what comes after it.

    Stores list in the order in which they were given messages, so both are gone through from the end.
    Nobody else is to take the id for one of another message that says the same.
    """
    for place in range(len(known) - 1, -1, -1):
        if (known[place].role, known[place].text) == (message.role, message.text):
            ident = known[place].id
            del known[place:]
            return replace(message, id=ident)
    return replace(message, id="")


def _distinct(messages: Sequence[Message]) -> list[Message]:
    """Return messages with ids that stay the same at each reading where they have none."""
    counts: dict[tuple[str, str], int] = {}
    found: list[Message] = []
    for message in messages:
        if message.id:
            found.append(message)
            continue
        said = (message.role, message.text)
        counts[said] = counts.get(said, 0) + 1
        told = "\n".join((*said, str(counts[said])))
        found.append(replace(message, id=f"kept_{sha256(told.encode()).hexdigest()[:32]}"))
    return found


def _one_by_one(message: Message) -> list[Message]:
    """Return a message with several results of tools as one message each."""
    results = [part for part in message.content if isinstance(part, ToolResult)]
    if len(results) < 2 or message.role != "tool":  # noqa: PLR2004  # one is as it should be
        return [message]
    return [
        replace(message, id=message.id if place == 0 else f"{message.id}.{place}", content=(result,))
        for place, result in enumerate(results)
    ]


def _is_whole(message: Message) -> bool:
    """Whether a model can be shown a message: stores that keep texts only lose what tools have given."""
    if message.role == "tool":
        return any(isinstance(part, ToolResult) for part in message.content)
    return any(not isinstance(part, Text) or part.text for part in message.content)
