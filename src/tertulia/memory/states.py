"""What providers keep of sessions and users, opened for a run and kept after it."""

from dataclasses import dataclass
from enum import Enum
from math import isfinite
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

import orjson

from tertulia.errors import InvalidInput, VersionMoved
from tertulia.stores.base import StateStore
from tertulia.stores.states import USER_SCOPE

COPIED_SOURCE: Final = "copied:"
"""What the source begins with under which it is kept how far a history provider was told."""
MAX_STATE: Final = 1_000_000
"""Bytes of one state at most, as JSON."""

# What would come back as something else is handed on, and nobody takes it: that is an error then.
_STRICTLY: Final = (
    orjson.OPT_STRICT_INTEGER
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)


@dataclass(slots=True)
class OpenState:
    """A provider's state as it is worked with: ``value`` is changed in place."""

    tenant: int
    scope: str
    source: str
    value: dict[str, Any]
    version: int
    kept: bytes
    """As it is stored."""


class States:
    """Opens and keeps the states of providers."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    async def open(self, tenant: int, scope: str, source: str) -> OpenState:
        """Return a state as it stands; an empty one if there is none."""
        found = await self._store.get(tenant, scope, source)
        value = {} if found is None else orjson.loads(found.value)
        version = 0 if found is None else found.version
        return OpenState(tenant, scope, source, value, version, orjson.dumps(value))

    async def keep(self, state: OpenState) -> bool:
        """Store a state if it has changed; return whether it is as stored now.

        It is not if somebody else has changed it meanwhile: theirs stays. Raises
        :class:`~tertulia.errors.InvalidInput` as :func:`encode_state` does.
        """
        encoded = encode_state(state.value, source=state.source)
        if encoded == state.kept:
            return True
        try:
            state.version = await self._store.put(
                state.tenant, state.scope, state.source, encoded.decode(), expected_version=state.version
            )
        except VersionMoved:
            return False
        state.kept = encoded
        return True


def encode_state(value: dict[str, Any], *, source: str) -> bytes:
    """Return a state as JSON, from which it comes back equal, tuples as lists.

    Raises :class:`~tertulia.errors.InvalidInput` if it is more than JSON can say, or too large.
    """
    try:
        encoded = orjson.dumps(value, option=_STRICTLY)
        _check_values(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"the state of {source!r} cannot be kept: it must be JSON values all through (texts, numbers, "
            f"true, false, null, lists, objects with texts as keys): {error}"
        ) from error
    if len(encoded) > MAX_STATE:
        raise InvalidInput(
            f"the state of {source!r} cannot be kept: it has {len(encoded)} bytes, and may have {MAX_STATE}"
        )
    return encoded


def user_scope(agent: str, user: str) -> str:
    """Return the scope of what providers keep of a user in all sessions with an agent."""
    # No colon is left in the agent's name, so that no other agent and user have the same scope.
    return f"{USER_SCOPE}{quote(agent, safe='')}:{user}"


async def forget_user(store: StateStore, *, tenant: int, agent: str, user: str) -> int:
    """Take away what all providers keep of a user with an agent; return how many states there were.

    What they keep of the user's sessions goes with those, and what they keep elsewhere stays there.
    """
    return await store.forget(tenant, user_scope(agent, user))


def _check_values(value: object) -> None:
    """Raise :class:`TypeError` for what JSON would take, and give back as something else."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            left += each.values()
        elif isinstance(each, list | tuple):
            left += each
        elif isinstance(each, UUID | Enum):
            raise TypeError(f"Type is not JSON serializable: {type(each).__name__}")
        elif isinstance(each, float) and not isfinite(each):
            raise TypeError("a number is not finite")
