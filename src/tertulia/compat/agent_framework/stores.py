"""Message stores: where the messages of one thread are kept."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self, runtime_checkable

from typing_extensions import override

from tertulia.compat.agent_framework.messages import ChatMessage, plain


class ChatMessageStoreProtocol(Protocol):
    """Keeps the messages of one thread.

    A store of one's own has these methods, whether it inherits from this or not. It need not look into
    messages; one that does not keep ``message_id`` with them is dealt with.
    """

    async def list_messages(self) -> list[ChatMessage]:
        """Return all messages, oldest first."""
        ...

    async def add_messages(self, messages: Sequence[ChatMessage]) -> None:
        """Keep further messages."""
        ...

    async def serialize(self, **kwargs: Any) -> Any:  # noqa: ANN401  # JSON
        """Return what it takes to find the messages again, as JSON values."""
        return None

    async def update_from_state(self, serialized_store_state: Any, **kwargs: Any) -> None:  # noqa: ANN401  # JSON
        """Take in what :meth:`serialize` has told; called once, before anything is listed or added."""
        return


@runtime_checkable
class SupportsPlace(Protocol):
    """A message store that says where it keeps messages: two with the same place share them."""

    @property
    def kept_at(self) -> str:
        """The place; never shown to anybody."""
        ...


class Connections(Protocol):
    """What is opened to reach a place."""

    async def close(self) -> None:
        """Close them; may be called twice. They are opened again when they are needed again."""
        ...


@runtime_checkable
class SupportsConnections(Protocol):
    """A message store with connections that it shares with others, and that outlive it."""

    @property
    def shared_connections(self) -> Connections:
        """They live as long as somebody holds them: the agent does, and closes them when it is closed."""
        ...


class ChatMessageStore(ChatMessageStoreProtocol):
    """Keeps messages in a list; they go into a serialized thread, all of them."""

    def __init__(self, messages: Sequence[ChatMessage] | None = None) -> None:
        self.messages: list[ChatMessage] = list(messages or ())

    @override
    async def list_messages(self) -> list[ChatMessage]:
        return list(self.messages)

    @override
    async def add_messages(self, messages: Sequence[ChatMessage]) -> None:
        self.messages.extend(messages)

    @override
    async def serialize(self, **kwargs: Any) -> dict[str, Any]:
        return {"messages": [message.to_dict() for message in self.messages]}

    @override
    async def update_from_state(self, serialized_store_state: Any, **kwargs: Any) -> None:
        told = serialized_store_state.get("messages") if isinstance(serialized_store_state, Mapping) else None
        if told:
            self.messages = [as_chat_message(each) for each in told]

    @classmethod
    async def deserialize(cls, serialized_store_state: Any, **kwargs: Any) -> Self:  # noqa: ANN401  # JSON
        """Return a store with what :meth:`serialize` has told."""
        store = cls()
        await store.update_from_state(serialized_store_state, **kwargs)
        return store


async def state_of(store: ChatMessageStoreProtocol, **kwargs: Any) -> Any:  # noqa: ANN401  # JSON
    """Return the state of a store as JSON; raises :class:`~tertulia.errors.InvalidInput` if it is none."""
    return plain(await store.serialize(**kwargs), what=f"the state of {type(store).__name__}")


def as_chat_message(given: ChatMessage | Mapping[str, Any]) -> ChatMessage:
    """Return a message that a store has kept as itself or as JSON."""
    return given if isinstance(given, ChatMessage) else ChatMessage.from_dict(given)
