"""How every store hands runs from one owner to the next."""

import asyncio
from dataclasses import replace

import pytest

from tertulia.conversations import DEFAULT_TENANT, Claim, Commit, RunStatus
from tertulia.errors import LeaseLost
from tertulia.ids import OWNER, RUN, new_id
from tertulia.stores.base import Store
from tertulia.stores.rules import SUSPECT_ATTEMPTS
from tertulia.testing.builders import (
    HOUR_US,
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_finish,
    a_queued_run,
    a_step,
    a_submission,
    all_texts,
    an_agent,
    an_answer,
)

TENANT = DEFAULT_TENANT


async def _an_abandoned_run(store: Store, text: str = "hello", *, performer: str = "agent") -> Claim:
    """Have a request accepted by somebody whose lease has run out at once."""
    agent = await an_agent(store, name=f"Agent {new_id('n')}")
    conversation = await a_conversation(store, agent)
    gone = a_claimant(lease_us=OVER_AT_ONCE, performers=(performer,))
    return await a_claimed_run(store, a_submission(conversation, text, performer=performer), claimant=gone)


@pytest.mark.asyncio
class LeaseContract:
    """A run has one owner at a time, and never stays without one that could be had."""

    async def test_abandoned_run_is_taken_over(self, store: Store) -> None:
        old = await _an_abandoned_run(store)
        heir = a_claimant()

        [new] = await store.runs.claim(heir, limit=9)

        assert new.run == replace(old.run, epoch=2, attempt=2)
        assert new.lease == replace(old.lease, epoch=2, owner=heir.owner)
        assert (new.input, new.conversation) == (old.input, old.conversation)
        assert await store.runs.get(TENANT, old.run.id) == new.run

    async def test_run_taken_over_comes_with_its_steps(self, store: Store) -> None:
        old = await _an_abandoned_run(store)
        steps = (a_step("turn/1/model/1"), a_step("turn/1/tool/x"))
        await store.runs.commit(old.lease, Commit(steps=steps), None)

        [new] = await store.runs.claim(a_claimant(), limit=9)

        assert new.steps == steps

    async def test_run_that_is_held_is_left_alone(self, store: Store) -> None:
        await a_claimed_run(store, a_submission(await a_conversation(store)))

        assert await store.runs.claim(a_claimant(), limit=9) == []

    async def test_run_that_has_ended_is_left_alone(self, store: Store) -> None:
        old = await _an_abandoned_run(store)
        await store.runs.commit(old.lease, a_finish("answer"), None)

        assert await store.runs.claim(a_claimant(), limit=9) == []

    async def test_attempts_count_claims_since_the_journal_grew(self, store: Store) -> None:
        claim = await _an_abandoned_run(store)
        gone = a_claimant(lease_us=OVER_AT_ONCE)

        attempts = []
        for commit in (None, Commit(steps=(a_step(),)), None, Commit(messages=(an_answer(),)), Commit()):
            if commit is not None:
                await store.runs.commit(claim.lease, commit, None)
            [claim] = await store.runs.claim(gone, limit=9)
            attempts.append(claim.run.attempt)

        assert attempts == [2, 1, 2, 1, 2]
        assert claim.run.epoch == 6

    async def test_run_that_may_end_its_processes_is_looked_for_alone(self, store: Store) -> None:
        suspect, innocent = await _an_abandoned_run(store), await _an_abandoned_run(store)
        gone = a_claimant(lease_us=OVER_AT_ONCE)
        [first, second] = await store.runs.claim(gone, limit=9)
        for claim in (first, second):
            if claim.run.id == innocent.run.id:
                await store.runs.commit(claim.lease, Commit(steps=(a_step(),)), None)
        queued = await a_queued_run(store, a_submission(await a_conversation(store)))

        alone = await store.runs.claim(gone, limit=9, suspects=True)
        again = await store.runs.claim(gone, limit=9, suspects=True)
        others = await store.runs.claim(gone, limit=9)

        assert [(c.run.id, c.run.attempt) for c in alone + again] == [
            (suspect.run.id, 3),
            (suspect.run.id, 4),
        ]
        assert {c.run.id for c in others} == {innocent.run.id, queued.run.id}

    @pytest.mark.parametrize("suspects", [False, True])
    async def test_suspect_that_is_held_is_left_alone(self, store: Store, suspects: bool) -> None:
        await _an_abandoned_run(store)
        [claim] = await store.runs.claim(a_claimant(), limit=9)

        assert claim.run.attempt == SUSPECT_ATTEMPTS
        assert await store.runs.claim(a_claimant(), limit=9, suspects=suspects) == []

    async def test_suspects_go_to_those_who_can_carry_them_out(self, store: Store) -> None:
        old = await _an_abandoned_run(store, performer="rare")
        gone = a_claimant(lease_us=OVER_AT_ONCE, performers=("rare",))
        await store.runs.claim(gone, limit=9)

        assert await store.runs.claim(a_claimant(), limit=9, suspects=True) == []
        assert await store.runs.claim(gone, limit=0, suspects=True) == []
        [claim] = await store.runs.claim(gone, limit=1, suspects=True)

        assert claim.run.id == old.run.id

    async def test_suspect_holds_its_conversation(self, store: Store) -> None:
        old = await _an_abandoned_run(store)
        await a_queued_run(store, a_submission(old.conversation))
        await store.runs.claim(a_claimant(lease_us=OVER_AT_ONCE), limit=9)

        assert await store.runs.claim(a_claimant(), limit=9) == []

    async def test_suspect_that_is_given_back_is_one_no_more(self, store: Store) -> None:
        old = await _an_abandoned_run(store)
        [claim] = await store.runs.claim(a_claimant(), limit=9)

        await store.runs.release([claim.lease])
        [again] = await store.runs.claim(a_claimant(), limit=9)

        assert (again.run.id, again.run.attempt) == (old.run.id, 2)

    async def test_runs_that_one_carries_out_still_are_not_taken_from_oneself(self, store: Store) -> None:
        busy, lost = await _an_abandoned_run(store), await _an_abandoned_run(store)

        [claim] = await store.runs.claim(a_claimant(), limit=9, busy_with={busy.run.id})

        assert claim.run.id == lost.run.id

    async def test_growing_journal_sets_attempts_back_at_once(self, store: Store) -> None:
        claim = await _an_abandoned_run(store)

        await store.runs.commit(claim.lease, Commit(steps=(a_step(),)), None)

        assert (await store.runs.get(TENANT, claim.run.id)).attempt == 0

    async def test_only_those_who_can_carry_a_run_out_get_it(self, store: Store) -> None:
        abandoned = await _an_abandoned_run(store, performer="cook")
        waiting = await a_queued_run(store, a_submission(await a_conversation(store), performer="waiter"))

        assert await store.runs.claim(a_claimant(performers=()), limit=9) == []
        assert await store.runs.claim(a_claimant(performers=("agent",)), limit=9) == []
        [cooks] = await store.runs.claim(a_claimant(performers=("cook", "agent")), limit=9)
        [waiters] = await store.runs.claim(a_claimant(performers=("cook", "waiter")), limit=9)

        assert (cooks.run.id, waiters.run.id) == (abandoned.run.id, waiting.run.id)

    async def test_orphaned_runs_begin_in_order_one_for_each_conversation(self, store: Store) -> None:
        one = await a_conversation(store, await an_agent(store, name="A"))
        two = await a_conversation(store, await an_agent(store, name="B"))
        for text in ("first", "second"):
            for conversation in (one, two):
                await a_queued_run(store, a_submission(conversation, text))
        claimant = a_claimant()

        claims = await store.runs.claim(claimant, limit=9)

        assert {claim.conversation.id for claim in claims} == {one.id, two.id}
        assert len(claims) == 2
        for claim in claims:
            assert (claim.run.n, claim.run.status) == (1, RunStatus.RUNNING)
            assert (claim.run.epoch, claim.run.attempt) == (1, 1)
            assert (claim.input.text, claim.input.number, claim.run.input_number) == ("first", 1, 1)
            assert claim.conversation.head == 1
            assert claim.lease.owner == claimant.owner
            assert await all_texts(store, claim.conversation) == ["first"]
        assert await store.runs.claim(a_claimant(), limit=9) == []

    async def test_runs_never_overtake_one_that_waits_for_its_performer(self, store: Store) -> None:
        conversation = await a_conversation(store)
        first = await a_queued_run(store, a_submission(conversation, performer="rare"))
        await a_queued_run(store, a_submission(conversation))

        assert await store.runs.claim(a_claimant(), limit=9) == []
        [claim] = await store.runs.claim(a_claimant(performers=("rare", "agent")), limit=9)

        assert claim.run.id == first.run.id

    async def test_runs_never_overtake_an_abandoned_one(self, store: Store) -> None:
        old = await _an_abandoned_run(store, performer="rare")
        await a_queued_run(store, a_submission(old.conversation))

        assert await store.runs.claim(a_claimant(), limit=9) == []
        [claim] = await store.runs.claim(a_claimant(performers=("rare", "agent")), limit=9)

        assert claim.run.id == old.run.id

    async def test_claim_takes_no_more_than_its_limit(self, store: Store) -> None:
        abandoned = [(await _an_abandoned_run(store)).run.id for _ in range(3)]
        orphaned = []
        for i in range(3):
            conversation = await a_conversation(store, await an_agent(store, name=f"{i}"))
            orphaned.append((await a_queued_run(store, a_submission(conversation))).run.id)

        claims = [await store.runs.claim(a_claimant(), limit=limit) for limit in (0, 4, 9, 9)]

        assert [len(taken) for taken in claims] == [0, 4, 2, 0]
        assert sorted(c.run.id for taken in claims for c in taken) == sorted(abandoned + orphaned)

    async def test_no_run_is_given_to_two(self, store: Store) -> None:
        for i in range(4):
            await _an_abandoned_run(store)
            conversation = await a_conversation(store, await an_agent(store, name=f"{i}"))
            await a_queued_run(store, a_submission(conversation))

        taken = await asyncio.gather(*[store.runs.claim(a_claimant(), limit=3) for _ in range(6)])
        taken.append(await store.runs.claim(a_claimant(), limit=9))

        ids = [claim.run.id for claims in taken for claim in claims]
        assert len(ids) == len(set(ids)) == 8

    async def test_renewed_run_is_not_taken_over(self, store: Store) -> None:
        old = await _an_abandoned_run(store)

        held = await store.runs.renew([old.lease], lease_us=HOUR_US)

        assert held == {old.run.id}
        assert await store.runs.claim(a_claimant(), limit=9) == []

    async def test_lease_is_renewed_from_now_on(self, store: Store) -> None:
        long_over = a_claimant(lease_us=-HOUR_US)
        late = await a_claimed_run(store, a_submission(await a_conversation(store)), claimant=long_over)

        await store.runs.renew([late.lease], lease_us=HOUR_US // 2)
        renewed = await store.runs.claim(a_claimant(), limit=9)
        await store.runs.renew([late.lease], lease_us=OVER_AT_ONCE)
        [claim] = await store.runs.claim(a_claimant(), limit=9)

        assert renewed == []
        assert claim.run.id == late.run.id

    async def test_lease_is_renewed_for_as_long_as_was_asked(self, store: Store) -> None:
        short = a_claimant(lease_us=20_000)
        held = await a_claimed_run(store, a_submission(await a_conversation(store)), claimant=short)

        await store.runs.renew([held.lease], lease_us=10_000_000)
        await asyncio.sleep(0.1)

        assert await store.runs.claim(a_claimant(), limit=9) == []

    async def test_lease_is_renewed_from_the_loop_of_another_thread(self, store: Store) -> None:
        held, lost = [await _an_abandoned_run(store) for _ in range(2)]
        await store.runs.release([lost.lease])
        leases = [held.lease, lost.lease]

        renewed = await asyncio.to_thread(lambda: asyncio.run(store.runs.renew(leases, lease_us=HOUR_US)))

        assert renewed == {held.run.id}
        [claim] = await store.runs.claim(a_claimant(), limit=9)
        assert claim.run.id == lost.run.id

    async def test_renewing_tells_which_runs_are_still_held(self, store: Store) -> None:
        held, ended, lost = [await _an_abandoned_run(store) for _ in range(3)]
        await store.runs.renew([held.lease, ended.lease], lease_us=HOUR_US)
        await store.runs.claim(a_claimant(), limit=9)
        await store.runs.commit(ended.lease, a_finish("answer"), None)
        unknown = replace(held.lease, run_id=new_id(RUN))

        leases = [lost.lease, held.lease, unknown, ended.lease]

        assert await store.runs.renew(leases, lease_us=HOUR_US) == {held.run.id}
        assert await store.runs.renew([], lease_us=HOUR_US) == set()

    async def test_renewing_by_who_lost_a_run_does_not_touch_its_heir(self, store: Store) -> None:
        lost = await _an_abandoned_run(store)
        [heir] = await store.runs.claim(a_claimant(), limit=9)

        assert await store.runs.renew([lost.lease], lease_us=OVER_AT_ONCE) == set()

        assert await store.runs.claim(a_claimant(), limit=9) == []
        assert await store.runs.renew([heir.lease], lease_us=HOUR_US) == {heir.run.id}

    async def test_run_given_back_is_claimed_at_once_and_does_not_count(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))

        await store.runs.release([claim.lease])
        [again] = await store.runs.claim(a_claimant(), limit=9)

        assert (again.run.id, again.run.epoch, again.run.attempt) == (claim.run.id, 2, 1)
        assert (again.input, again.conversation) == (claim.input, claim.conversation)
        with pytest.raises(LeaseLost):
            await store.runs.commit(claim.lease, a_finish("zombie"), None)

    async def test_handing_over_often_is_no_failed_attempt(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
        await store.runs.commit(claim.lease, Commit(steps=(a_step(),)), None)

        attempts = []
        for _ in range(4):
            await store.runs.release([claim.lease])
            attempts.append((await store.runs.get(TENANT, claim.run.id)).attempt)
            [claim] = await store.runs.claim(a_claimant(), limit=9)

        assert attempts == [0] * 4
        assert (claim.run.epoch, claim.run.attempt) == (5, 1)

    async def test_run_given_back_is_no_longer_held(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))

        await store.runs.release([claim.lease])

        assert await store.runs.renew([claim.lease], lease_us=HOUR_US) == set()
        assert len(await store.runs.claim(a_claimant(), limit=9)) == 1

    async def test_giving_back_what_one_does_not_hold_changes_nothing(self, store: Store) -> None:
        lost = await _an_abandoned_run(store)
        [heir] = await store.runs.claim(a_claimant(), limit=9)
        ended = await a_claimed_run(store, a_submission(await a_conversation(store)))
        await store.runs.commit(ended.lease, a_finish("answer"), None)
        before = await store.runs.get(TENANT, ended.run.id)

        await store.runs.release([lost.lease, ended.lease, replace(lost.lease, run_id=new_id(RUN))])
        await store.runs.release([])

        assert await store.runs.claim(a_claimant(), limit=9) == []
        assert await store.runs.get(TENANT, lost.run.id) == heir.run
        assert await store.runs.get(TENANT, ended.run.id) == before

    async def test_older_lease_of_the_same_owner_gives_nothing_back(self, store: Store) -> None:
        old, owner = await _an_abandoned_run(store), a_claimant()
        [first] = await store.runs.claim(replace(owner, lease_us=OVER_AT_ONCE), limit=9)
        [second] = await store.runs.claim(owner, limit=9, suspects=True)

        await store.runs.release([first.lease])

        assert (old.run.id, first.lease.owner) == (second.run.id, second.lease.owner)
        assert await store.runs.claim(a_claimant(), limit=9, suspects=True) == []
        assert await store.runs.renew([first.lease], lease_us=HOUR_US) == set()
        assert await store.runs.renew([second.lease], lease_us=HOUR_US) == {second.run.id}

    async def test_giving_one_run_back_twice_counts_once(self, store: Store) -> None:
        abandoned = await _an_abandoned_run(store)
        claim, *_ = await store.runs.claim(a_claimant(), limit=9)

        for _ in range(2):
            await store.runs.release([claim.lease])

        assert abandoned.run.attempt == 1
        assert (await store.runs.get(TENANT, claim.run.id)).attempt == 1

    async def test_owners_differ_by_name_only(self, store: Store) -> None:
        claimant = replace(a_claimant(), owner=new_id(OWNER))
        one = await a_conversation(store, await an_agent(store, name="A"))
        two = await a_conversation(store, await an_agent(store, name="B"))

        claims = [await a_claimed_run(store, a_submission(c), claimant=claimant) for c in (one, two)]

        assert [claim.lease.owner for claim in claims] == [claimant.owner] * 2
        held = await store.runs.renew([claim.lease for claim in claims], lease_us=HOUR_US)
        assert held == {claim.run.id for claim in claims}

    async def test_what_was_committed_before_a_takeover_stays(self, store: Store) -> None:
        old = await _an_abandoned_run(store, "U")
        await store.runs.commit(old.lease, Commit(messages=(an_answer("A1"),), state='{"turn":1}'), None)

        [new] = await store.runs.claim(a_claimant(), limit=9)
        await store.runs.commit(new.lease, a_finish("A2"), None)

        assert (new.run.last_number, new.conversation.head) == (2, 2)
        assert new.conversation.state == '{"turn":1}'
        assert new.input == old.input
        assert await all_texts(store, old.conversation) == ["U", "A1", "A2"]
