"""Sessions as history providers see them, each with what that provider keeps of it between its calls."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import orjson

from tertulia.conversations import Conversation
from tertulia.errors import ProviderError
from tertulia.memory.history.base import HistoryProvider
from tertulia.memory.sessions import ProviderSession
from tertulia.memory.states import OpenState, States, encode_state

SOURCE: Final = "history:"
"""What the source begins with under which a history provider's own state is kept."""
_ATTEMPTS: Final = 5
_GONE: Final = object()
_CHANGED: Final = "somebody else has changed its state of the session meanwhile"


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

        Raises :class:`~tertulia.errors.InvalidInput` if that cannot be stored as JSON, and
        :class:`~tertulia.errors.ProviderError` if somebody else has changed the same of it meanwhile.
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
        before: dict[str, Any] = orjson.loads(encode_state(own, source=state.source))
        try:
            yield session
        finally:
            if own or state.value:
                state.value.update(of=whose, own=own)
                await self._keep(state, own=own, before=before)

    async def _keep(self, state: OpenState, *, own: dict[str, Any], before: dict[str, Any]) -> None:
        """Store what a provider has left; where others were quicker, what it has changed goes to theirs.

        Raises :class:`~tertulia.errors.ProviderError` if both have changed the same: what the provider has
        done may stand where nobody finds it again, and is to be done anew.
        """
        mine = {**{name: _GONE for name in before}, **own}
        changed = {name: each for name, each in mine.items() if before.get(name, _GONE) != each}
        whose = state.value["of"]
        for _ in range(_ATTEMPTS):
            if await self.states.keep(state):
                return
            state = await self.states.open(state.tenant, state.scope, state.source)
            theirs = state.value["own"] if state.value.get("of") == whose else {}
            for name, each in changed.items():
                if theirs.get(name, _GONE) not in (each, before.get(name, _GONE)):
                    raise ProviderError(_CHANGED)
            merged = {name: each for name, each in {**theirs, **changed}.items() if each is not _GONE}
            state.value.update(of=whose, own=merged)
        raise ProviderError(_CHANGED)
