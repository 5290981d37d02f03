"""What of a run a history provider is given: a wrapper that says so."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from typing_extensions import override

from tertulia.errors import ProviderError
from tertulia.memory.history.base import HistoryProvider, SupportsForgetting, SupportsRecent
from tertulia.memory.sessions import ProviderSession
from tertulia.messages import Message
from tertulia.parts import ToolCall, ToolResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What a history provider is asked for, and what of a run it is given."""

    load_messages: bool = True
    """Whether the agent's models are shown what it keeps; if not, it is only written to."""
    store_inputs: bool = True
    """Whether it is given what was said to the agent."""
    store_outputs: bool = True
    """Whether it is given what the agent said."""
    store_tools: bool = True
    """Whether it is given calls of tools, and their results."""
    store_context_messages: bool = False
    """Whether it is given what context providers had the model told."""

    def chosen(self, messages: Iterable[Message]) -> list[Message]:
        """Return those of a run's own messages that the provider is given.

        Where calls of tools are left out and what was said beside them is not, the message keeps its
        id and has no calls.
        """
        return [kept for message in messages if (kept := self._chosen(message)) is not None]

    def _chosen(self, message: Message) -> Message | None:
        if message.role not in ("assistant", "tool"):
            return message if self.store_inputs else None
        uses = [part for part in message.content if isinstance(part, ToolCall | ToolResult)]
        if uses and self.store_tools:
            return message
        said = tuple(part for part in message.content if part not in uses)
        if not self.store_outputs or (uses and not said):
            return None
        return replace(message, content=said) if uses else message


@runtime_checkable
class SupportsFlags(Protocol):
    """A history provider that says what it is asked for, and what of a run it is given."""

    @property
    def flags(self) -> Flags:
        """What it wants; the same for as long as it lives."""
        ...


def flags_of(provider: HistoryProvider) -> Flags:
    """Return what a provider wants: everything of the conversation, if it does not say."""
    return provider.flags if isinstance(provider, SupportsFlags) else Flags()


class Recording(HistoryProvider):
    """Gives a history provider what is wanted of each run, and by default never reads from it.

    So a second place keeps what was said, for an audit, while the agent remembers by another.
    """

    def __init__(  # one for each flag
        self,
        provider: HistoryProvider,
        *,
        load_messages: bool = False,
        store_inputs: bool = True,
        store_outputs: bool = True,
        store_tools: bool = True,
        store_context_messages: bool = False,
    ) -> None:
        self._provider = provider
        self._flags = Flags(
            load_messages=load_messages,
            store_inputs=store_inputs,
            store_outputs=store_outputs,
            store_tools=store_tools,
            store_context_messages=store_context_messages,
        )

    @property
    @override
    def name(self) -> str:
        return self._provider.name

    @property
    def flags(self) -> Flags:
        """What of a run the provider is given; whoever runs the agent abides by it."""
        return self._flags

    @override
    async def load(self, session: ProviderSession) -> list[Message]:
        return await self._provider.load(session)

    async def recent(self, session: ProviderSession, *, limit: int) -> list[Message]:
        """Return the newest messages; a provider that cannot be read from its end is read as a whole."""
        if isinstance(self._provider, SupportsRecent):
            return await self._provider.recent(session, limit=limit)
        loaded = await self._provider.load(session)
        return loaded[max(len(loaded) - limit, 0) :]

    @override
    async def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
        await self._provider.append(session, messages)

    async def forget(self, session: ProviderSession, ids: Collection[str]) -> None:
        """Erase messages of a session; raises ``ProviderError`` if the provider cannot."""
        if not isinstance(self._provider, SupportsForgetting):
            raise ProviderError("it cannot forget single messages")
        await self._provider.forget(session, ids)

    @override
    async def close(self) -> None:
        await self._provider.close()
