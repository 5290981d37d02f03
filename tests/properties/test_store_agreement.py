"""Every store gives the answers of the in-memory one, whatever is done to it in whatever order."""

from dataclasses import replace
from functools import partial

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from tertulia.conversations import Commit, JobStatus, Wait
from tertulia.messages import Flag
from tertulia.stores import open_store
from tertulia.testing.builders import COMPLETED, FAILED
from tests.properties.asking import Asking
from tests.properties.keeping import Keeping
from tests.properties.performing import Performing
from tests.properties.wishes import (
    Fork,
    Request,
    Wanted,
    backs,
    commits,
    flags,
    forks,
    places,
    plain_requests,
    present,
    waits,
)

limits = st.sampled_from([1, 2, 100])


class Agreement(Asking, Performing, Keeping):
    """Callers, performers and keepers together, and those who look on."""

    @precondition(lambda self: self.leases)
    @rule(back=backs, wanted=present)
    def fail_and_retry(self, back: int, wanted: Wanted) -> None:
        lease = self.newest_leases(back)[0]
        self.commit(lease, Commit(ending=FAILED), None)
        self.retry(lease.run_id, wanted)

    @rule(request=plain_requests, commit=commits)
    def ask_and_answer_any(self, request: Request, commit: Commit) -> None:
        self.ask_and_answer(request, commit)

    def ask_and_answer(self, request: Request, commit: Commit) -> None:
        accepted = self.submit(self.submission(request), Wanted())

        if accepted is not None and accepted.claim is not None:
            self.commit(accepted.claim.lease, replace(commit, ending=COMPLETED), None)

    @rule(request=plain_requests, commit=commits, fork=forks, flag=st.none() | flags)
    def ask_and_fork(self, request: Request, commit: Commit, fork: Fork, flag: Flag | None) -> None:
        self.ask_and_answer(request, commit)

        self.fork_and_mark(replace(fork, place=request.place, is_wild=False, again=None), flag)

    @rule(request=plain_requests, commit=commits, wait=waits)
    def ask_and_wait(self, request: Request, commit: Commit, wait: Wait) -> None:
        accepted = self.submit(self.submission(request), Wanted())

        if accepted is not None and accepted.claim is not None:
            self.wait(accepted.claim.lease, commit, wait)

    @rule(place=places, after=st.integers(0, 6), limit=limits)
    def read_pages(self, place: int, after: int, limit: int) -> None:
        tenant, conversation = self.tenant, self.place(self.conversations, place)

        self.both(lambda s: s.conversations.messages(tenant, conversation, after=after, limit=limit))
        self.both(lambda s: s.conversations.recent(tenant, conversation, upto=after, limit=limit))
        self.both(lambda s: s.runs.page(tenant, conversation, after=after, limit=limit))

    @rule(
        place=places, before=st.none() | places, limit=limits, status=st.none() | st.sampled_from(JobStatus)
    )
    def read_lists(self, place: int, before: int | None, limit: int, status: JobStatus | None) -> None:
        def after(known: list[str]) -> str | None:
            return None if before is None else self.place(known, before)

        agent_id, conversation, run_id, job_id = (
            self.place(self.agents, place),
            after(self.conversations),
            after(self.waits),
            after(self.jobs),
        )

        self.both(lambda s: s.conversations.page(self.tenant, agent_id, after=conversation, limit=limit))
        self.both(lambda s: s.conversations.newest(self.tenant, self.agents, each=limit))
        self.both(lambda s: s.runs.waiting(self.tenant, after=run_id, limit=limit))
        self.both(lambda s: s.jobs.page(self.tenant, status=status, after=job_id, limit=limit))


def test_store_agrees_with_the_reference(store_url: str) -> None:
    class Here(Agreement):
        make_other = partial(open_store, store_url)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
