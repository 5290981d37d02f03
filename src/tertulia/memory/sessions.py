"""Sessions and runs as providers see them."""

from dataclasses import dataclass, field
from typing import Any

from tertulia.errors import TertuliaError
from tertulia.messages import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSession:
    """A session, or conversation, as one of its providers sees it."""

    id: str
    """The one that its creator chose, if any: the same after a restart, and unique for its agent and
    tenant only."""
    agent: str
    """The agent's name."""
    user: str | None = None
    tenant: int = 0
    state: dict[str, Any] = field(default_factory=dict)
    """This provider's own, for this session: JSON values, kept with it when the provider is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRun:
    """A run as a context provider sees it."""

    id: str
    input: Message
    """What was said, and is to be answered."""
    session: ProviderSession
    user_state: dict[str, Any] = field(default_factory=dict)
    """This provider's own for the session's user, in all sessions with this agent: JSON values, kept
    when the provider is done. Of a session without a user nothing of it is kept."""

    @property
    def agent(self) -> str:
        """The agent's name."""
        return self.session.agent

    @property
    def user(self) -> str | None:
        """Whose session it is."""
        return self.session.user

    @property
    def state(self) -> dict[str, Any]:
        """This provider's own, for this session."""
        return self.session.state


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What has become of a run."""

    request: tuple[Message, ...]
    """What was said to the agent."""
    response: tuple[Message, ...] = ()
    """What was said in answer, uses of tools included; it is kept."""
    error: TertuliaError | None = None
    """What ended the run instead."""
