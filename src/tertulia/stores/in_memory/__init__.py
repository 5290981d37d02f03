"""A store in the memory of one process: the whole contract but durability."""

from collections.abc import Callable
from typing import Self

from typing_extensions import override

from tertulia.conversations import Conversation
from tertulia.errors import StoreBusy
from tertulia.messages import now_us
from tertulia.stores.base import Health, Store, StoreOptions, SupportsTaking, Taken
from tertulia.stores.in_memory import taking
from tertulia.stores.in_memory.agents import InMemoryAgents
from tertulia.stores.in_memory.conversations import InMemoryConversations
from tertulia.stores.in_memory.documents import InMemoryDocuments
from tertulia.stores.in_memory.jobs import InMemoryJobs
from tertulia.stores.in_memory.runs import InMemoryRuns
from tertulia.stores.in_memory.state import State
from tertulia.stores.in_memory.states import InMemoryStates


class InMemoryStore(Store, SupportsTaking):
    """Keeps everything for as long as the process lives; for tests, trials and programs that forget.

    ``now`` is the clock that leases, idempotency keys and jobs are measured with: microseconds since 1970.
    """

    def __init__(self, *, now: Callable[[], int] = now_us) -> None:
        self._state = state = State(now=now)
        self._agents = InMemoryAgents(state)
        self._conversations = InMemoryConversations(state)
        self._runs = InMemoryRuns(state)
        self._jobs = InMemoryJobs(state)
        self._states = InMemoryStates(state)
        self._documents = InMemoryDocuments(state)

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

    @property
    @override
    def states(self) -> InMemoryStates:
        return self._states

    @property
    @override
    def documents(self) -> InMemoryDocuments:
        return self._documents

    @override
    def take(self, tenant: int, conversation_id: str) -> Taken:
        with self._state.lock:
            return taking.take(self._state.rooms[tenant], conversation_id)

    @override
    def put_in(self, taken: Taken) -> Conversation:
        with self._state.lock:
            room = self._state.rooms[taken.conversation.tenant]
            return taking.put_in(room, taken, now=self._state.now())

    @override
    def drop(self, tenant: int, conversation_id: str) -> None:
        # Whoever collects garbage calls this at any moment, perhaps while this thread has the lock.
        if not self._state.lock.acquire(blocking=False):
            raise StoreBusy("the memory is being written to; ask again")
        try:
            taking.drop(self._state.rooms[tenant], conversation_id)
        finally:
            self._state.lock.release()

    @override
    async def open(self) -> None:
        """There is nothing to connect to."""

    @override
    async def close(self) -> None:
        """There is nothing to let go of; what is kept stays as long as this object."""

    @override
    async def health(self) -> Health:
        return Health(ready=True, detail="in memory; nothing outlives this process")
