"""The port to history providers: other places than our log where conversations are kept."""

from collections.abc import Collection, Sequence
from typing import Protocol, runtime_checkable

from tertulia.memory.sessions import ProviderSession
from tertulia.messages import Message


@runtime_checkable
class HistoryProvider(Protocol):
    """Keeps what is said in sessions, and gives it back.

    Laws: what ``append`` has returned from is given by every later ``load`` of the same session, also in
    another process if the place is a shared one, and by that of no other session. A session is known
    by tenant, agent, id and user: under one id every user has a session of their own, and so has nobody.
    Messages come back as they were: id, role, content, author, flags, time; numbers and ids of
    runs may be lost. They keep the order of the appends, and their order within each; an append is
    kept altogether or not at all, and two at the same time do not mix. A message whose id the session
    has already is not kept again; messages that say the same under different ids are all kept. One
    object serves any number of sessions. Failures are raised as
    :class:`~tertulia.errors.ProviderError`, with a text that is safe to show; what is unreadable in a
    place is never silently dropped with what is readable. A client that was lent is not closed.
    """

    @property
    def name(self) -> str:
        """Names its state in sessions; one agent has no two providers of one name."""
        return type(self).__name__

    async def load(self, session: ProviderSession) -> list[Message]:
        """Return all messages of a session, oldest first; of an unknown session none."""
        ...

    async def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
        """Keep further messages of a session."""
        ...

    async def close(self) -> None:
        """Let go of what was opened; may be called twice. When it is asked again, it opens again."""
        return


@runtime_checkable
class SupportsRecent(Protocol):
    """A history provider that need not be read from the beginning."""

    async def recent(self, session: ProviderSession, *, limit: int) -> list[Message]:
        """Return the newest ``limit`` messages of a session, oldest of them first."""
        ...


@runtime_checkable
class SupportsForgetting(Protocol):
    """A history provider from which single messages can be taken."""

    async def forget(self, session: ProviderSession, ids: Collection[str]) -> None:
        """Erase the messages of a session that have these ids; those that are not there are no error.

        What was answered or called by one of them stays: whoever shows it mends that. A message that was
        forgotten is not kept again when it is appended once more.
        """
        ...


@runtime_checkable
class SupportsLog(Protocol):
    """A history provider that an agent need not ask, because it stands for a store of ours.

    An agent with such a provider works on that store: the log of its conversations is the history.
    """

    @property
    def store_url(self) -> str:
        """The URL of the store."""
        ...
