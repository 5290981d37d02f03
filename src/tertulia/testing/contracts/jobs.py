"""How every store hands out what is to be done after commits."""

import asyncio
from dataclasses import replace

import pytest

from tertulia.conversations import DEFAULT_TENANT, Claim, Commit, Job, JobStatus, Stop, StoredJob
from tertulia.errors import LeaseLost, NotFound, StopRequested
from tertulia.ids import JOB, OWNER, new_id
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    HOUR_US,
    LATER_US,
    LONG_AGO_US,
    OVER_AT_ONCE,
    a_claimed_run,
    a_conversation,
    a_finish,
    a_job,
    a_submission,
    an_agent,
)

TENANT = DEFAULT_TENANT
THEIRS = 7


@pytest.mark.asyncio
class JobContract:
    """Each job is done at least once, by one owner at a time, or lies there to be looked at."""

    async def test_job_is_stored_with_the_commit_that_wants_it(self, store: Store) -> None:
        claim, job = await _a_run(store), a_job(payload='{"text":"ü"}')

        await store.runs.commit(claim.lease, Commit(jobs=(job,)), None)

        stored = await store.jobs.get(TENANT, job.id)
        assert stored == StoredJob(
            tenant=TENANT,
            job=job,
            status=JobStatus.QUEUED,
            conversation_id=claim.conversation.id,
            run_id=claim.run.id,
            due_at=stored.due_at,
            created_at=stored.created_at,
        )
        assert stored.created_at > 0
        assert await store.jobs.page(TENANT) == [stored]

    async def test_job_is_stored_with_the_end_of_its_run(self, store: Store) -> None:
        claim, job = await _a_run(store), a_job()

        await store.runs.commit(claim.lease, replace(a_finish("answer"), jobs=(job,)), None)

        assert (await store.jobs.get(TENANT, job.id)).status is JobStatus.QUEUED

    async def test_refused_commit_leaves_no_job(self, store: Store) -> None:
        lost, stopped = await _a_run(store), await _a_run(store)
        await store.runs.release([lost.lease])
        await store.runs.stop(TENANT, stopped.run.id, Stop.CANCEL, None)

        with pytest.raises(LeaseLost):
            await store.runs.commit(lost.lease, Commit(jobs=(a_job(),)), None)
        with pytest.raises(StopRequested):
            await store.runs.commit(stopped.lease, Commit(jobs=(a_job(),)), None)

        assert await store.jobs.page(TENANT) == []

    async def test_commit_that_comes_again_does_not_bring_a_finished_job_back(self, store: Store) -> None:
        claim, commit = await _a_run(store), replace(a_finish("answer"), jobs=(a_job(),))
        await store.runs.commit(claim.lease, commit, None)
        [job] = await _claimed(store)
        await store.jobs.finish(job)

        await store.runs.commit(claim.lease, commit, None)

        assert await store.jobs.page(TENANT) == []

    async def test_claimed_job_is_begun(self, store: Store) -> None:
        [stored] = await _stored(store, 1)

        [job] = await _claimed(store)

        assert job == replace(stored, status=JobStatus.RUNNING, attempt=1, due_at=job.due_at)
        assert await store.jobs.get(TENANT, stored.job.id) == job
        assert await _claimed(store) == []

    async def test_only_jobs_of_these_kinds_are_taken(self, store: Store) -> None:
        claim, index, learn, rare = await _a_run(store), a_job("index"), a_job("learn"), a_job("rare")
        await store.runs.commit(claim.lease, Commit(jobs=(index, learn, rare)), None)

        none = await store.jobs.claim(new_id(OWNER), [], limit=9, lease_us=HOUR_US)
        taken = await store.jobs.claim(new_id(OWNER), {"index", "learn", "other"}, limit=9, lease_us=HOUR_US)

        assert (none, [job.job for job in taken]) == ([], [index, learn])
        assert (await store.jobs.get(TENANT, rare.id)).status is JobStatus.QUEUED

    async def test_no_more_than_the_limit_are_taken(self, store: Store) -> None:
        stored = [job.job for job in await _stored(store, 4)]

        taken = [await _claimed(store, limit=limit) for limit in (0, 3, 3, 3)]

        assert [[job.job for job in jobs] for jobs in taken] == [[], stored[:3], stored[3:], []]

    async def test_oldest_due_is_taken_first(self, store: Store) -> None:
        await _stored(store, 4)
        first, second, third, fourth = await _claimed(store)
        for job, due_at in ((first, 3), (second, 1), (third, LATER_US), (fourth, 2)):
            await store.jobs.postpone(job, due_at=due_at, error="busy")

        taken = await _claimed(store)

        assert [job.job for job in taken] == [second.job, fourth.job, first.job]
        assert [job.attempt for job in taken] == [2] * 3

    async def test_job_whose_lease_has_run_out_is_taken_again(self, store: Store) -> None:
        [stored] = await _stored(store, 1)
        await _claimed(store, lease_us=OVER_AT_ONCE)

        [again] = await _claimed(store)

        assert (again.job, again.attempt, again.status) == (stored.job, 2, JobStatus.RUNNING)
        assert await _claimed(store) == []

    async def test_no_job_is_given_to_two(self, store: Store) -> None:
        stored = await _stored(store, 8)

        taken = await asyncio.gather(*[_claimed(store, limit=3) for _ in range(6)])
        taken.append(await _claimed(store))

        ids = [job.job.id for jobs in taken for job in jobs]
        assert sorted(ids) == [job.job.id for job in stored]

    async def test_job_that_is_done_is_gone(self, store: Store) -> None:
        await _stored(store, 2)
        [job] = await _claimed(store, limit=1)

        await store.jobs.finish(job)
        await store.jobs.finish(job)

        with pytest.raises(NotFound):
            await store.jobs.get(TENANT, job.job.id)
        assert len(await store.jobs.page(TENANT)) == 1
        assert len(await _claimed(store)) == 1

    async def test_what_is_said_late_counts_if_nobody_else_has_the_job(self, store: Store) -> None:
        await _stored(store, 3)
        done, failed, dead = await _claimed(store, lease_us=OVER_AT_ONCE)

        await store.jobs.finish(done)
        await store.jobs.postpone(failed, due_at=LATER_US, error="busy")
        await store.jobs.bury(dead, error="broken")

        assert await _claimed(store) == []
        assert [job.status for job in await store.jobs.page(TENANT)] == [JobStatus.QUEUED, JobStatus.DEAD]

    async def test_what_is_said_late_is_ignored_once_somebody_else_has_the_job(self, store: Store) -> None:
        await _stored(store, 1)
        [late] = await _claimed(store, lease_us=OVER_AT_ONCE)
        [held] = await _claimed(store)

        await store.jobs.finish(late)
        await store.jobs.postpone(late, due_at=LONG_AGO_US, error="late")
        await store.jobs.bury(late, error="late")

        assert await store.jobs.get(TENANT, held.job.id) == held
        assert await _claimed(store) == []

    async def test_what_is_said_late_is_ignored_once_somebody_else_has_put_the_job_back(
        self, store: Store
    ) -> None:
        await _stored(store, 1)
        [late] = await _claimed(store, lease_us=OVER_AT_ONCE)
        [held] = await _claimed(store)
        await store.jobs.postpone(held, due_at=LATER_US, error="busy")
        before = await store.jobs.page(TENANT)

        await store.jobs.finish(late)
        await store.jobs.bury(late, error="late")
        await store.jobs.postpone(late, due_at=LONG_AGO_US, error="late")

        assert await store.jobs.page(TENANT) == before
        assert await _claimed(store) == []

    async def test_postponed_job_waits_until_it_is_due(self, store: Store) -> None:
        await _stored(store, 2)
        soon, later = await _claimed(store)

        await store.jobs.postpone(soon, due_at=LONG_AGO_US, error="The model is busy.")
        await store.jobs.postpone(later, due_at=LATER_US, error="The model is busy.")

        kept = await store.jobs.page(TENANT)
        assert kept == [
            replace(soon, status=JobStatus.QUEUED, due_at=LONG_AGO_US, error="The model is busy."),
            replace(later, status=JobStatus.QUEUED, due_at=LATER_US, error="The model is busy."),
        ]
        [again] = await _claimed(store)
        assert (again.job, again.attempt, again.error) == (soon.job, 2, "The model is busy.")

    async def test_buried_job_stays_and_is_not_begun_again(self, store: Store) -> None:
        await _stored(store, 1)
        [job] = await _claimed(store, lease_us=OVER_AT_ONCE)

        await store.jobs.bury(job, error="given up")

        dead = await store.jobs.get(TENANT, job.job.id)
        assert dead == replace(job, status=JobStatus.DEAD, error="given up", due_at=dead.due_at)
        assert await _claimed(store) == []

    async def test_dead_job_is_revived(self, store: Store) -> None:
        await _stored(store, 1)
        [job] = await _claimed(store)
        await store.jobs.bury(job, error="given up")

        revived = await store.jobs.revive(TENANT, job.job.id)
        [again] = await _claimed(store)

        assert (revived.job, revived.status, revived.attempt) == (job.job, JobStatus.QUEUED, 0)
        assert (again.job, again.attempt) == (job.job, 1)
        await store.jobs.finish(again)
        assert await store.jobs.page(TENANT) == []

    async def test_what_is_said_late_is_ignored_after_a_revival_too(self, store: Store) -> None:
        await _stored(store, 1)
        [late] = await _claimed(store, lease_us=OVER_AT_ONCE)
        [buried] = await _claimed(store)
        await store.jobs.bury(buried, error="given up")
        await store.jobs.revive(TENANT, late.job.id)
        [held] = await _claimed(store)

        for claimed in (late, buried):
            await store.jobs.postpone(claimed, due_at=LONG_AGO_US, error="late")
            await store.jobs.bury(claimed, error="late")
            await store.jobs.finish(claimed)

        assert late.attempt == held.attempt
        assert await store.jobs.get(TENANT, late.job.id) == held

    async def test_only_dead_jobs_are_revived(self, store: Store) -> None:
        await _stored(store, 3)
        running, postponed = await _claimed(store, limit=2)
        await store.jobs.postpone(postponed, due_at=LATER_US, error="busy")
        before = await store.jobs.page(TENANT)

        revived = [await store.jobs.revive(TENANT, job.job.id) for job in before]

        assert revived == before == await store.jobs.page(TENANT)
        assert revived[0] == running

    async def test_unknown_jobs_are_not_found(self, store: Store) -> None:
        for job_id in (new_id(JOB), "nope", ""):
            for asked in (store.jobs.get(TENANT, job_id), store.jobs.revive(TENANT, job_id)):
                with pytest.raises(NotFound):
                    await asked

    async def test_jobs_are_listed_in_order_by_status(self, store: Store) -> None:
        await _stored(store, 5)
        running, dead, *_ = await _claimed(store, limit=2)
        await store.jobs.bury(dead, error="given up")
        every = await store.jobs.page(TENANT)

        assert [job.status.value for job in every] == ["running", "dead", "queued", "queued", "queued"]
        assert await store.jobs.page(TENANT, status=JobStatus.QUEUED) == every[2:]
        assert await store.jobs.page(TENANT, status=JobStatus.RUNNING) == [running]
        assert await store.jobs.page(TENANT, status=JobStatus.DEAD) == every[1:2]
        assert await store.jobs.page(TENANT, limit=2) == every[:2]
        assert await store.jobs.page(TENANT, after=every[1].job.id, limit=2) == every[2:4]
        after = await store.jobs.page(TENANT, status=JobStatus.QUEUED, after=every[2].job.id)
        assert after == every[3:]

    async def test_jobs_of_every_tenant_are_taken(self, store: Store) -> None:
        ours, theirs = [(await _stored(store, 1, tenant=tenant))[0] for tenant in (TENANT, THEIRS)]

        taken = await _claimed(store)
        await store.jobs.finish(next(job for job in taken if job.tenant == TENANT))

        assert [(job.tenant, job.job) for job in taken] == [(TENANT, ours.job), (THEIRS, theirs.job)]
        assert await store.jobs.page(TENANT) == []
        assert len(await store.jobs.page(THEIRS)) == 1

    async def test_jobs_of_others_are_not_there(self, store: Store) -> None:
        [ours] = await _stored(store, 1)
        [claimed] = await _claimed(store)
        stolen = replace(claimed, tenant=THEIRS)

        await store.jobs.finish(stolen)
        await store.jobs.postpone(stolen, due_at=LONG_AGO_US, error="stolen")
        await store.jobs.bury(stolen, error="stolen")

        for asked in (store.jobs.get(THEIRS, ours.job.id), store.jobs.revive(THEIRS, ours.job.id)):
            with pytest.raises(NotFound):
                await asked
        assert await store.jobs.page(THEIRS) == []
        assert await store.jobs.page(TENANT) == [claimed]


async def _a_run(store: Store, *, tenant: int = TENANT) -> Claim:
    agent = await an_agent(store, name=new_id("n"), tenant=tenant)
    return await a_claimed_run(store, a_submission(await a_conversation(store, agent)))


async def _stored(store: Store, count: int, *, tenant: int = TENANT) -> list[StoredJob]:
    """Have jobs stored by one commit."""
    claim = await _a_run(store, tenant=tenant)
    jobs: tuple[Job, ...] = tuple(a_job() for _ in range(count))
    await store.runs.commit(claim.lease, Commit(jobs=jobs), None)
    return [await store.jobs.get(tenant, job.id) for job in jobs]


async def _claimed(store: Store, *, limit: int = 9, lease_us: int = HOUR_US) -> list[StoredJob]:
    return await store.jobs.claim(new_id(OWNER), ["index"], limit=limit, lease_us=lease_us)
