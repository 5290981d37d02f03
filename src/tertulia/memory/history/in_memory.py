"""History in the memory of this process, which may be shown shorter than it is."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from typing_extensions import override

from tertulia.errors import InvalidInput
from tertulia.memory.history.base import HistoryProvider
from tertulia.memory.reducers.base import Reducer
from tertulia.memory.sessions import ProviderSession
from tertulia.messages import Message

ReduceOn: TypeAlias = Literal["read", "write"]
_WHEN: Final = ("read", "write")
_Key: TypeAlias = tuple[int, str, str, str | None]
"""Tenant, agent, id and user."""


@dataclass(slots=True)
class _Kept:
    """One session: everything, and what a reducer has made of its beginning."""

    messages: list[Message] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    """Of all messages that it ever had, and of those that were forgotten."""
    reduced: list[Message] = field(default_factory=list)
    upto: int = 0
    """How many of the messages ``reduced`` stands for."""
    forgets: int = 0
    """How often something was forgotten."""


class InMemoryHistoryProvider(HistoryProvider):
    """Keeps sessions for as long as it lives itself.

    An agent that has it as its history keeps the log of its conversations in this process, and shows
    its models what the reducer makes of it. ``reduce_on`` says when the reducer is asked: at each
    reading, or as soon as something was written; what is read is the same. However much it makes of
    it, everything stays: see :meth:`all`.
    """

    def __init__(self, reducer: Reducer | None = None, reduce_on: ReduceOn = "read") -> None:
        if reduce_on not in _WHEN:
            raise InvalidInput("reduce_on is 'read' or 'write'")
        self.reducer: Final = reducer
        self.reduce_on: Final = reduce_on
        self._sessions: defaultdict[_Key, _Kept] = defaultdict(_Kept)

    @property
    def store_url(self) -> str:
        """The URL of the store on which an agent works that has this history."""
        return "memory://"

    @override
    async def load(self, session: ProviderSession) -> list[Message]:
        """Return the messages of a session as the reducer leaves them."""
        kept = self._sessions.get(_key(session))
        if kept is None:
            return []
        if self.reducer is None:
            return list(kept.messages)
        if self.reduce_on == "read":
            return await self.reducer.reduce(list(kept.messages))
        return await self._reduced(kept, self.reducer)

    async def all(self, session: ProviderSession) -> list[Message]:
        """Return all messages of a session, those too that the reducer leaves out."""
        kept = self._sessions.get(_key(session))
        return [] if kept is None else list(kept.messages)

    @override
    async def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
        """Keep further messages; what then goes wrong in the reducer is raised, and they are kept."""
        kept = self._sessions[_key(session)]
        for message in messages:
            if message.id not in kept.ids:
                kept.ids.add(message.id)
                kept.messages.append(message)
        if self.reducer is not None and self.reduce_on == "write":
            await self._reduced(kept, self.reducer)

    async def forget(self, session: ProviderSession, ids: Collection[str]) -> None:
        """Erase messages of a session; the reducer makes what it has made of them anew."""
        kept = self._sessions[_key(session)]
        kept.ids.update(ids)
        kept.messages = [message for message in kept.messages if message.id not in ids]
        kept.reduced, kept.upto, kept.forgets = [], 0, kept.forgets + 1

    async def _reduced(self, kept: _Kept, reducer: Reducer) -> list[Message]:
        """Return what the reducer makes of a session, going on from what it made of its beginning."""
        while kept.upto < len(kept.messages):
            before, upto, forgets = kept.upto, len(kept.messages), kept.forgets
            reduced = await reducer.reduce([*kept.reduced, *kept.messages[before:upto]])
            # Else somebody else was quicker, or what it was made of is to be forgotten.
            if (kept.upto, kept.forgets) == (before, forgets):
                kept.reduced, kept.upto = reduced, upto
        return list(kept.reduced)


def _key(session: ProviderSession) -> _Key:
    return session.tenant, session.agent, session.id, session.user
