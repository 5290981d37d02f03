"""Message stores in Redis or Valkey, by their older name."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import uuid4
from weakref import WeakValueDictionary

from typing_extensions import override

from tertulia.compat.agent_framework.messages import ChatMessage, chat_message_of, message_of
from tertulia.compat.agent_framework.stores import ChatMessageStoreProtocol
from tertulia.memory.history import RedisHistoryProvider
from tertulia.memory.sessions import ProviderSession

_AGENT: Final = "thread"
_PREFIX: Final = "chat_messages"
# Stores of one place share connections, so that not every thread has its own.
_OPEN: Final[WeakValueDictionary[tuple[str, str, int | None], RedisHistoryProvider]] = WeakValueDictionary()


class RedisChatMessageStore(ChatMessageStoreProtocol):
    """Keeps the messages of one thread in Redis, as :class:`~tertulia.memory.history.RedisHistoryProvider`.

    A serialized thread carries ``thread_id`` and ``key_prefix``, never the URL: where Redis is, the
    factory of stores says. ``max_messages`` is how many are kept; there are a few more where fewer
    would part what belongs together.
    """

    def __init__(
        self,
        redis_url: str = "redis://localhost:6379",
        *,
        thread_id: str | None = None,
        key_prefix: str = _PREFIX,
        max_messages: int | None = None,
    ) -> None:
        """Keep messages under ``thread_id``, or an id that is made; nothing is opened yet."""
        self._url, self._max_messages = redis_url, max_messages
        self.thread_id, self.key_prefix = thread_id or f"thread_{uuid4().hex}", key_prefix
        self._provider = self._opened()

    @property
    def kept_at(self) -> str:
        """Where it keeps messages; never shown to anybody, for there may be a password in it."""
        return "\n".join((self._url, self.key_prefix, self.thread_id))

    @override
    async def list_messages(self) -> list[ChatMessage]:
        return [chat_message_of(message) for message in await self._provider.load(self._session)]

    @override
    async def add_messages(self, messages: Sequence[ChatMessage]) -> None:
        await self._provider.append(self._session, [message_of(message) for message in messages])

    @override
    async def serialize(self, **kwargs: Any) -> dict[str, Any]:
        return {"thread_id": self.thread_id, "key_prefix": self.key_prefix}

    @override
    async def update_from_state(self, serialized_store_state: Any, **kwargs: Any) -> None:
        if isinstance(serialized_store_state, Mapping):
            self.thread_id = serialized_store_state.get("thread_id") or self.thread_id
            self.key_prefix = serialized_store_state.get("key_prefix") or self.key_prefix
            self._provider = self._opened()

    @property
    def shared_connections(self) -> RedisHistoryProvider:
        """What it has opened, together with all stores of the same place."""
        return self._provider

    async def aclose(self) -> None:
        """Close its connections, which are those of all stores of the same place; they open again."""
        await self._provider.close()

    @property
    def _session(self) -> ProviderSession:
        return ProviderSession(id=self.thread_id, agent=_AGENT)

    def _opened(self) -> RedisHistoryProvider:
        key = (self._url, self.key_prefix, self._max_messages)
        provider = _OPEN.get(key)
        if provider is None:
            provider = _OPEN[key] = RedisHistoryProvider(
                self._url, prefix=self.key_prefix, max_messages=self._max_messages
            )
        return provider


__all__ = ["RedisChatMessageStore"]
