"""What an engine does beside its runs goes on, whatever comes."""

import asyncio
from collections.abc import Collection

from typing_extensions import override

from tertulia.conversations import Claim, Claimant, Lease, Stop
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
    async def claim(
        self,
        claimant: Claimant,
        *,
        limit: int,
        busy_with: Collection[str] = (),
        suspects: bool = False,
    ) -> list[Claim]:
        if self.faults:
            raise self.faults.pop(0)
        return await super().claim(claimant, limit=limit, busy_with=busy_with, suspects=suspects)


class Idlers:
    """A crew that takes note of what it is told to do, and does nothing."""

    active = 0
    has_suspect = is_leaving = False

    def __init__(self) -> None:
        self.begun: asyncio.Queue[Claim] = asyncio.Queue()
        self.run_ids = set[str]()
        self.leases = list[Lease]()

    def begin(self, claim: Claim) -> None:
        self.begun.put_nowait(claim)

    def stop_run(self, run_id: str, how: Stop) -> None:
        raise AssertionError("nothing to stop")


class Slow(InMemoryRuns):
    """Gives runs out, and says so when it is let."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.given, self.let = asyncio.Event(), asyncio.Event()

    @override
    async def claim(
        self,
        claimant: Claimant,
        *,
        limit: int,
        busy_with: Collection[str] = (),
        suspects: bool = False,
    ) -> list[Claim]:
        claims = await super().claim(claimant, limit=limit, busy_with=busy_with, suspects=suspects)
        if claims:
            self.given.set()
            await self.let.wait()
        return claims


async def test_looking_for_runs_survives_whatever_goes_wrong_with_it() -> None:
    store = InMemoryStore()
    runs = Faltering(store.runs._state, [StoreUnavailable("away"), LookupError("a bad row"), OSError()])
    await store.runs.accept(a_submission(await a_conversation(store)), None)
    crew = Idlers()
    chores = Chores(runs, a_claimant(), crew, pause=lambda _: asyncio.sleep(0))

    chores.start()
    claim = await asyncio.wait_for(crew.begun.get(), 5)
    await chores.stop()

    assert claim.input.number == 1
    assert runs.faults == []


async def test_run_that_comes_while_the_engine_stops_is_given_back_at_once() -> None:
    store = InMemoryStore()
    runs = Slow(store.runs._state)
    accepted = await store.runs.accept(a_submission(await a_conversation(store)), None)
    crew = Idlers()
    chores = Chores(runs, a_claimant(), crew)

    chores.start()
    await runs.given.wait()
    stopping = asyncio.create_task(chores.stop())
    await asyncio.sleep(0)
    runs.let.set()
    await stopping
    [claim] = await store.runs.claim(a_claimant(), limit=9)

    assert crew.begun.empty()
    assert (claim.run.id, claim.run.epoch, claim.run.attempt) == (accepted.run.id, 2, 1)
