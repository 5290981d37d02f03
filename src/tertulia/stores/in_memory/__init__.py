"""A store in the memory of one process: the whole contract but durability."""

from collections.abc import Callable
from typing import Self

from typing_extensions import override

from tertulia.messages import now_us
from tertulia.stores.base import Health, Store, StoreOptions
from tertulia.stores.in_memory.agents import InMemoryAgents
from tertulia.stores.in_memory.conversations import InMemoryConversations
from tertulia.stores.in_memory.jobs import InMemoryJobs
from tertulia.stores.in_memory.runs import InMemoryRuns
from tertulia.stores.in_memory.state import State


class InMemoryStore(Store):
    """Keeps everything for as long as the process lives; for tests, trials and programs that forget.

    ``now`` is the clock that leases, idempotency keys and jobs are measured with: microseconds since 1970.
    """

    def __init__(self, *, now: Callable[[], int] = now_us) -> None:
        state = State(now=now)
        self._agents = InMemoryAgents(state)
        self._conversations = InMemoryConversations(state)
        self._runs = InMemoryRuns(state)
        self._jobs = InMemoryJobs(state)

    @classmethod
    @override
    def from_url(cls, url: str, options: StoreOptions) -> Self:
        return cls()

    @property
    @override
    def agents(self) -> InMemoryAgents:
        return self._agents

    @property
    @override
    def conversations(self) -> InMemoryConversations:
        return self._conversations

    @property
    @override
    def runs(self) -> InMemoryRuns:
        return self._runs

    @property
    @override
    def jobs(self) -> InMemoryJobs:
        return self._jobs

    @override
    async def open(self) -> None:
        """There is nothing to connect to."""

    @override
    async def close(self) -> None:
        """There is nothing to let go of; what is kept stays as long as this object."""

    @override
    async def health(self) -> Health:
        return Health(ready=True, detail="in memory; nothing outlives this process")
