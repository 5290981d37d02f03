"""What a commit wants to have done after it is done, at least once, and given up in the end."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import pytest
from typing_extensions import override

from tertulia import ids
from tertulia.conversations import Commit, Job, JobStatus, StoredJob
from tertulia.engine import ActiveRun, Turn, Worker
from tertulia.engine.jobs import AT_ONCE, LEASE_SECONDS, MAX_ATTEMPTS, MOST_SECONDS, Jobs
from tertulia.engine.leaving import Leaving
from tertulia.errors import InvalidInput, ModelBusy, NotFound, StoreBusy
from tertulia.stores import open_store
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import a_claimed_run, a_conversation, a_job, a_submission
from tests.engine.kit import (
    POLL_SECONDS,
    WITH_JOBS,
    Clock,
    Doing,
    Gate,
    Halting,
    Rounds,
    a_turn,
    an_engine,
    ends,
    submit,
    with_runs,
)


class Working(Worker):
    """Does what it is made of, and notes which jobs it was given."""

    def __init__(self, do: Callable[[StoredJob], Awaitable[object]] | None = None) -> None:
        self._do = do
        self.given: list[StoredJob] = []
        self._came = asyncio.Event()

    @override
    async def do(self, job: StoredJob) -> None:
        self.given.append(job)
        self._came.set()
        if self._do is not None:
            await self._do(job)

    async def reached(self, *, times: int = 1) -> None:
        """Return when so many jobs were given."""
        async with asyncio.timeout(30):
            while len(self.given) < times:
                self._came.clear()
                await self._came.wait()


class TimePasses(Clock):
    """A clock that a test moves on."""

    def let_pass(self, seconds: float) -> None:
        self._now += int(seconds * 1_000_000)


def failing_with(error: Exception) -> Working:
    """Return a worker that never manages."""

    async def do(_job: StoredJob) -> None:
        raise error

    return Working(do)


def some_jobs(
    store: InMemoryStore,
    workers: Mapping[str, Worker],
    rounds: Rounds | None = None,
    *,
    leaving: Leaving | None = None,
) -> Jobs:
    """Return the jobs of one process, whose dice always show the most."""
    return Jobs(
        store.jobs,
        ids.new_id(ids.OWNER),
        workers,
        leaving=leaving or Leaving(),
        poll_seconds=POLL_SECONDS,
        pause=rounds or Rounds(chores=1),
        dice=lambda: 1.0,
    )


async def wanted(store: InMemoryStore, *jobs: Job) -> None:
    """Have jobs stored with a turn."""
    claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
    await store.runs.commit(claim.lease, Commit(jobs=jobs), None)


async def at_rest(jobs: Jobs) -> None:
    """Return when no job is under way."""
    while jobs._under_way:
        await asyncio.gather(*jobs._under_way, return_exceptions=True)


def wanting(*jobs: Job) -> Doing:
    """Return a performer whose turn wants these jobs done."""

    async def perform(_run: ActiveRun) -> Turn:
        return replace(a_turn(), jobs=jobs)

    return Doing(perform)


@pytest.mark.parametrize("url", ["memory://", "sqlite"])
async def test_job_is_done_once_what_wants_it_is_kept(url: str, sqlite_url: str) -> None:
    store, worker, job = (
        open_store(sqlite_url if url == "sqlite" else url),
        Working(),
        a_job(payload='{"n":1}'),
    )
    await store.open()

    async with an_engine(store, wanting(job), workers={"index": worker}) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await ticket.finished()
        await worker.reached()
        await at_rest(engine._jobs)
        left = await store.jobs.page(0)
    await store.close()

    [given] = worker.given
    assert (given.job, given.run_id, given.attempt) == (job, ticket.run.id, 1)
    assert left == []


async def test_job_is_not_done_before_what_wants_it_is_kept() -> None:
    store, worker = InMemoryStore(), Working()
    runs = with_runs(store, Halting(store.runs._state, ends))
    rounds = Rounds(WITH_JOBS)

    async with an_engine(store, wanting(a_job()), rounds, workers={"index": worker}) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await runs.reached.wait()
        await rounds.look()
        before = list(worker.given)
        runs.let.set()
        await ticket.finished()
        await worker.reached()

    assert before == []


async def test_job_that_fails_is_tried_again_later_and_later(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, rounds, worker = TimePasses(), Rounds(chores=1), failing_with(ModelBusy("come back later"))
    monkeypatch.setattr("tertulia.engine.jobs.now_us", clock)
    store, waits = InMemoryStore(now=clock), list[float]()
    job = a_job()
    await wanted(store, job)
    jobs = some_jobs(store, {"index": worker}, rounds)

    jobs.start()
    for attempt in range(1, MAX_ATTEMPTS):
        await worker.reached(times=attempt)
        await at_rest(jobs)
        stored = await store.jobs.get(0, job.id)
        assert (stored.status, stored.error) == (JobStatus.QUEUED, "come back later")
        waits.append((stored.due_at - clock()) / 1_000_000)
        clock.let_pass(waits[-1])
        jobs.look()
    await worker.reached(times=MAX_ATTEMPTS)
    await at_rest(jobs)
    await jobs.stop()

    dead = await store.jobs.get(0, job.id)
    assert waits == [2.0**i for i in range(MAX_ATTEMPTS - 1)]
    assert (dead.status, dead.attempt, len(worker.given)) == (JobStatus.DEAD, MAX_ATTEMPTS, MAX_ATTEMPTS)


async def test_job_is_never_put_off_for_longer_than_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, worker = TimePasses(), failing_with(RuntimeError("a secret"))
    monkeypatch.setattr("tertulia.engine.jobs.now_us", clock)
    monkeypatch.setattr("tertulia.engine.jobs.FIRST_SECONDS", 10 * MOST_SECONDS)
    store, job = InMemoryStore(now=clock), a_job()
    await wanted(store, job)
    jobs = some_jobs(store, {"index": worker})

    jobs.start()
    await worker.reached()
    await at_rest(jobs)
    await jobs.stop()

    stored = await store.jobs.get(0, job.id)
    assert (stored.due_at - clock()) / 1_000_000 == MOST_SECONDS
    assert stored.error == "RuntimeError"


async def test_job_that_can_never_be_done_is_given_up_at_once() -> None:
    store, job, worker = InMemoryStore(), a_job(), failing_with(InvalidInput("no such thing"))
    await wanted(store, job)
    jobs = some_jobs(store, {"index": worker})

    jobs.start()
    await worker.reached()
    await at_rest(jobs)
    await jobs.stop()

    dead = await store.jobs.get(0, job.id)
    assert (dead.status, dead.attempt, dead.error) == (JobStatus.DEAD, 1, "no such thing")


async def test_dead_job_is_done_after_all_if_somebody_wants_it() -> None:
    store, job, rounds = InMemoryStore(), a_job(), Rounds(chores=1)
    answers = iter([InvalidInput("not yet"), None])
    await wanted(store, job)

    async def do(_job: StoredJob) -> None:
        if (error := next(answers)) is not None:
            raise error

    jobs = some_jobs(store, {"index": (worker := Working(do))}, rounds)
    jobs.start()
    await worker.reached()
    await at_rest(jobs)
    await store.jobs.revive(0, job.id)
    jobs.look()
    await worker.reached(times=2)
    await at_rest(jobs)
    await jobs.stop()

    with pytest.raises(NotFound):
        await store.jobs.get(0, job.id)


async def test_job_that_nobody_here_knows_stays_for_others() -> None:
    store, known, unknown, worker = InMemoryStore(), a_job(), a_job("summarise"), Working()
    await wanted(store, unknown, known)
    jobs = some_jobs(store, {"index": worker})

    jobs.start()
    await worker.reached()
    await at_rest(jobs)
    await jobs.stop()

    [left] = await store.jobs.page(0)
    assert (left.job, left.status, left.attempt) == (unknown, JobStatus.QUEUED, 0)


async def test_two_processes_do_each_job_once() -> None:
    store, wants = InMemoryStore(), [a_job() for _ in range(5 * AT_ONCE)]
    await wanted(store, *wants)

    async def do(_job: StoredJob) -> None:
        await asyncio.sleep(0)

    workers = [Working(do), Working(do)]
    both = [some_jobs(store, {"index": worker}) for worker in workers]
    for jobs in both:
        jobs.start()
    async with asyncio.timeout(30):
        while await store.jobs.page(0):  # noqa: ASYNC110  # there is no bell for the last of them
            await asyncio.sleep(0)
    for jobs in both:
        await jobs.stop()

    done = [given.job.id for worker in workers for given in worker.given]
    assert sorted(done) == sorted(job.id for job in wants)
    assert all(worker.given for worker in workers)


async def test_only_some_jobs_are_under_way_at_once() -> None:
    store, gate = InMemoryStore(), Gate()
    await wanted(store, *(a_job() for _ in range(AT_ONCE + 2)))

    async def do(_job: StoredJob) -> None:
        await gate()

    rounds = Rounds(chores=1)
    jobs = some_jobs(store, {"index": (worker := Working(do))}, rounds)
    jobs.start()
    await worker.reached(times=AT_ONCE)
    await rounds.look()
    at_once = len(worker.given)
    gate.open()
    await worker.reached(times=AT_ONCE + 2)
    await at_rest(jobs)
    await jobs.stop()

    assert at_once == AT_ONCE
    assert await store.jobs.page(0) == []


async def test_job_that_is_cut_short_is_done_again() -> None:
    clock, gate = TimePasses(), Gate()
    store, job = InMemoryStore(now=clock), a_job()
    await wanted(store, job)

    async def do(_job: StoredJob) -> None:
        await gate()

    jobs = some_jobs(store, {"index": Working(do)})
    jobs.start()
    await gate.reached()
    await jobs.stop()
    clock.let_pass(LEASE_SECONDS)
    heirs = some_jobs(store, {"index": (worker := Working())})
    heirs.start()
    await worker.reached()
    await at_rest(heirs)
    await heirs.stop()

    assert [given.attempt for given in worker.given] == [2]
    assert await store.jobs.page(0) == []


async def test_job_that_takes_too_long_is_cut_short_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tertulia.engine.jobs.JOB_SECONDS", 0.001)
    store, job, gate = InMemoryStore(), a_job(), Gate()
    await wanted(store, job)

    async def do(_job: StoredJob) -> None:
        await gate()

    jobs = some_jobs(store, {"index": Working(do)})
    jobs.start()
    await gate.reached()
    await at_rest(jobs)
    await jobs.stop()

    stored = await store.jobs.get(0, job.id)
    assert (stored.status, stored.error) == (JobStatus.QUEUED, "TimeoutError")


async def test_worker_that_could_not_read_the_store_is_given_its_job_again() -> None:
    clock = TimePasses()
    store, job, worker = InMemoryStore(now=clock), a_job(), failing_with(StoreBusy())
    await wanted(store, job)
    jobs = some_jobs(store, {"index": worker}, rounds := Rounds(chores=1))

    jobs.start()
    await worker.reached()
    await at_rest(jobs)
    clock.let_pass(LEASE_SECONDS)
    await rounds.look()
    await worker.reached(times=2)
    await jobs.stop()

    assert [given.attempt for given in worker.given] == [1, 2]


async def test_job_of_one_that_fails_is_not_the_others() -> None:
    store, bad, good = InMemoryStore(), a_job(payload='"bad"'), a_job(payload='"good"')
    await wanted(store, bad, good)

    async def do(job: StoredJob) -> None:
        if job.job.id == bad.id:
            raise ZeroDivisionError

    jobs = some_jobs(store, {"index": (worker := Working(do))})
    jobs.start()
    await worker.reached(times=2)
    await at_rest(jobs)
    await jobs.stop()

    assert [left.job for left in await store.jobs.page(0)] == [bad]


async def test_process_without_workers_takes_no_jobs() -> None:
    store, job = InMemoryStore(), a_job()
    await wanted(store, job)
    jobs = some_jobs(store, {})

    jobs.start()
    jobs.look()
    await asyncio.sleep(0)
    await jobs.stop()

    assert (await store.jobs.get(0, job.id)).attempt == 0


async def test_process_that_takes_its_leave_begins_no_job() -> None:
    store, job, leaving, rounds = InMemoryStore(), a_job(), Leaving(), Rounds(chores=1)
    await wanted(store, job)
    jobs = some_jobs(store, {"index": Working()}, rounds, leaving=leaving)

    leaving.is_stopping = True
    jobs.start()
    await rounds.look()
    await jobs.stop()

    assert (await store.jobs.get(0, job.id)).attempt == 0
