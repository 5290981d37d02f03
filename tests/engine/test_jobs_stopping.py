"""Jobs of a process that stops, or ends, are done elsewhere; one that ends its processes is given up."""

import asyncio
from collections.abc import Collection

import pytest
from typing_extensions import override

from tertulia.conversations import JobStatus, StoredJob
from tertulia.engine.jobs import MAX_ATTEMPTS
from tertulia.messages import now_us
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.in_memory.jobs import InMemoryJobs
from tertulia.stores.in_memory.state import State
from tertulia.testing.builders import OVER_AT_ONCE, a_job
from tests.engine.kit import Gate
from tests.engine.test_jobs import Working, at_rest, some_jobs, wanted


class Slow(InMemoryJobs):
    """A ledger that gives jobs out, and says so when it is let."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.given, self.let = asyncio.Event(), asyncio.Event()

    @override
    async def claim(
        self, owner: str, kinds: Collection[str], *, limit: int, lease_us: int
    ) -> list[StoredJob]:
        found = await super().claim(owner, kinds, limit=limit, lease_us=lease_us)
        self.given.set()
        await self.let.wait()
        return found


async def begun_and_lost(store: InMemoryStore, *, times: int) -> None:
    """Have so many processes begin what is due, and end before it does."""
    for _ in range(times):
        assert await store.jobs.claim("own_gone", ["index"], limit=9, lease_us=OVER_AT_ONCE)


@pytest.mark.parametrize(("lost", "given"), [(MAX_ATTEMPTS - 1, 1), (MAX_ATTEMPTS, 0)])
async def test_job_that_ends_its_processes_is_given_up_without_being_begun_again(
    lost: int, given: int
) -> None:
    store, job, worker = InMemoryStore(), a_job(), Working()
    other = a_job("summarise")
    await wanted(store, job, other)
    await begun_and_lost(store, times=lost)
    jobs = some_jobs(store, {"index": worker, "summarise": (witness := Working())})

    jobs.start()
    await witness.reached()
    await at_rest(jobs)
    await jobs.stop()

    left = await store.jobs.page(0)
    assert len(worker.given) == given
    assert [(dead.job, dead.status) for dead in left] == [(job, JobStatus.DEAD)] * (1 - given)
    assert all("processes ended" in (dead.error or "") for dead in left)


async def test_job_that_is_cut_short_at_a_stop_can_be_done_elsewhere_at_once() -> None:
    store, job, gate = InMemoryStore(), a_job(), Gate()
    await wanted(store, job)

    async def do(_job: StoredJob) -> None:
        await gate()

    jobs = some_jobs(store, {"index": Working(do)})
    jobs.start()
    await gate.reached()
    await jobs.stop()

    left = await store.jobs.get(0, job.id)
    [again] = await store.jobs.claim("own_heir", ["index"], limit=1, lease_us=1)
    assert (left.status, left.error) == (JobStatus.QUEUED, "its process was stopped")
    assert left.due_at <= now_us()
    assert (again.job, again.attempt) == (job, 2)


async def test_job_that_comes_while_a_process_stops_is_given_back_at_once() -> None:
    store, job, worker = InMemoryStore(), a_job(), Working()
    await wanted(store, job)
    slow = store._jobs = Slow(store.jobs._state)
    jobs = some_jobs(store, {"index": worker})

    jobs.start()
    await slow.given.wait()
    stopping = asyncio.create_task(jobs.stop())
    await asyncio.sleep(0)
    slow.let.set()
    await stopping

    left = await store.jobs.get(0, job.id)
    assert worker.given == []
    assert (left.status, left.attempt) == (JobStatus.QUEUED, 1)
    assert left.due_at <= now_us()


@pytest.mark.parametrize("steps", range(8))
async def test_no_job_is_kept_by_a_process_that_stops_whenever_it_does(steps: int) -> None:
    store, job, gate = InMemoryStore(), a_job(), Gate()
    await wanted(store, job)

    async def do(_job: StoredJob) -> None:
        await gate()

    jobs = some_jobs(store, {"index": Working(do)})
    jobs.start()
    for _ in range(steps):
        await asyncio.sleep(0)
    await jobs.stop()

    assert (await store.jobs.get(0, job.id)).status is JobStatus.QUEUED
