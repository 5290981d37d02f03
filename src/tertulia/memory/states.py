"""What providers keep of sessions and users, opened for a run and kept after it."""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from tertulia.errors import InvalidInput, VersionMoved
from tertulia.stores.base import StateStore

USER: Final = "user:"
"""What the scope of a user begins with; that of a conversation is its id."""
_INTEGERS: Final = orjson.OPT_STRICT_INTEGER


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
        return OpenState(tenant, scope, source, value, version, encode_state(value, source=source))

    async def keep(self, state: OpenState) -> bool:
        """Store a state if it has changed; return whether it is as stored now.

        It is not if somebody else has changed it meanwhile: theirs stays. Raises
        :class:`~tertulia.errors.InvalidInput` if it cannot be stored as JSON.
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
    """Return a state as JSON; raises :class:`~tertulia.errors.InvalidInput` if it cannot be that."""
    try:
        return orjson.dumps(value, option=_INTEGERS)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"the state of {source!r} cannot be kept: it must be JSON values all through (texts, numbers, "
            f"true, false, null, lists, objects with texts as keys): {error}"
        ) from error
