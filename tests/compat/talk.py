"""What the tests of the older names have in common: agents with a scripted model, and odd stores."""

from collections.abc import Callable, Sequence
from typing import Any

from typing_extensions import override

from tertulia.compat.agent_framework import ChatAgent, ChatMessage, ChatMessageStoreProtocol
from tertulia.llms.scripted import ScriptedLLM

DATABASES: dict[str, list[ChatMessage]] = {}
"""What databases hold, by their connection strings."""


class DatabaseMessageStore(ChatMessageStoreProtocol):
    """Keeps messages in a database, and only its address in a serialized thread."""

    def __init__(self, connection_string: str) -> None:
        self.connection_string = connection_string

    @override
    async def add_messages(self, messages: Sequence[ChatMessage]) -> None:
        DATABASES.setdefault(self.connection_string, []).extend(messages)

    @override
    async def list_messages(self) -> list[ChatMessage]:
        return DATABASES.setdefault(self.connection_string, [])

    @override
    async def serialize(self, **kwargs: Any) -> Any:
        return {"connection_string": self.connection_string}

    @override
    async def update_from_state(self, serialized_store_state: Any, **kwargs: Any) -> None:
        if serialized_store_state:
            self.connection_string = serialized_store_state["connection_string"]


class TextStore(ChatMessageStoreProtocol):
    """Keeps who has said which text, and nothing else: no ids, no uses of tools."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []

    @override
    async def add_messages(self, messages: Sequence[ChatMessage]) -> None:
        self.rows += [(message.role.value, message.text) for message in messages]

    @override
    async def list_messages(self) -> list[ChatMessage]:
        return [ChatMessage(role, text=text) for role, text in self.rows]


class BrokenStore(DatabaseMessageStore):
    """Does not do what is named in ``broken``."""

    def __init__(self, *broken: str) -> None:
        super().__init__("broken")
        self.broken = set(broken)

    @override
    async def add_messages(self, messages: Sequence[ChatMessage]) -> None:
        if "add" in self.broken:
            raise OSError("the password is 4711")
        await super().add_messages(messages)

    @override
    async def list_messages(self) -> list[ChatMessage]:
        if "list" in self.broken:
            raise OSError("the password is 4711")
        return await super().list_messages()


def listening() -> ScriptedLLM:
    """Return a model that says how many messages it was shown."""
    return ScriptedLLM(lambda prompt: f"heard {len(prompt.messages)}")


def agent_with(
    factory: Callable[[], ChatMessageStoreProtocol] | None = None,
    llm: ScriptedLLM | None = None,
    **options: Any,
) -> ChatAgent:
    """Return an agent whose threads have such stores."""
    return ChatAgent(llm or listening(), chat_message_store_factory=factory, **options)


def texts(messages: Sequence[Any]) -> list[str]:
    """Return what was said."""
    return [message["content"] if isinstance(message, dict) else message.text for message in messages]
