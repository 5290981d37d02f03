"""What an engine does beside its runs goes on, whatever comes."""

import asyncio
from collections.abc import Collection

from typing_extensions import override

from tertulia.conversations import Claim, Claimant
from tertulia.engine.chores import Chores
from tertulia.errors import StoreUnavailable
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.in_memory.runs import InMemoryRuns
from tertulia.stores.in_memory.state import State
from tertulia.testing.builders import a_claimant, a_conversation, a_submission


class Faltering(InMemoryRuns):
    """Fails in one way after another, then works."""

    def __init__(self, state: State, faults: list[Exception]) -> None:
        super().__init__(state)
        self.faults = faults

    @override
    async def claim(self, claimant: Claimant, *, limit: int, busy_with: Collection[str] = ()) -> list[Claim]:
        if self.faults:
            raise self.faults.pop(0)
        return await super().claim(claimant, limit=limit, busy_with=busy_with)


async def test_looking_for_runs_survives_whatever_goes_wrong_with_it() -> None:
    store = InMemoryStore()
    runs = Faltering(store.runs._state, [StoreUnavailable("away"), LookupError("a bad row"), OSError()])
    await store.runs.accept(a_submission(await a_conversation(store)), None)
    found: asyncio.Queue[Claim] = asyncio.Queue()
    chores = Chores(runs, a_claimant(), begin=found.put_nowait, pause=lambda _: asyncio.sleep(0))

    chores.start()
    claim = await asyncio.wait_for(found.get(), 5)
    await chores.stop()

    assert claim.input.number == 1
    assert runs.faults == []
