"""How every store has runs stopped."""

import asyncio

import pytest

from tertulia.conversations import DEFAULT_TENANT, Claim, Claimant, Commit, RunStatus, Stop
from tertulia.errors import LeaseLost, NotFound, StopRequested
from tertulia.ids import RUN, new_id
from tertulia.messages import Flag
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    CANCELLED,
    COMPLETED,
    FAILED,
    HOUR_US,
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_failed_run,
    a_finish,
    a_frame,
    a_job,
    a_queued_run,
    a_step,
    a_submission,
    a_wait,
    a_waiting_run,
    all_kept,
    all_texts,
    an_agent,
    an_answer,
    an_exchange,
)

TENANT = DEFAULT_TENANT
WISHES = [Stop.INTERRUPT, Stop.CANCEL, Stop.KEEP, Stop.ROLLBACK]


@pytest.mark.asyncio
class StopContract:
    """Whoever wants a run to stop has it stopped: at once, or by its holder, but for good."""

    @pytest.mark.parametrize("how", WISHES)
    async def test_run_that_is_held_is_asked_to_stop(self, store: Store, how: Stop) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))

        stopped = await store.runs.stop(TENANT, claim.run.id, how, a_claimant())

        run = stopped.run
        assert (run.stop, run.status, stopped.next) == (how, RunStatus.RUNNING, None)
        assert (run.id, run.epoch, run.ended_at) == (claim.run.id, 1, None)
        assert await store.runs.get(TENANT, run.id) == run
        assert await store.runs.renew([claim.lease], lease_us=HOUR_US) == {run.id}

    @pytest.mark.parametrize("first", WISHES)
    @pytest.mark.parametrize("second", WISHES)
    async def test_of_two_wishes_the_greater_counts(self, store: Store, first: Stop, second: Stop) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))

        await store.runs.stop(TENANT, claim.run.id, first, None)
        stopped = await store.runs.stop(TENANT, claim.run.id, second, None)

        assert stopped.run.stop is max(first, second)
        assert (await store.runs.get(TENANT, claim.run.id)).stop is max(first, second)

    async def test_holders_learn_which_of_their_runs_are_to_stop(self, store: Store) -> None:
        one, two, three = [await _a_run(store, name) for name in ("A", "B", "C")]
        await store.runs.stop(TENANT, one.run.id, Stop.KEEP, None)
        await store.runs.stop(TENANT, three.run.id, Stop.INTERRUPT, None)

        asked = await store.runs.asked([one.lease, two.lease, three.lease])

        assert asked == {one.run.id: Stop.KEEP, three.run.id: Stop.INTERRUPT}
        assert await store.runs.asked([two.lease]) == {}
        assert await store.runs.asked([]) == {}

    async def test_who_has_lost_a_run_learns_nothing_of_it(self, store: Store) -> None:
        old, ended = await _a_run(store, "A"), await _a_run(store, "B")
        for claim in (old, ended):
            await store.runs.stop(TENANT, claim.run.id, Stop.CANCEL, None)
        await store.runs.commit(ended.lease, Commit(ending=CANCELLED), None)
        await _run_out(store, old)
        [new] = await store.runs.claim(a_claimant(), limit=9)

        assert await store.runs.asked([old.lease, ended.lease]) == {}
        assert await store.runs.asked([old.lease, new.lease]) == {new.run.id: Stop.CANCEL}

    @pytest.mark.parametrize("how", WISHES)
    async def test_nothing_is_written_for_a_run_that_is_to_stop(self, store: Store, how: Stop) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation))
        await store.runs.stop(TENANT, claim.run.id, how, None)
        before = await all_kept(store, conversation)

        for commit in (
            Commit(),
            Commit(steps=(a_step(),), frames=(a_frame(),), jobs=(a_job(),), state="{}"),
            Commit(messages=(an_answer(),), tokens=5),
            Commit(ending=FAILED),
            Commit(wait=a_wait()),
            a_finish("answer", ending=COMPLETED),
        ):
            with pytest.raises(StopRequested):
                await store.runs.commit(claim.lease, commit, a_claimant())

        assert await all_kept(store, conversation) == before

    async def test_run_that_is_to_stop_ends_as_cancelled(self, store: Store) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        claim = await a_claimed_run(store, a_submission(conversation, "U1"), claimant=claimant)
        waiting = await a_queued_run(store, a_submission(conversation, "U2"))
        await store.runs.stop(TENANT, claim.run.id, Stop.KEEP, None)

        committed = await store.runs.commit(claim.lease, a_finish("half", ending=CANCELLED), claimant)

        run = await store.runs.get(TENANT, claim.run.id)
        assert (run.status, run.last_number, run.stop) == (RunStatus.CANCELLED, 2, Stop.KEEP)
        assert committed.next is not None
        assert committed.next.run.id == waiting.run.id
        assert await all_texts(store, conversation) == ["U1", "half", "U2"]
        flags = {m.flags for m in await store.conversations.messages(TENANT, conversation.id)}
        assert flags == {Flag.NONE}

    async def test_end_as_cancelled_that_comes_again_is_no_loss(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation))
        await store.runs.stop(TENANT, claim.run.id, Stop.ROLLBACK, None)
        ending = a_finish("half", ending=CANCELLED)
        await store.runs.commit(claim.lease, ending, None)
        before = await all_kept(store, conversation)

        assert (await store.runs.commit(claim.lease, ending, None)).head == 2

        assert await all_kept(store, conversation) == before

    async def test_who_has_lost_a_run_is_told_so_rather_than_to_stop(self, store: Store) -> None:
        old = await _a_run(store, "A")
        await store.runs.stop(TENANT, old.run.id, Stop.CANCEL, None)
        await _run_out(store, old)
        await store.runs.claim(a_claimant(), limit=9)

        for commit in (Commit(), Commit(ending=CANCELLED), a_finish("zombie")):
            with pytest.raises(LeaseLost):
                await store.runs.commit(old.lease, commit, None)

    @pytest.mark.parametrize("how", WISHES)
    async def test_wish_outlives_the_holder(self, store: Store, how: Stop) -> None:
        old = await _a_run(store, "A")
        await store.runs.stop(TENANT, old.run.id, how, a_claimant())
        await _run_out(store, old)

        [new] = await store.runs.claim(a_claimant(), limit=9)

        assert (new.run.id, new.run.epoch, new.run.stop) == (old.run.id, 2, how)
        with pytest.raises(StopRequested):
            await store.runs.commit(new.lease, a_finish("answer"), None)
        await store.runs.commit(new.lease, Commit(ending=CANCELLED), None)
        assert (await store.runs.get(TENANT, old.run.id)).status is RunStatus.CANCELLED

    @pytest.mark.parametrize("how", WISHES)
    async def test_queued_run_ends_at_once_and_never_gets_a_number(self, store: Store, how: Stop) -> None:
        conversation = await a_conversation(store)
        await a_claimed_run(store, a_submission(conversation, "held"))
        before = await all_kept(store, conversation)
        queued = await a_queued_run(store, a_submission(conversation, "never"))

        stopped = await store.runs.stop(TENANT, queued.run.id, how, a_claimant())

        run = stopped.run
        assert (run.status, run.input_number, run.last_number) == (RunStatus.CANCELLED, 0, 0)
        assert (run.started_at, stopped.next) == (None, None)
        assert run.ended_at is not None
        assert run.failure is not None
        assert run.failure.code == "run_cancelled"
        assert run.input_message_id == queued.run.input_message_id
        assert await store.runs.get(TENANT, run.id) == run
        assert (await all_kept(store, conversation))[:3] == before[:3]

    async def test_what_waits_around_a_stopped_run_goes_on_in_order(self, store: Store) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        claim = await a_claimed_run(store, a_submission(conversation, "U1"), claimant=claimant)
        two, three, four = [await a_queued_run(store, a_submission(conversation, f"U{i}")) for i in (2, 3, 4)]

        stopped = await store.runs.stop(TENANT, three.run.id, Stop.CANCEL, claimant)
        second = (await store.runs.commit(claim.lease, a_finish("A1"), claimant)).next
        assert second is not None
        third = (await store.runs.commit(second.lease, a_finish("A2"), claimant)).next

        assert stopped.next is None
        assert third is not None
        assert (second.run.id, third.run.id) == (two.run.id, four.run.id)
        assert (third.run.n, third.run.input_number) == (4, 5)
        assert await all_texts(store, conversation) == ["U1", "A1", "U2", "A2", "U4"]

    async def test_conversation_is_free_once_its_only_queued_run_is_stopped(self, store: Store) -> None:
        conversation = await a_conversation(store)
        queued = await a_queued_run(store, a_submission(conversation, "never"))
        await store.runs.stop(TENANT, queued.run.id, Stop.CANCEL, a_claimant())

        claim = await a_claimed_run(store, a_submission(conversation, "next", expected_head=0))

        assert (claim.run.n, claim.run.input_number) == (2, 1)
        assert await all_texts(store, conversation) == ["next"]
        assert await store.runs.claim(a_claimant(), limit=9) == []

    async def test_what_waited_behind_a_queued_run_begins_where_nothing_else_holds(
        self, store: Store
    ) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        first, second = [await a_queued_run(store, a_submission(conversation, t)) for t in ("U1", "U2")]

        stopped = await store.runs.stop(TENANT, first.run.id, Stop.CANCEL, claimant)

        claim = stopped.next
        assert stopped.run.status is RunStatus.CANCELLED
        assert claim is not None
        assert (claim.run.id, claim.run.status) == (second.run.id, RunStatus.RUNNING)
        assert (claim.input.text, claim.input.number) == ("U2", 1)
        assert claim.lease.owner == claimant.owner
        assert await store.runs.get(TENANT, second.run.id) == claim.run
        assert await store.conversations.get(TENANT, conversation.id) == claim.conversation
        assert await store.conversations.pending(TENANT, conversation.id) == []

    @pytest.mark.parametrize("claimant", [None, a_claimant(performers=("other",))])
    async def test_what_waited_behind_a_stopped_run_needs_somebody_who_can_carry_it_out(
        self, store: Store, claimant: Claimant | None
    ) -> None:
        conversation = await a_conversation(store)
        waiting = await a_waiting_run(store, a_submission(conversation, "U1"))
        queued = await a_queued_run(store, a_submission(conversation, "U2"))

        stopped = await store.runs.stop(TENANT, waiting.run.id, Stop.CANCEL, claimant)
        [claim] = await store.runs.claim(a_claimant(), limit=9)

        assert (stopped.run.status, stopped.next) == (RunStatus.CANCELLED, None)
        assert claim.run.id == queued.run.id

    @pytest.mark.parametrize("how", WISHES)
    async def test_waiting_run_ends_at_once(self, store: Store, how: Stop) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        waiting = await a_waiting_run(store, a_submission(conversation, "U1"), steps=(a_step(),))
        queued = await a_queued_run(store, a_submission(conversation, "U2"))

        stopped = await store.runs.stop(TENANT, waiting.run.id, how, claimant)

        run = stopped.run
        assert (run.id, run.status, run.wait) == (waiting.run.id, RunStatus.CANCELLED, None)
        assert run.ended_at is not None
        assert run.failure is not None
        assert run.failure.code == "run_cancelled"
        assert stopped.next is not None
        assert (stopped.next.run.id, stopped.next.input.number) == (queued.run.id, 2)
        assert await store.runs.get(TENANT, run.id) == run
        assert [step.output for step in await store.runs.steps(TENANT, run.id)] == [""]
        assert await store.runs.waiting(TENANT) == []

    @pytest.mark.parametrize("commit", [a_finish(), Commit(ending=FAILED), Commit(ending=CANCELLED)])
    async def test_run_that_has_ended_stays_as_it_is(self, store: Store, commit: Commit) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation))
        await store.runs.commit(claim.lease, commit, None)
        before = await all_kept(store, conversation)
        run = await store.runs.get(TENANT, claim.run.id)

        for how in WISHES:
            stopped = await store.runs.stop(TENANT, claim.run.id, how, a_claimant())
            assert (stopped.run, stopped.next) == (run, None)

        assert await all_kept(store, conversation) == before

    async def test_queued_run_that_was_stopped_stays_as_it_is(self, store: Store) -> None:
        queued = await a_queued_run(store, a_submission(await a_conversation(store)))
        first = await store.runs.stop(TENANT, queued.run.id, Stop.INTERRUPT, None)

        assert await store.runs.stop(TENANT, queued.run.id, Stop.ROLLBACK, None) == first

    async def test_unknown_run_cannot_be_stopped(self, store: Store) -> None:
        for run_id in (new_id(RUN), "nope", ""):
            with pytest.raises(NotFound):
                await store.runs.stop(TENANT, run_id, Stop.CANCEL, None)

    async def test_key_answers_with_the_run_that_was_stopped(self, store: Store) -> None:
        conversation = await a_conversation(store)
        queued = await a_queued_run(store, a_submission(conversation, key="k"))
        stopped = await store.runs.stop(TENANT, queued.run.id, Stop.CANCEL, None)

        again = await store.runs.accept(a_submission(conversation, key="k"), a_claimant())

        assert (again.run, again.is_new, again.claim) == (stopped.run, False, None)

    async def test_wish_and_end_at_once_have_one_order(self, store: Store) -> None:
        for i in range(6):
            claim = await _a_run(store, f"{i}")

            ended, _ = await asyncio.gather(
                store.runs.commit(claim.lease, a_finish("answer"), None),
                store.runs.stop(TENANT, claim.run.id, Stop.CANCEL, None),
                return_exceptions=True,
            )

            run = await store.runs.get(TENANT, claim.run.id)
            if isinstance(ended, StopRequested):
                assert (run.status, run.stop, run.last_number) == (RunStatus.RUNNING, Stop.CANCEL, 0)
            else:
                assert (run.status, run.stop, run.last_number) == (RunStatus.COMPLETED, Stop.NONE, 2)

    async def test_wish_and_claim_at_once_have_one_order(self, store: Store) -> None:
        for i in range(6):
            conversation = await a_conversation(store, await an_agent(store, name=f"{i}"))
            queued = await a_queued_run(store, a_submission(conversation))

            claims, stopped = await asyncio.gather(
                store.runs.claim(a_claimant(), limit=9),
                store.runs.stop(TENANT, queued.run.id, Stop.CANCEL, None),
            )

            began = queued.run.id in {claim.run.id for claim in claims}
            assert stopped.run.status is (RunStatus.RUNNING if began else RunStatus.CANCELLED)
            row = await store.conversations.get(TENANT, conversation.id)
            assert row.head == (1 if began else 0)

    async def test_stopped_run_is_not_repeated(self, store: Store) -> None:
        conversation = await a_conversation(store)
        await a_failed_run(store, a_submission(conversation, key="k"))
        again = await a_queued_run(store, a_submission(conversation, key="k"))
        await store.runs.stop(TENANT, again.run.id, Stop.CANCEL, None)

        third = await store.runs.accept(a_submission(conversation, key="k"), a_claimant())

        assert (third.run.id, third.is_new) == (again.run.id, False)
        assert third.run.status is RunStatus.CANCELLED
        await an_exchange(store, conversation, "next", "answer")
        assert await all_texts(store, conversation) == ["hello", "next", "answer"]


async def _a_run(store: Store, name: str, claimant: Claimant | None = None) -> Claim:
    conversation = await a_conversation(store, await an_agent(store, name=name))
    return await a_claimed_run(store, a_submission(conversation), claimant=claimant)


async def _run_out(store: Store, claim: Claim) -> None:
    """Let a lease run out."""
    assert await store.runs.renew([claim.lease], lease_us=OVER_AT_ONCE) == {claim.run.id}
