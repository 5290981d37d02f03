"""What providers keep beside the log, in memory."""

from typing_extensions import override

from tertulia.messages import check_text
from tertulia.stores import rules
from tertulia.stores.in_memory.state import Room, State
from tertulia.stores.states import KeptState, StateStore


class InMemoryStates(StateStore):
    """States of providers, for as long as the process lives."""

    def __init__(self, state: State) -> None:
        self._state = state

    @override
    async def get(self, tenant: int, scope: str, source: str) -> KeptState | None:
        with self._state.lock:
            return _found(self._state.rooms[tenant], scope).get(source)

    @override
    async def put(
        self, tenant: int, scope: str, source: str, value: str | None, *, expected_version: int
    ) -> int:
        for text in (scope, source, value or ""):
            check_text(text, what="what is to be kept")
        with self._state.lock:
            states = _to_write(self._state.rooms[tenant], scope)
            kept = states.get(source)
            rules.check_state(0 if kept is None else kept.version, expected_version)
            if value is None:
                states.pop(source, None)
                return 0
            states[source] = KeptState(value=value, version=expected_version + 1)
            return expected_version + 1

    @override
    async def all_of(self, tenant: int, scope: str) -> dict[str, KeptState]:
        with self._state.lock:
            return dict(sorted(_found(self._state.rooms[tenant], scope).items()))

    @override
    async def forget(self, tenant: int, scope: str) -> int:
        with self._state.lock:
            states = _found(self._state.rooms[tenant], scope)
            count = len(states)
            states.clear()
            return count


def _found(room: Room, scope: str) -> dict[str, KeptState]:
    """Return the states of a scope, to be read or taken away."""
    if rules.is_of_user(scope):
        return room.user_states.get(scope, {})
    log = room.logs.get(scope)
    return {} if log is None else log.states


def _to_write(room: Room, scope: str) -> dict[str, KeptState]:
    """Return the states of a scope; raises ``NotFound`` if it is a conversation that is not there."""
    return room.user_states.setdefault(scope, {}) if rules.is_of_user(scope) else room.log_of_id(scope).states
