"""How every store takes in requests that branch off a conversation."""

import asyncio
from dataclasses import replace

import pytest

from tertulia.conversations import DEFAULT_TENANT, Accepted, Branch, Conversation, RunStatus
from tertulia.errors import (
    ConversationBusy,
    HeadMoved,
    IdempotencyMismatch,
    InvalidInput,
    NotFound,
    SessionMismatch,
)
from tertulia.ids import CONVERSATION, new_id
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    FAILED,
    a_branch,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_failed_run,
    a_finish,
    a_queued_run,
    a_submission,
    a_waiting_run,
    all_kept,
    all_texts,
    an_agent,
    an_exchange,
)

TENANT = DEFAULT_TENANT


@pytest.mark.asyncio
class BranchRequestContract:
    """A branch is made with its first request, or not at all."""

    async def test_branch_is_made_with_its_first_request(self, store: Store) -> None:
        source = await _a_source(store)
        branch = a_branch(source, at=1, alias="mine", is_hidden=True)

        accepted = await store.runs.accept(a_submission(branch, "other"), a_claimant())

        row = accepted.conversation
        assert (row.id, row.alias, row.is_hidden) == (branch.id, "mine", True)
        assert (row.parent_id, row.base, row.lineage_id) == (source.id, 1, source.lineage_id)
        assert (row.head, row.tokens, row.first_message) == (2, 20, "Hello!")
        assert accepted.claim is not None
        assert (accepted.run.n, accepted.run.input_number) == (1, 2)
        assert (accepted.claim.run, accepted.claim.conversation) == (accepted.run, row)
        assert await store.conversations.get(TENANT, "mine") == row
        assert await all_texts(store, row) == ["hello", "other"]
        assert await all_texts(store, source) == ["hello", "an answer"]

    async def test_branch_goes_on_like_any_conversation(self, store: Store) -> None:
        source = await _a_source(store)
        claim = await a_claimed_run(store, a_submission(a_branch(source, at=1), "B2"))

        await store.runs.commit(claim.lease, a_finish("B3"), None)
        await an_exchange(store, claim.conversation, "B4", "B5")

        assert await all_texts(store, claim.conversation) == ["hello", "B2", "B3", "B4", "B5"]

    async def test_request_that_nobody_can_carry_out_waits_in_its_branch(self, store: Store) -> None:
        source = await _a_source(store)

        queued = await a_queued_run(store, a_submission(a_branch(source, at=1), "later"))
        pending = await store.conversations.pending(TENANT, queued.conversation.id)
        [claim] = await store.runs.claim(a_claimant(), limit=9)

        assert (queued.run.status, queued.conversation.head) == (RunStatus.QUEUED, 1)
        assert [message.text for message in pending] == ["later"]
        assert (claim.run.id, claim.input.number) == (queued.run.id, 2)
        assert await all_texts(store, claim.conversation) == ["hello", "later"]

    async def test_request_may_append_where_the_source_stands(self, store: Store) -> None:
        source = await _a_source(store)
        branch = a_branch(source, at=2, or_append=True)

        accepted = await store.runs.accept(a_submission(branch, "more"), a_claimant())

        assert (accepted.conversation.id, accepted.run.n, accepted.run.input_number) == (source.id, 2, 3)
        assert accepted.claim is not None
        assert await all_texts(store, source) == ["hello", "an answer", "more"]
        await _not_made(store, branch)

    async def test_request_that_may_not_append_branches_at_the_head(self, store: Store) -> None:
        source = await _a_source(store)
        before = await all_kept(store, source)

        accepted = await store.runs.accept(a_submission(a_branch(source, at=2), "more"), a_claimant())

        assert accepted.conversation.parent_id == source.id
        assert await all_texts(store, accepted.conversation) == ["hello", "an answer", "more"]
        assert await all_kept(store, source) == before

    async def test_request_that_may_append_branches_elsewhere(self, store: Store) -> None:
        source = await _a_source(store)

        accepted = await store.runs.accept(
            a_submission(a_branch(source, at=1, or_append=True), "other"), a_claimant()
        )

        assert (accepted.conversation.parent_id, accepted.conversation.base) == (source.id, 1)
        assert await all_texts(store, source) == ["hello", "an answer"]

    async def test_request_that_may_append_branches_off_what_is_busy(self, store: Store) -> None:
        running, waiting, queued = [
            await a_conversation(store, await an_agent(store, name=name)) for name in ("A", "B", "C")
        ]
        await a_claimed_run(store, a_submission(running))
        await a_waiting_run(store, a_submission(waiting))
        await a_queued_run(store, a_submission(queued))

        for source, head in ((running, 1), (waiting, 1), (queued, 0)):
            before = await all_kept(store, source)
            branch = a_branch(source, at=head, or_append=True)
            accepted = await store.runs.accept(
                replace(a_submission(branch, "other"), multitask="reject"), a_claimant()
            )
            assert (accepted.conversation.id, accepted.run.input_number) == (branch.id, head + 1)
            assert accepted.claim is not None
            assert await all_kept(store, source) == before

    async def test_request_for_a_branch_stops_nothing_in_its_source(self, store: Store) -> None:
        source = await a_conversation(store)
        await a_claimed_run(store, a_submission(source))
        before = await all_kept(store, source)

        accepted = await store.runs.accept(
            a_submission(a_branch(source, at=1), multitask="rollback"), a_claimant()
        )

        assert (accepted.stops, accepted.claim is not None) == (None, True)
        assert await all_kept(store, source) == before

    async def test_branch_that_is_there_takes_the_request(self, store: Store) -> None:
        source = await _a_source(store)
        branch = a_branch(source, at=1, alias="mine")
        first = await a_claimed_run(store, a_submission(branch, "B2"))

        second = await store.runs.accept(
            a_submission(replace(branch, id=new_id(CONVERSATION)), "B3"), a_claimant()
        )
        with pytest.raises(ConversationBusy):
            await store.runs.accept(a_submission(branch, multitask="reject"), a_claimant())

        assert (second.conversation.id, second.run.n) == (branch.id, 2)
        assert (second.claim, second.run.status) == (None, RunStatus.QUEUED)
        committed = await store.runs.commit(first.lease, a_finish("A"), a_claimant())
        assert committed.next is not None
        assert await all_texts(store, first.conversation) == ["hello", "B2", "A", "B3"]

    async def test_head_that_is_expected_is_that_of_the_branch(self, store: Store) -> None:
        source = await _a_source(store)
        refused = a_submission(a_branch(source, at=1, alias="refused"), expected_head=2)

        with pytest.raises(HeadMoved):
            await store.runs.accept(refused, a_claimant())
        accepted = await store.runs.accept(
            a_submission(a_branch(source, at=1), expected_head=1), a_claimant()
        )

        assert accepted.run.input_number == 2
        await _not_made(store, refused.conversation)
        with pytest.raises(NotFound):
            await store.runs.get(TENANT, refused.run_id)

    async def test_branch_that_cannot_be_made_takes_no_request(self, store: Store) -> None:
        source = await _a_source(store)
        await a_conversation(store, await an_agent(store, name="B"), alias="taken")
        unknown = replace(a_branch(source, at=1), source="nobody's")

        for branch, error in (
            (unknown, NotFound),
            (a_branch(source, at=3), InvalidInput),
            (a_branch(source, at=3, or_append=True), InvalidInput),
            (a_branch(source, at=1, alias="taken"), SessionMismatch),
        ):
            submission = a_submission(branch)
            with pytest.raises(error):
                await store.runs.accept(submission, a_claimant())
            with pytest.raises(NotFound):
                await store.runs.get(TENANT, submission.run_id)
            await _not_made(store, branch)

    async def test_key_is_known_in_the_source(self, store: Store) -> None:
        source = await _a_source(store)
        first = await _branched(store, source, "other")

        again = await _branched(store, source, "other")

        assert (again.run, again.is_new, again.claim) == (first.run, False, None)
        assert again.conversation == first.conversation
        assert len(await store.conversations.page(TENANT, source.agent_id)) == 2
        with pytest.raises(IdempotencyMismatch):
            await _branched(store, source, "something else")
        with pytest.raises(IdempotencyMismatch):
            await store.runs.accept(a_submission(source, "something else", key="k"), a_claimant())

    async def test_key_of_a_request_that_branched_is_new_in_the_branch(self, store: Store) -> None:
        source = await _a_source(store)
        first = await _branched(store, source, "other")

        second = await store.runs.accept(
            a_submission(first.conversation, "something else", key="k"), a_claimant()
        )

        assert (second.is_new, second.run.n) == (True, 2)

    async def test_key_joins_what_was_appended_though_the_head_has_moved_since(self, store: Store) -> None:
        source = await _a_source(store)
        first = await _branched(store, source, "more", at=2, or_append=True)
        assert first.claim is not None
        await store.runs.commit(first.claim.lease, a_finish("answer"), None)

        again = await _branched(store, source, "more", at=2, or_append=True)

        assert (again.run.id, again.is_new) == (first.run.id, False)
        assert again.conversation.id == source.id
        assert await store.conversations.page(TENANT, source.agent_id) == [again.conversation]

    async def test_failed_request_is_repeated_in_its_branch(self, store: Store) -> None:
        source = await _a_source(store)
        first = await _branched(store, source, "other")
        assert first.claim is not None
        await store.runs.commit(first.claim.lease, a_finish(ending=FAILED), None)

        again = await _branched(store, source, "other")

        assert again.claim is not None
        assert again.is_new
        assert (again.conversation.id, again.run.n) == (first.conversation.id, 2)
        assert again.claim.input == first.claim.input
        assert await all_texts(store, again.conversation) == ["hello", "other"]

    async def test_failed_run_stays_in_the_conversation_that_it_failed_in(self, store: Store) -> None:
        source = await a_conversation(store)
        failed = await a_failed_run(store, a_submission(source, "U1"))
        branched = await a_claimed_run(store, a_submission(a_branch(source, at=1), "U2"))

        again = await store.runs.retry(TENANT, failed.run.id, new_id("run"), a_claimant())

        assert again.conversation.id == source.id
        assert branched.conversation.id != source.id

    async def test_of_many_with_one_key_at_once_one_makes_a_branch(self, store: Store) -> None:
        source = await _a_source(store)

        accepted = await asyncio.gather(*[_branched(store, source, "other") for _ in range(8)])

        assert len({a.run.id for a in accepted}) == 1
        assert sum(a.is_new for a in accepted) == 1
        assert len(await store.conversations.page(TENANT, source.agent_id)) == 2

    async def test_of_many_who_may_append_at_once_one_does(self, store: Store) -> None:
        source = await _a_source(store)
        requests = [a_submission(a_branch(source, at=2, or_append=True), f"{i}") for i in range(6)]

        accepted = await asyncio.gather(*[store.runs.accept(r, a_claimant()) for r in requests])

        assert sum(a.conversation.id == source.id for a in accepted) == 1
        assert len({a.conversation.id for a in accepted}) == 6
        assert {a.run.input_number for a in accepted} == {3}


async def _a_source(store: Store) -> Conversation:
    source = await a_conversation(store)
    await an_exchange(store, source)
    return await store.conversations.get(TENANT, source.id)


async def _branched(
    store: Store, source: Conversation, text: str, *, at: int = 1, or_append: bool = False
) -> Accepted:
    branch = a_branch(source, at=at, or_append=or_append)
    return await store.runs.accept(a_submission(branch, text, key="k"), a_claimant())


async def _not_made(store: Store, named: object) -> None:
    assert isinstance(named, Branch)
    with pytest.raises(NotFound):
        await store.conversations.get(TENANT, named.id)
