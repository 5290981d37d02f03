"""How every store makes room for a request that does not want to wait, and withdraws what was said."""

import asyncio

import pytest

from tertulia.conversations import DEFAULT_TENANT, Commit, Conversation, Multitask, RunStatus, Stop
from tertulia.errors import HeadMoved, StopRequested
from tertulia.messages import Flag
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    CANCELLED,
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_failed_run,
    a_finish,
    a_fork,
    a_new_conversation,
    a_queued_run,
    a_submission,
    a_waiting_run,
    all_kept,
    all_texts,
    an_agent,
    an_answer,
    an_exchange,
)

TENANT = DEFAULT_TENANT

each_way = pytest.mark.parametrize(
    ("multitask", "stop"), [("interrupt", Stop.INTERRUPT), ("rollback", Stop.ROLLBACK)]
)


@pytest.mark.asyncio
class InterruptContract:
    """A request may have the holder make room; those that wait already come first all the same."""

    @each_way
    async def test_holder_is_asked_to_make_room(self, store: Store, multitask: Multitask, stop: Stop) -> None:
        conversation = await a_conversation(store)
        holder = await a_claimed_run(store, a_submission(conversation, "U1"))

        accepted = await store.runs.accept(
            a_submission(conversation, "U2", multitask=multitask), a_claimant()
        )

        assert (accepted.run.status, accepted.claim, accepted.is_new) == (RunStatus.QUEUED, None, True)
        assert accepted.stops == holder.run.id
        asked = await store.runs.get(TENANT, holder.run.id)
        assert (asked.status, asked.stop) == (RunStatus.RUNNING, stop)
        with pytest.raises(StopRequested):
            await store.runs.commit(holder.lease, a_finish("A1"), None)

    @each_way
    async def test_it_begins_when_the_holder_has_ended(
        self, store: Store, multitask: Multitask, stop: Stop
    ) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        holder = await a_claimed_run(store, a_submission(conversation, "U1"), claimant=claimant)
        accepted = await store.runs.accept(a_submission(conversation, "U2", multitask=multitask), claimant)

        committed = await store.runs.commit(holder.lease, Commit(ending=CANCELLED), claimant)

        assert committed.next is not None
        assert (committed.next.run.id, committed.next.input.number) == (accepted.run.id, 2)
        assert committed.next.run.stop is Stop.NONE
        assert await all_texts(store, conversation) == ["U1", "U2"]

    @each_way
    async def test_on_a_free_conversation_it_begins_at_once(
        self, store: Store, multitask: Multitask, stop: Stop
    ) -> None:
        agent = await an_agent(store)
        conversation = await a_conversation(store, agent)
        await an_exchange(store, conversation)

        for named in (conversation, a_new_conversation(agent)):
            accepted = await store.runs.accept(a_submission(named, multitask=multitask), a_claimant())
            assert accepted.claim is not None
            assert (accepted.claim.run, accepted.stops) == (accepted.run, None)
            assert accepted.run.stop is Stop.NONE

    @each_way
    async def test_those_that_wait_already_come_first(
        self, store: Store, multitask: Multitask, stop: Stop
    ) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        holder = await a_claimed_run(store, a_submission(conversation, "U1"), claimant=claimant)
        second = await a_queued_run(store, a_submission(conversation, "U2"))

        third = await store.runs.accept(a_submission(conversation, "U3", multitask=multitask), claimant)
        committed = await store.runs.commit(holder.lease, Commit(ending=CANCELLED), claimant)

        assert (third.run.n, third.stops) == (3, holder.run.id)
        assert committed.next is not None
        assert committed.next.run.id == second.run.id
        pending = await store.conversations.pending(TENANT, conversation.id)
        assert [message.text for message in pending] == ["U3"]

    @each_way
    async def test_queued_runs_are_not_stopped(self, store: Store, multitask: Multitask, stop: Stop) -> None:
        conversation = await a_conversation(store)
        first = await a_queued_run(store, a_submission(conversation, "U1"))

        second = await store.runs.accept(a_submission(conversation, "U2", multitask=multitask), a_claimant())

        assert (second.run.status, second.claim, second.stops) == (RunStatus.QUEUED, None, None)
        assert await store.runs.get(TENANT, first.run.id) == first.run
        pending = await store.conversations.pending(TENANT, conversation.id)
        assert [message.text for message in pending] == ["U1", "U2"]

    @each_way
    async def test_waiting_holder_ends_at_once(self, store: Store, multitask: Multitask, stop: Stop) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        holder = await a_waiting_run(store, a_submission(conversation, "U1"))

        accepted = await store.runs.accept(a_submission(conversation, "U2", multitask=multitask), claimant)

        assert accepted.claim is not None
        assert (accepted.claim.run, accepted.stops) == (accepted.run, None)
        assert (accepted.run.status, accepted.run.input_number) == (RunStatus.RUNNING, 2)
        assert accepted.claim.conversation == accepted.conversation
        assert await store.conversations.get(TENANT, conversation.id) == accepted.conversation
        ended = await store.runs.get(TENANT, holder.run.id)
        assert (ended.status, ended.wait) == (RunStatus.CANCELLED, None)
        assert ended.failure is not None
        assert ended.failure.code == "run_cancelled"

    @each_way
    async def test_behind_a_waiting_holder_the_first_in_the_queue_begins(
        self, store: Store, multitask: Multitask, stop: Stop
    ) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        await a_waiting_run(store, a_submission(conversation, "U1"))
        second = await a_queued_run(store, a_submission(conversation, "U2"))

        third = await store.runs.accept(a_submission(conversation, "U3", multitask=multitask), claimant)

        assert third.claim is not None
        assert (third.claim.run.id, third.claim.input.text) == (second.run.id, "U2")
        assert third.run.status is RunStatus.QUEUED
        assert await store.runs.get(TENANT, third.run.id) == third.run
        assert third.conversation.head == 2
        pending = await store.conversations.pending(TENANT, conversation.id)
        assert [message.text for message in pending] == ["U3"]

    @each_way
    async def test_without_a_claimant_nothing_begins(
        self, store: Store, multitask: Multitask, stop: Stop
    ) -> None:
        conversation = await a_conversation(store)
        holder = await a_waiting_run(store, a_submission(conversation, "U1"))

        accepted = await store.runs.accept(a_submission(conversation, "U2", multitask=multitask), None)
        [claim] = await store.runs.claim(a_claimant(), limit=9)

        assert (accepted.claim, accepted.run.status) == (None, RunStatus.QUEUED)
        assert (await store.runs.get(TENANT, holder.run.id)).status is RunStatus.CANCELLED
        assert claim.run.id == accepted.run.id

    @each_way
    async def test_greater_wish_stays(self, store: Store, multitask: Multitask, stop: Stop) -> None:
        conversation = await a_conversation(store)
        holder = await a_claimed_run(store, a_submission(conversation))
        await store.runs.stop(TENANT, holder.run.id, Stop.KEEP, None)

        accepted = await store.runs.accept(a_submission(conversation, multitask=multitask), a_claimant())

        assert accepted.stops == holder.run.id
        assert (await store.runs.get(TENANT, holder.run.id)).stop is max(Stop.KEEP, stop)

    @each_way
    async def test_refused_request_stops_nothing(
        self, store: Store, multitask: Multitask, stop: Stop
    ) -> None:
        running, waiting = [
            await a_conversation(store, await an_agent(store, name=name)) for name in ("A", "B")
        ]
        await a_claimed_run(store, a_submission(running))
        await a_waiting_run(store, a_submission(waiting))

        for conversation in (running, waiting):
            before = await all_kept(store, conversation)
            with pytest.raises(HeadMoved):
                await store.runs.accept(
                    a_submission(conversation, multitask=multitask, expected_head=1), a_claimant()
                )
            assert await all_kept(store, conversation) == before

    @each_way
    async def test_request_that_comes_again_does_not_stop_itself(
        self, store: Store, multitask: Multitask, stop: Stop
    ) -> None:
        conversation = await a_conversation(store)
        first = await a_claimed_run(store, a_submission(conversation, key="k", multitask=multitask))

        again = await store.runs.accept(
            a_submission(conversation, key="k", multitask=multitask), a_claimant()
        )

        assert (again.run, again.is_new, again.stops) == (first.run, False, None)
        assert (await store.runs.get(TENANT, first.run.id)).stop is Stop.NONE

    async def test_of_many_who_interrupt_at_once_none_is_lost(self, store: Store) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        holder = await a_claimed_run(store, a_submission(conversation), claimant=claimant)
        requests = [a_submission(conversation, f"{i}", multitask="interrupt") for i in range(6)]

        accepted = await asyncio.gather(*[store.runs.accept(r, claimant) for r in requests])
        committed = await store.runs.commit(holder.lease, Commit(ending=CANCELLED), claimant)

        assert {a.stops for a in accepted} == {holder.run.id}
        assert sorted(a.run.n for a in accepted) == list(range(2, 8))
        assert committed.next is not None
        assert committed.next.run.n == 2
        assert committed.next.run.stop is Stop.NONE


@pytest.mark.asyncio
class RollbackContract:
    """What a run that is rolled back was asked and said stays in the log, withdrawn."""

    async def test_all_that_the_run_was_asked_and_said_is_withdrawn(self, store: Store) -> None:
        conversation = await a_conversation(store)
        await an_exchange(store, conversation, "U1", "A1")
        claim = await a_claimed_run(store, a_submission(conversation, "U2"))
        await store.runs.commit(claim.lease, Commit(messages=(an_answer("A2"),), tokens=1), None)
        await store.runs.stop(TENANT, claim.run.id, Stop.ROLLBACK, None)
        assert await _withdrawn(store, conversation) == []

        await store.runs.commit(claim.lease, a_finish("A3", ending=CANCELLED), None)

        assert await _withdrawn(store, conversation) == [3, 4, 5]
        assert await all_texts(store, conversation) == ["U1", "A1", "U2", "A2", "A3"]
        row = await store.conversations.get(TENANT, conversation.id)
        assert (row.version, row.head) == (claim.conversation.version + 1, 5)

    async def test_what_comes_next_sees_it_withdrawn(self, store: Store) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        claim = await a_claimed_run(store, a_submission(conversation, "U1"), claimant=claimant)
        await store.runs.accept(a_submission(conversation, "U2", multitask="rollback"), claimant)

        committed = await store.runs.commit(claim.lease, Commit(ending=CANCELLED), claimant)

        assert committed.next is not None
        assert committed.next.conversation.version == claim.conversation.version + 1
        assert committed.next.input.flags is Flag.NONE
        assert await _withdrawn(store, conversation) == [1]

    async def test_heir_of_the_holder_rolls_back_as_well(self, store: Store) -> None:
        conversation = await a_conversation(store)
        old = await a_claimed_run(store, a_submission(conversation, "U"))
        await store.runs.commit(old.lease, Commit(messages=(an_answer("A"),)), None)
        await store.runs.stop(TENANT, old.run.id, Stop.ROLLBACK, None)
        await store.runs.renew([old.lease], lease_us=OVER_AT_ONCE)

        [new] = await store.runs.claim(a_claimant(), limit=9)
        await store.runs.commit(new.lease, Commit(ending=CANCELLED), None)

        assert await _withdrawn(store, conversation) == [1, 2]

    async def test_run_that_nobody_carries_out_any_more_is_rolled_back_at_once(self, store: Store) -> None:
        conversation, gone = await a_conversation(store), a_claimant(lease_us=OVER_AT_ONCE)
        old = await a_claimed_run(store, a_submission(conversation, "U"), claimant=gone)
        await store.runs.commit(old.lease, Commit(messages=(an_answer("A"),)), None)

        await store.runs.stop(TENANT, old.run.id, Stop.ROLLBACK, None)

        assert await _withdrawn(store, conversation) == [1, 2]

    @pytest.mark.parametrize("how", [Stop.INTERRUPT, Stop.CANCEL, Stop.KEEP])
    async def test_other_wishes_withdraw_nothing(self, store: Store, how: Stop) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation))
        await store.runs.stop(TENANT, claim.run.id, how, None)

        await store.runs.commit(claim.lease, a_finish("half", ending=CANCELLED), None)

        assert await _withdrawn(store, conversation) == []
        row = await store.conversations.get(TENANT, conversation.id)
        assert row.version == claim.conversation.version

    async def test_waiting_run_is_rolled_back_at_once(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_waiting_run(store, a_submission(conversation, "U1"))

        await store.runs.stop(TENANT, claim.run.id, Stop.ROLLBACK, None)

        assert await _withdrawn(store, conversation) == [1]
        row = await store.conversations.get(TENANT, conversation.id)
        assert row.version == claim.conversation.version + 1

    async def test_request_rolls_a_waiting_run_back_at_once(self, store: Store) -> None:
        conversation = await a_conversation(store)
        holder = await a_waiting_run(store, a_submission(conversation, "U1"))

        accepted = await store.runs.accept(
            a_submission(conversation, "U2", multitask="rollback"), a_claimant()
        )

        assert await _withdrawn(store, conversation) == [1]
        assert accepted.conversation.version == holder.conversation.version + 1

    async def test_queued_run_has_nothing_to_withdraw(self, store: Store) -> None:
        conversation = await a_conversation(store)
        await a_claimed_run(store, a_submission(conversation, "U1"))
        queued = await a_queued_run(store, a_submission(conversation, "U2"))

        await store.runs.stop(TENANT, queued.run.id, Stop.ROLLBACK, None)

        assert await _withdrawn(store, conversation) == []
        assert await store.conversations.get(TENANT, conversation.id) == queued.conversation

    async def test_message_of_an_earlier_run_is_withdrawn_if_it_was_answered_again(
        self, store: Store
    ) -> None:
        conversation = await a_conversation(store)
        await a_failed_run(store, a_submission(conversation, "U1", key="k"))
        again = await a_claimed_run(store, a_submission(conversation, "U1", key="k"))
        await store.runs.stop(TENANT, again.run.id, Stop.ROLLBACK, None)

        await store.runs.commit(again.lease, a_finish("A1", ending=CANCELLED), None)

        assert await _withdrawn(store, conversation) == [1, 2]

    async def test_branches_that_share_a_message_have_it_withdrawn_too(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation, "U1"))
        await store.runs.commit(claim.lease, Commit(messages=(an_answer("A1"),)), None)
        shares, apart = await a_fork(store, conversation, at=2), await a_fork(store, conversation, at=0)

        await store.runs.stop(TENANT, claim.run.id, Stop.ROLLBACK, None)
        await store.runs.commit(claim.lease, Commit(ending=CANCELLED), None)

        assert await _withdrawn(store, shares) == [1, 2]
        assert (await store.conversations.get(TENANT, shares.id)).version == shares.version + 1
        assert await store.conversations.get(TENANT, apart.id) == apart


async def _withdrawn(store: Store, conversation: Conversation) -> list[int]:
    messages = await store.conversations.messages(TENANT, conversation.id)
    return [message.number for message in messages if Flag.WITHDRAWN in message.flags]
