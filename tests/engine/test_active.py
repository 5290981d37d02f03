"""A run that is carried out says how long it may be silent."""

import asyncio

import pytest
from typing_extensions import override

from tertulia.conversations import Claimant, Commit, Committed, Lease
from tertulia.engine import ActiveRun, StepResult
from tertulia.engine.desk import Desk
from tertulia.engine.leaving import Leaving
from tertulia.engine.live import LiveRun
from tertulia.engine.recording import Recorder
from tertulia.engine.silence import GRACE_SECONDS
from tertulia.errors import StoreBusy
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.in_memory.runs import InMemoryRuns
from tertulia.stores.in_memory.state import State
from tertulia.testing.builders import a_claimed_run, a_conversation, a_submission
from tests.engine.kit import STEP_SECONDS, a_turn, step, with_runs


class Busy(InMemoryRuns):
    """A ledger that has no time for some commits."""

    def __init__(self, state: State, *, times: int) -> None:
        super().__init__(state)
        self._times = times

    @override
    async def commit(self, lease: Lease, commit: Commit, claimant: Claimant | None) -> Committed:
        if self._times:
            self._times -= 1
            raise StoreBusy
        return await super().commit(lease, commit, claimant)


async def an_active_run(store: InMemoryStore, held: list[float]) -> ActiveRun:
    claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
    desk = Desk(
        runs=store.runs,
        conversations=store.conversations,
        recorder=Recorder(store.runs, told=lambda _: None),
        leaving=Leaving(),
        jobs_made=lambda: None,
        pause=lambda _: asyncio.sleep(0),
    )
    return ActiveRun(claim, LiveRun(), desk, hold=held.append, confirm=lambda: asyncio.sleep(0))


async def test_step_may_be_silent_for_as_long_as_it_said_and_a_little_longer() -> None:
    held, meanwhile = list[float](), list[float]()
    run = await an_active_run(InMemoryStore(), held)

    async def work() -> StepResult:
        meanwhile.extend(held)
        return StepResult(output="null")

    await step(run, "turn/1/model/1", work)

    assert meanwhile == [pytest.approx(STEP_SECONDS + GRACE_SECONDS)]
    assert held[-1] == pytest.approx(GRACE_SECONDS)


async def test_run_that_waits_for_its_store_is_not_silent() -> None:
    store, held = InMemoryStore(), list[float]()
    with_runs(store, Busy(store.runs._state, times=30))
    run = await an_active_run(store, held)

    await run.commit_turn(a_turn())

    assert held == [GRACE_SECONDS] * 30
