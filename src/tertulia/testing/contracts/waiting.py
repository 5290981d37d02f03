"""How every store lets runs wait for somebody's decision."""

import asyncio
from dataclasses import replace

import pytest

from tertulia.conversations import DEFAULT_TENANT, Accepted, Commit, Lease, RunStatus, Step, Stop, Wait
from tertulia.errors import ConversationBusy, HeadMoved, LeaseLost, NotFound, NotWaiting
from tertulia.ids import RUN, new_id
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    CANCELLED,
    FAILED,
    HOUR_US,
    LATER_US,
    LONG_AGO_US,
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_decision,
    a_digest,
    a_finish,
    a_frame,
    a_queued_run,
    a_step,
    a_submission,
    a_wait,
    a_waiting_run,
    all_kept,
    all_texts,
    an_agent,
    an_answer,
    an_intent,
)

TENANT = DEFAULT_TENANT


@pytest.mark.asyncio
class WaitContract:
    """A run that waits works no more, and goes on holding its conversation."""

    async def test_run_waits_for_what_it_was_told_to(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation))
        wait = Wait(
            kind="unknown_outcome",
            path="turn/1/tool/ü",
            message="Was it sent?",
            until=LATER_US,
            subject='{"tool":"mail","arguments":{"to":"Zoë"}}',
        )

        committed = await store.runs.commit(
            claim.lease,
            Commit(messages=(an_answer("half"),), tokens=5, steps=(an_intent(),), state="{}", wait=wait),
            a_claimant(),
        )

        run = await store.runs.get(TENANT, claim.run.id)
        assert (committed.head, committed.next) == (2, None)
        assert (run.status, run.wait, run.ended_at) == (RunStatus.WAITING, wait, None)
        assert (run.epoch, run.last_number, run.failure) == (1, 2, None)
        assert await all_texts(store, conversation) == ["hello", "half"]
        assert await store.runs.waiting(TENANT) == [run]
        [step] = await store.runs.steps(TENANT, run.id)
        assert step.path == an_intent().path

    async def test_its_lease_is_over(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_waiting_run(store, a_submission(conversation))
        before = await all_kept(store, conversation)

        for commit in (Commit(), Commit(steps=(a_step(),)), a_finish("zombie"), Commit(ending=CANCELLED)):
            with pytest.raises(LeaseLost):
                await store.runs.commit(claim.lease, commit, a_claimant())
        await store.runs.release([claim.lease])

        assert await store.runs.renew([claim.lease], lease_us=HOUR_US) == set()
        assert await store.runs.asked([claim.lease]) == {}
        assert await store.runs.record([(claim.lease, a_frame())]) == set()
        assert await all_kept(store, conversation) == before

    async def test_wait_that_comes_again_is_written_once(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation))
        commit = Commit(messages=(an_answer("half"),), tokens=5, steps=(a_step(),), wait=a_wait())
        await store.runs.commit(claim.lease, commit, None)
        before = await all_kept(store, conversation)

        assert (await store.runs.commit(claim.lease, commit, None)).head == 2

        assert await all_kept(store, conversation) == before

    async def test_conversation_is_held(self, store: Store) -> None:
        conversation = await a_conversation(store)
        await a_waiting_run(store, a_submission(conversation))

        queued = await store.runs.accept(a_submission(conversation), a_claimant())
        with pytest.raises(ConversationBusy):
            await store.runs.accept(a_submission(conversation, multitask="reject"), a_claimant())
        with pytest.raises(HeadMoved):
            await store.runs.accept(a_submission(conversation, expected_head=1), a_claimant())

        assert (queued.claim, queued.run.status) == (None, RunStatus.QUEUED)
        assert await store.runs.claim(a_claimant(), limit=9) == []
        assert await store.runs.claim(a_claimant(), limit=9, suspects=True) == []

    async def test_lease_that_was_over_at_once_does_not_shorten_the_wait(self, store: Store) -> None:
        gone = a_claimant(lease_us=OVER_AT_ONCE)
        await a_waiting_run(store, a_submission(await a_conversation(store)), claimant=gone)

        assert await store.runs.claim(a_claimant(), limit=9) == []

    async def test_wait_that_is_over_is_taken_over(self, store: Store) -> None:
        conversation, heir = await a_conversation(store), a_claimant()
        wait, step = a_wait(until=LONG_AGO_US), a_step()
        claim = await a_waiting_run(store, a_submission(conversation), wait=wait, steps=(step,))

        [new] = await store.runs.claim(heir, limit=9)

        assert (new.run.id, new.run.status, new.run.wait) == (claim.run.id, RunStatus.RUNNING, wait)
        assert (new.run.epoch, new.run.attempt, new.steps) == (2, 1, (step,))
        assert new.lease == replace(claim.lease, epoch=2, owner=heir.owner)
        assert new.input == claim.input
        assert await store.runs.get(TENANT, claim.run.id) == new.run
        assert await store.runs.waiting(TENANT) == []
        assert await store.runs.claim(a_claimant(), limit=9) == []

    async def test_run_whose_wait_was_over_ends_by_its_new_holder(self, store: Store) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        old = await a_waiting_run(store, a_submission(conversation), wait=a_wait(until=LONG_AGO_US))
        queued = await a_queued_run(store, a_submission(conversation))
        [new] = await store.runs.claim(claimant, limit=9)

        with pytest.raises(LeaseLost):
            await store.runs.commit(old.lease, a_finish("zombie"), None)
        committed = await store.runs.commit(new.lease, Commit(ending=FAILED), claimant)

        run = await store.runs.get(TENANT, old.run.id)
        assert (run.status, run.wait) == (RunStatus.FAILED, None)
        assert committed.next is not None
        assert committed.next.run.id == queued.run.id

    async def test_wait_is_still_told_when_its_new_holder_is_gone_too(self, store: Store) -> None:
        wait = a_wait(until=LONG_AGO_US)
        await a_waiting_run(store, a_submission(await a_conversation(store)), wait=wait, steps=(a_step(),))

        [first] = await store.runs.claim(a_claimant(lease_us=OVER_AT_ONCE), limit=9)
        [second] = await store.runs.claim(a_claimant(), limit=9)

        assert (first.run.wait, second.run.wait) == (wait, wait)
        assert (second.run.status, second.run.epoch) == (RunStatus.RUNNING, 3)

    async def test_only_who_can_carry_it_out_takes_a_wait_that_is_over(self, store: Store) -> None:
        submission = a_submission(await a_conversation(store), performer="rare")
        wait, claimant = a_wait(until=LONG_AGO_US), a_claimant(performers=("rare",))
        await a_waiting_run(store, submission, wait=wait, claimant=claimant)

        assert await store.runs.claim(a_claimant(), limit=9) == []
        [claim] = await store.runs.claim(claimant, limit=9)

        assert claim.run.id == submission.run_id

    async def test_runs_that_wait_are_listed_in_order(self, store: Store) -> None:
        runs = []
        for i in range(4):
            conversation = await a_conversation(store, await an_agent(store, name=f"{i}"))
            claim = await a_waiting_run(store, a_submission(conversation))
            runs.append(await store.runs.get(TENANT, claim.run.id))
        await a_claimed_run(store, a_submission(await a_conversation(store)))

        assert await store.runs.waiting(TENANT) == runs
        assert await store.runs.waiting(TENANT, limit=2) == runs[:2]
        assert await store.runs.waiting(TENANT, after=runs[0].id, limit=2) == runs[1:3]
        assert await store.runs.waiting(TENANT, after=runs[3].id) == []


@pytest.mark.asyncio
class DecideContract:
    """A run that waits goes on once somebody has decided."""

    async def test_decided_run_goes_on_with_its_journal(self, store: Store) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        step, decision = a_step(), a_decision()
        old = await a_waiting_run(store, a_submission(conversation), steps=(step,))

        accepted = await store.runs.decide(TENANT, old.run.id, decision, claimant)

        run, claim = accepted.run, accepted.claim
        assert (accepted.is_new, accepted.stops) == (True, None)
        assert (run.id, run.status, run.wait) == (old.run.id, RunStatus.RUNNING, None)
        assert (run.epoch, run.attempt, run.input_number) == (2, 1, 1)
        assert claim is not None
        assert (claim.run, claim.steps, claim.input) == (run, (step, decision), old.input)
        assert claim.lease == Lease(
            tenant=TENANT,
            run_id=run.id,
            conversation_id=conversation.id,
            epoch=2,
            owner=claimant.owner,
        )
        assert claim.conversation == accepted.conversation
        assert await store.conversations.get(TENANT, conversation.id) == claim.conversation
        assert await store.runs.get(TENANT, run.id) == run
        assert await store.runs.steps(TENANT, run.id) == [step, decision]
        assert await store.runs.waiting(TENANT) == []

    async def test_decided_run_ends_like_any_other(self, store: Store) -> None:
        conversation = await a_conversation(store)
        old = await a_waiting_run(store, a_submission(conversation))
        accepted = await store.runs.decide(TENANT, old.run.id, a_decision(), a_claimant())

        with pytest.raises(LeaseLost):
            await store.runs.commit(old.lease, a_finish("zombie"), None)
        assert accepted.claim is not None
        await store.runs.commit(accepted.claim.lease, a_finish("answer"), None)

        run = await store.runs.get(TENANT, old.run.id)
        assert (run.status, run.wait) == (RunStatus.COMPLETED, None)
        assert await all_texts(store, conversation) == ["hello", "answer"]

    async def test_decided_run_has_no_attempts(self, store: Store) -> None:
        submission = a_submission(await a_conversation(store))
        await a_claimed_run(store, submission, claimant=a_claimant(lease_us=OVER_AT_ONCE))
        [claim] = await store.runs.claim(a_claimant(), limit=9)
        await store.runs.commit(claim.lease, Commit(wait=a_wait()), None)

        accepted = await store.runs.decide(TENANT, claim.run.id, a_decision(), a_claimant())

        assert claim.run.attempt == 2
        assert (accepted.run.attempt, accepted.run.epoch) == (1, 3)

    async def test_run_may_wait_for_many_decisions(self, store: Store) -> None:
        claim = await a_waiting_run(store, a_submission(await a_conversation(store)))
        decisions = [a_decision(f"turn/1/tool/{i}/decision") for i in range(3)]

        for decision in decisions:
            accepted = await store.runs.decide(TENANT, claim.run.id, decision, a_claimant())
            assert accepted.claim is not None
            await store.runs.commit(accepted.claim.lease, Commit(wait=a_wait()), None)

        assert await store.runs.steps(TENANT, claim.run.id) == decisions
        assert (await store.runs.get(TENANT, claim.run.id)).epoch == 4

    @pytest.mark.parametrize("performers", [(), ("other",)])
    async def test_who_cannot_carry_the_run_out_leaves_it_to_others(
        self, store: Store, performers: tuple[str, ...]
    ) -> None:
        decision, heir = a_decision(), a_claimant()
        old = await a_waiting_run(store, a_submission(await a_conversation(store)))

        accepted = await store.runs.decide(TENANT, old.run.id, decision, a_claimant(performers=performers))
        run = await store.runs.get(TENANT, old.run.id)
        [claim] = await store.runs.claim(heir, limit=9)

        assert (accepted.run, accepted.claim, accepted.is_new) == (run, None, True)
        assert (run.status, run.epoch, run.attempt, run.wait) == (RunStatus.RUNNING, 2, 0, None)
        assert (claim.run.epoch, claim.run.attempt, claim.run.wait) == (3, 1, None)
        assert (claim.steps, claim.lease.owner) == ((decision,), heir.owner)

    async def test_same_decision_again_changes_nothing(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_waiting_run(store, a_submission(conversation))
        first = await store.runs.decide(TENANT, claim.run.id, a_decision(), a_claimant())
        before = await all_kept(store, conversation)

        again = await store.runs.decide(TENANT, claim.run.id, a_decision(), a_claimant())

        assert (again.run, again.claim, again.is_new) == (first.run, None, False)
        assert await all_kept(store, conversation) == before

    @pytest.mark.parametrize("commit", [Commit(), a_finish("answer"), Commit(wait=a_wait())])
    async def test_other_decision_comes_too_late(self, store: Store, commit: Commit) -> None:
        conversation = await a_conversation(store)
        claim = await a_waiting_run(store, a_submission(conversation))
        first = await store.runs.decide(TENANT, claim.run.id, a_decision(), a_claimant())
        assert first.claim is not None
        await store.runs.commit(first.claim.lease, commit, None)
        before = await all_kept(store, conversation)

        with pytest.raises(NotWaiting):
            await store.runs.decide(TENANT, claim.run.id, _another_decision(), a_claimant())

        assert await all_kept(store, conversation) == before

    async def test_same_decision_about_a_run_that_has_ended_changes_nothing(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_waiting_run(store, a_submission(conversation))
        first = await store.runs.decide(TENANT, claim.run.id, a_decision(), a_claimant())
        assert first.claim is not None
        await store.runs.commit(first.claim.lease, a_finish("answer"), None)
        before = await all_kept(store, conversation)

        again = await store.runs.decide(TENANT, claim.run.id, a_decision(), a_claimant())

        assert (again.run.status, again.claim, again.is_new) == (RunStatus.COMPLETED, None, False)
        assert again.conversation.head == 2
        assert await all_kept(store, conversation) == before

    async def test_of_many_who_decide_at_once_one_does(self, store: Store) -> None:
        claim = await a_waiting_run(store, a_submission(await a_conversation(store)))

        accepted = await asyncio.gather(
            *[store.runs.decide(TENANT, claim.run.id, a_decision(), a_claimant()) for _ in range(8)]
        )

        assert sum(a.is_new for a in accepted) == 1
        assert sum(a.claim is not None for a in accepted) == 1
        assert {a.run.epoch for a in accepted} == {2}

    async def test_of_two_who_decide_differently_at_once_one_is_told_it_is_too_late(
        self, store: Store
    ) -> None:
        claim = await a_waiting_run(store, a_submission(await a_conversation(store)))
        decisions = [a_decision(), _another_decision()]

        answers = await asyncio.gather(
            *[store.runs.decide(TENANT, claim.run.id, each, a_claimant()) for each in decisions],
            return_exceptions=True,
        )

        [taken] = [
            each for each, answer in zip(decisions, answers, strict=True) if isinstance(answer, Accepted)
        ]
        assert [answer for answer in answers if isinstance(answer, NotWaiting)]
        assert await store.runs.steps(TENANT, claim.run.id) == [taken]

    @pytest.mark.parametrize("commit", [Commit(), a_finish("answer"), Commit(ending=FAILED)])
    async def test_only_a_run_that_waits_is_decided_about(self, store: Store, commit: Commit) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation))
        await store.runs.commit(claim.lease, commit, None)
        before = await all_kept(store, conversation)

        with pytest.raises(NotWaiting):
            await store.runs.decide(TENANT, claim.run.id, a_decision(), a_claimant())

        assert await all_kept(store, conversation) == before

    async def test_queued_run_waits_for_no_decision(self, store: Store) -> None:
        queued = await a_queued_run(store, a_submission(await a_conversation(store)))

        with pytest.raises(NotWaiting):
            await store.runs.decide(TENANT, queued.run.id, a_decision(), a_claimant())

    async def test_run_that_was_stopped_waits_no_more(self, store: Store) -> None:
        claim = await a_waiting_run(store, a_submission(await a_conversation(store)))
        await store.runs.stop(TENANT, claim.run.id, Stop.CANCEL, None)

        with pytest.raises(NotWaiting):
            await store.runs.decide(TENANT, claim.run.id, a_decision(), a_claimant())

        assert await store.runs.claim(a_claimant(), limit=9) == []

    async def test_decision_comes_in_time_until_the_run_is_taken_over(self, store: Store) -> None:
        late, too_late = [
            await a_waiting_run(
                store,
                a_submission(await a_conversation(store, await an_agent(store, name=name))),
                wait=a_wait(until=LONG_AGO_US),
            )
            for name in ("A", "B")
        ]

        accepted = await store.runs.decide(TENANT, late.run.id, a_decision(), a_claimant())
        [claim] = await store.runs.claim(a_claimant(), limit=9)

        assert accepted.claim is not None
        assert claim.run.id == too_late.run.id
        with pytest.raises(NotWaiting):
            await store.runs.decide(TENANT, too_late.run.id, a_decision(), a_claimant())

    async def test_nobody_decides_about_an_unknown_run(self, store: Store) -> None:
        with pytest.raises(NotFound):
            await store.runs.decide(TENANT, new_id(RUN), a_decision(), a_claimant())


def _another_decision() -> Step:
    """Return what stands under the same path, and says something else."""
    output = '{"decision":"give up"}'
    return replace(a_decision(output=output), identity=a_digest(output))
