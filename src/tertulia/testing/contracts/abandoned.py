"""How every store has runs stopped whose owners are gone, and may be for ever."""

import pytest

from tertulia.conversations import DEFAULT_TENANT, Claim, Claimant, Commit, Multitask, RunStatus, Stop
from tertulia.errors import LeaseLost
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    CANCELLED,
    HOUR_US,
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_decision,
    a_finish,
    a_frame,
    a_queued_run,
    a_step,
    a_submission,
    a_wait,
    a_waiting_run,
    all_kept,
)

TENANT = DEFAULT_TENANT
WISHES = [Stop.INTERRUPT, Stop.CANCEL, Stop.KEEP, Stop.ROLLBACK]


@pytest.mark.asyncio
class AbandonedContract:
    """Nobody has to come for a run that is to stop: it ends without its owner once its lease is over."""

    async def test_run_that_was_asked_to_stop_ends_once_its_lease_has_run_out(self, store: Store) -> None:
        old = await _a_run(store)
        await store.runs.stop(TENANT, old.run.id, Stop.KEEP, None)
        await store.runs.renew([old.lease], lease_us=OVER_AT_ONCE)

        stopped = await store.runs.stop(TENANT, old.run.id, Stop.INTERRUPT, None)

        assert (stopped.run.status, stopped.run.stop) == (RunStatus.CANCELLED, Stop.KEEP)

    @pytest.mark.parametrize("how", WISHES)
    async def test_run_that_nobody_carries_out_any_more_ends_at_once(self, store: Store, how: Stop) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        gone = a_claimant(lease_us=OVER_AT_ONCE)
        old = await a_claimed_run(store, a_submission(conversation, "U1"), claimant=gone)
        await store.runs.commit(old.lease, Commit(steps=(a_step(),)), None)
        queued = await a_queued_run(store, a_submission(conversation, "U2"))

        stopped = await store.runs.stop(TENANT, old.run.id, how, claimant)

        run = stopped.run
        assert (run.id, run.status, run.stop) == (old.run.id, RunStatus.CANCELLED, how)
        assert run.ended_at is not None
        assert run.failure is not None
        assert run.failure.code == "run_cancelled"
        assert stopped.next is not None
        assert (stopped.next.run.id, stopped.next.input.number) == (queued.run.id, 2)
        assert await store.runs.get(TENANT, run.id) == run
        assert [step.output for step in await store.runs.steps(TENANT, run.id)] == [""]
        assert await store.runs.claim(a_claimant(), limit=9) == []

    async def test_who_comes_back_to_a_run_that_was_ended_meanwhile_has_lost_it(self, store: Store) -> None:
        old = await _a_run(store, a_claimant(lease_us=OVER_AT_ONCE))
        await store.runs.stop(TENANT, old.run.id, Stop.CANCEL, None)
        before = await all_kept(store, old.conversation)

        for commit in (Commit(), Commit(ending=CANCELLED), a_finish("zombie"), Commit(wait=a_wait())):
            with pytest.raises(LeaseLost):
                await store.runs.commit(old.lease, commit, None)
        await store.runs.release([old.lease])

        assert await store.runs.renew([old.lease], lease_us=HOUR_US) == set()
        assert await store.runs.asked([old.lease]) == {}
        assert await store.runs.record([(old.lease, a_frame())]) == set()
        assert await all_kept(store, old.conversation) == before

    async def test_run_that_was_given_back_ends_at_once(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
        await store.runs.release([claim.lease])

        stopped = await store.runs.stop(TENANT, claim.run.id, Stop.CANCEL, a_claimant())

        assert (stopped.run.status, stopped.next) == (RunStatus.CANCELLED, None)
        assert await store.runs.claim(a_claimant(), limit=9) == []

    @pytest.mark.parametrize("multitask", ["interrupt", "rollback"])
    async def test_run_that_nobody_carries_out_any_more_makes_room_at_once(
        self, store: Store, multitask: Multitask
    ) -> None:
        conversation, gone = await a_conversation(store), a_claimant(lease_us=OVER_AT_ONCE)
        old = await a_claimed_run(store, a_submission(conversation, "U1"), claimant=gone)

        accepted = await store.runs.accept(
            a_submission(conversation, "U2", multitask=multitask), a_claimant()
        )

        assert accepted.stops is None
        assert accepted.claim is not None
        assert accepted.claim.run == accepted.run
        assert (await store.runs.get(TENANT, old.run.id)).status is RunStatus.CANCELLED

    async def test_decided_run_that_nobody_has_taken_ends_at_once(self, store: Store) -> None:
        claim = await a_waiting_run(store, a_submission(await a_conversation(store)))
        await store.runs.decide(TENANT, claim.run.id, a_decision(), a_claimant(performers=()))

        stopped = await store.runs.stop(TENANT, claim.run.id, Stop.CANCEL, None)

        assert stopped.run.status is RunStatus.CANCELLED
        assert await store.runs.claim(a_claimant(), limit=9) == []


async def _a_run(store: Store, claimant: Claimant | None = None) -> Claim:
    return await a_claimed_run(store, a_submission(await a_conversation(store)), claimant=claimant)
