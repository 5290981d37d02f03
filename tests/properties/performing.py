"""What those who carry out runs and jobs do to a store."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tertulia.conversations import Claim, Commit, Ending, Frame, Lease, StoredJob, Wait
from tertulia.errors import LeaseLost
from tertulia.ids import OWNER, new_id
from tertulia.stores import Store
from tertulia.testing.builders import (
    CANCELLED,
    COMPLETED,
    FAILED,
    HOUR_US,
    LATER_US,
    LONG_AGO_US,
    OVER_AT_ONCE,
)
from tests.properties.agreeing import Agreeing
from tests.properties.wishes import Wanted, backs, claimants, commits, frames, present, waits

leases_us = st.sampled_from([HOUR_US, OVER_AT_ONCE])


class Performing(Agreeing):
    """The rules of those who perform."""

    @precondition(lambda self: self.leases)
    @rule(back=backs, commit=commits, wanted=claimants)
    def commit_by_one_of_the_newest(self, back: int, commit: Commit, wanted: Wanted | None) -> None:
        self.commit(self.newest_leases(back)[0], commit, wanted)

    @precondition(lambda self: self.leases)
    @rule(back=backs, ending=st.sampled_from([COMPLETED, FAILED, CANCELLED]), wanted=claimants)
    def end_one_of_the_newest(self, back: int, ending: Ending, wanted: Wanted | None) -> None:
        self.commit(self.newest_leases(back)[0], Commit(ending=ending), wanted)

    @precondition(lambda self: self.leases)
    @rule(back=backs, commit=commits, wait=waits)
    def let_one_of_the_newest_wait(self, back: int, commit: Commit, wait: Wait) -> None:
        lease = self.newest_leases(back)[0]

        self.wait(lease, commit, wait)

    def wait(self, lease: Lease, commit: Commit, wait: Wait) -> None:
        self.commit(lease, replace(commit, ending=None, wait=wait), None)
        self.waits.append(lease.run_id)

    @precondition(lambda self: self.spent)
    @rule(back=backs, commit=commits, wanted=claimants)
    def commit_too_late(self, back: int, commit: Commit, wanted: Wanted | None) -> None:
        self.commit(self.newest(self.spent, back), commit, wanted)

    @precondition(lambda self: self.written)
    @rule(back=backs, wanted=claimants)
    def commit_again(self, back: int, wanted: Wanted | None) -> None:
        lease, commit = self.newest(self.written, back)

        self.commit(lease, commit, wanted)

    def newest_leases(self, back: int) -> list[Lease]:
        """Return the last leases that were given, beginning ``back`` from the end."""
        return self.leases[-1 - back :]

    def commit(self, lease: Lease, commit: Commit, wanted: Wanted | None) -> None:
        commit = replace(commit, jobs=tuple(replace(job, kind=self.job_kind) for job in commit.jobs))
        claimant = self.somebody(wanted)

        committed = self.both(lambda s: s.runs.commit(lease, commit, claimant))

        is_over = self.refusal is LeaseLost or (committed and (commit.ending or commit.wait))
        if is_over and lease in self.leases:
            self.leases.remove(lease)
            self.spent.append(lease)
        if committed is not None:
            self.hold(committed.next)
            self.written.append((lease, commit))
            self.jobs.extend(job.id for job in commit.jobs)
        self.touched = (lease.conversation_id, lease.run_id)

    @precondition(lambda self: self.runs)
    @rule(wanted=present, suspects=st.sampled_from([False, False, True]), back=st.none() | backs)
    def claim(self, wanted: Wanted, suspects: bool, back: int | None) -> None:
        claimant = self.claimant(wanted)
        busy_with = set() if back is None else {lease.run_id for lease in self.newest_leases(back)}

        async def ask(store: Store) -> list[Claim]:
            claims = await store.runs.claim(claimant, limit=100, busy_with=busy_with, suspects=suspects)
            return sorted(claims, key=lambda claim: claim.run.id)

        self.hold(*self.both(ask) or [])

    @precondition(lambda self: self.leases)
    @rule(back=backs, lease_us=leases_us)
    def renew(self, back: int, lease_us: int) -> None:
        leases = self.newest_leases(back)

        self.both(lambda s: s.runs.renew(leases, lease_us=lease_us))

    @precondition(lambda self: self.leases)
    @rule(back=backs)
    def release(self, back: int) -> None:
        leases = self.newest_leases(back)[:2]

        self.both(lambda s: s.runs.release(leases))

    @precondition(lambda self: self.leases)
    @rule(back=backs)
    def learn_what_is_to_stop(self, back: int) -> None:
        leases = self.newest_leases(back) + self.spent[-1:]

        self.both(lambda s: s.runs.asked(leases))

    @precondition(lambda self: self.leases)
    @rule(back=backs, told=st.lists(frames, min_size=1, max_size=4))
    def record(self, back: int, told: list[Frame]) -> None:
        leases = self.newest_leases(back) + self.spent[-1:]
        events = [(leases[i % len(leases)], frame) for i, frame in enumerate(told)]

        self.both(lambda s: s.runs.record(events))

        self.touched = (leases[0].conversation_id, leases[0].run_id)

    @precondition(lambda self: self.jobs)
    @rule(limit=st.integers(1, 3), lease_us=leases_us)
    def claim_jobs(self, limit: int, lease_us: int) -> None:
        owner = new_id(OWNER)

        answers = self.each(lambda s: s.jobs.claim(owner, [self.job_kind], limit=limit, lease_us=lease_us))

        assert answers is not None
        self.claimed.extend(zip(*answers, strict=True))

    @precondition(lambda self: self.claimed)
    @rule(back=backs)
    def finish_job(self, back: int) -> None:
        self.say_of_job(back, lambda s, job: s.jobs.finish(job))

    @precondition(lambda self: self.claimed)
    @rule(back=backs, due_at=st.sampled_from([LONG_AGO_US, LATER_US]))
    def postpone_job(self, back: int, due_at: int) -> None:
        self.say_of_job(back, lambda s, job: s.jobs.postpone(job, due_at=due_at, error="busy"))

    @precondition(lambda self: self.claimed)
    @rule(back=backs)
    def bury_job(self, back: int) -> None:
        self.say_of_job(back, lambda s, job: s.jobs.bury(job, error="given up"))

    def say_of_job(self, back: int, say: Callable[[Store, StoredJob], Awaitable[None]]) -> None:
        """Say to each store something of a job as that one has handed it out."""
        claimed = self.newest(self.claimed, back)

        self.both(lambda s: say(s, claimed[self.stores.index(s)]))

        self.look_at_job(claimed[0].job.id)

    @precondition(lambda self: self.jobs)
    @rule(back=backs)
    def revive_job(self, back: int) -> None:
        job_id = self.newest(self.jobs, back)

        self.both(lambda s: s.jobs.revive(self.tenant, job_id))

    def look_at_job(self, job_id: str) -> None:
        self.both(lambda s: s.jobs.get(self.tenant, job_id))
