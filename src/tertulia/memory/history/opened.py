"""Sessions as history providers see them, each with what that provider keeps of it between its calls."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from tertulia.conversations import Conversation
from tertulia.memory.history.base import HistoryProvider
from tertulia.memory.sessions import ProviderSession
from tertulia.memory.states import States

SOURCE: Final = "history:"
"""What the source begins with under which a history provider's own state is kept."""


@dataclass(frozen=True, slots=True)
class HistorySessions:
    """Opens the sessions of one agent for its history providers."""

    states: States
    agent: str
    """The agent's name."""

    @asynccontextmanager
    async def opened(
        self, conversation: Conversation, *, of: HistoryProvider
    ) -> AsyncIterator[ProviderSession]:
        """Give a conversation as a provider sees it; what it leaves in ``session.state`` is stored then.

        Raises :class:`~tertulia.errors.InvalidInput` if that cannot be stored as JSON.
        """
        state = await self.states.open(conversation.tenant, conversation.id, f"{SOURCE}{of.name}")
        whose = [self.agent, conversation.id]
        # A branch begins with the states of what it is one of, which names another place.
        own = state.value["own"] if state.value.get("of") == whose else {}
        session = ProviderSession(
            id=conversation.shown_id,
            agent=self.agent,
            user=conversation.user_id,
            tenant=conversation.tenant,
            state=own,
        )
        try:
            yield session
        finally:
            if own or state.value:
                state.value.update(of=whose, own=own)
                await self.states.keep(state)
