"""The port to states: what providers keep beside the log.

The laws of :mod:`tertulia.stores.base` hold here too.
"""

from dataclasses import dataclass
from typing import Final, Protocol

USER_SCOPE: Final = "user:"
"""What the scope of a user begins with; all others are ids of conversations."""
VIEW_SOURCE: Final = "view:"
"""What a source is named by that keeps what is derived from messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptState:
    """What a provider keeps of a conversation or a user."""

    value: str
    """JSON text."""
    version: int
    """Counts its changes, from 1."""


class StateStore(Protocol):
    """What providers keep beside the log: one JSON text for each scope and source.

    A scope is the id of a conversation, or ``user:`` and a user's id; a source names a provider.

    Laws: a branch that begins at its source's head begins with the states of that conversation, and
    goes its own way then; one that begins earlier has none. What a source whose name begins with
    ``view:`` keeps is derived from messages: it goes for every conversation whose version rises
    because a message was marked, in that transaction. States of a conversation go with it.
    """

    async def get(self, tenant: int, scope: str, source: str) -> KeptState | None:
        """Return a state; ``None`` if there is none."""
        ...

    async def put(
        self, tenant: int, scope: str, source: str, value: str | None, *, expected_version: int
    ) -> int:
        """Write a state, or take it away (``None``); return its version now, 0 if it is gone.

        ``expected_version`` is the one that was read, 0 for none: raises
        :class:`~tertulia.errors.VersionMoved` if it is another by now. Raises ``NotFound`` if the scope
        is a conversation that is not there.
        """
        ...

    async def all_of(self, tenant: int, scope: str) -> dict[str, KeptState]:
        """Return all states of a scope, by source."""
        ...

    async def forget(self, tenant: int, scope: str) -> int:
        """Take away all states of a scope; return how many there were."""
        ...
