"""How every store meets requests that come again."""

import asyncio
from dataclasses import replace

import pytest

from tertulia.conversations import DEFAULT_TENANT, Claim, Commit, Conversation, Ending, RunStatus, Submission
from tertulia.errors import ConversationMovedOn, HeadMoved, IdempotencyMismatch, NotFound
from tertulia.ids import RUN, new_id
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    CANCELLED,
    COMPLETED,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_failed_run,
    a_finish,
    a_new_conversation,
    a_queued_run,
    a_submission,
    all_texts,
    an_agent,
    an_exchange,
)

TENANT = DEFAULT_TENANT


@pytest.mark.asyncio
class KeyContract:
    """One key, one effect."""

    async def test_same_key_joins_a_run_that_is_under_way(self, store: Store) -> None:
        conversation = await a_conversation(store)
        first = await a_claimed_run(store, a_submission(conversation, key="k"))

        again = await store.runs.accept(a_submission(conversation, key="k"), a_claimant())

        assert (again.run, again.is_new, again.claim) == (first.run, False, None)
        assert again.conversation == first.conversation
        assert await store.conversations.pending(TENANT, conversation.id) == []

    async def test_same_key_joins_a_run_that_waits(self, store: Store) -> None:
        conversation = await a_conversation(store)
        first = await a_queued_run(store, a_submission(conversation, key="k"))

        again = await store.runs.accept(a_submission(conversation, key="k"), a_claimant())

        assert (again.run, again.is_new, again.claim) == (first.run, False, None)
        assert len(await store.conversations.pending(TENANT, conversation.id)) == 1

    @pytest.mark.parametrize("ending", [COMPLETED, CANCELLED])
    async def test_same_key_returns_a_run_that_has_ended(self, store: Store, ending: Ending) -> None:
        conversation = await a_conversation(store)
        first = await a_claimed_run(store, a_submission(conversation, "hello", key="k"))
        await store.runs.commit(first.lease, a_finish("answer", ending=ending), None)

        again = await store.runs.accept(a_submission(conversation, "hello", key="k"), a_claimant())

        assert (again.run.id, again.run.status, again.is_new) == (first.run.id, ending.status, False)
        assert again.claim is None
        assert await all_texts(store, conversation) == ["hello", "answer"]

    async def test_same_key_joins_whatever_the_request_expects(self, store: Store) -> None:
        conversation = await a_conversation(store)
        request = a_submission(conversation, key="k", multitask="reject", expected_head=0)
        first = await a_claimed_run(store, request)

        again = await store.runs.accept(_sent_again(request), a_claimant())

        assert (again.run.id, again.is_new) == (first.run.id, False)

    async def test_other_request_under_a_known_key_is_refused(self, store: Store) -> None:
        conversation = await a_conversation(store)
        other = a_submission(conversation, "something else", key="k")

        claim = await a_claimed_run(store, a_submission(conversation, key="k"))
        with pytest.raises(IdempotencyMismatch):
            await store.runs.accept(other, a_claimant())
        await store.runs.commit(claim.lease, a_finish(), None)
        with pytest.raises(IdempotencyMismatch):
            await store.runs.accept(other, a_claimant())

        assert await all_texts(store, conversation) == ["hello"]
        with pytest.raises(NotFound):
            await store.runs.get(TENANT, other.run_id)

    async def test_other_request_under_a_failed_runs_key_is_refused(self, store: Store) -> None:
        conversation = await a_conversation(store)
        await a_failed_run(store, a_submission(conversation, key="k"))

        with pytest.raises(IdempotencyMismatch):
            await store.runs.accept(a_submission(conversation, "something else", key="k"), a_claimant())

    async def test_refused_request_does_not_use_up_its_key(self, store: Store) -> None:
        conversation = await a_conversation(store)
        with pytest.raises(HeadMoved):
            await store.runs.accept(a_submission(conversation, key="k", expected_head=5), a_claimant())

        accepted = await store.runs.accept(a_submission(conversation, "other", key="k"), a_claimant())

        assert accepted.is_new

    async def test_requests_without_key_are_all_new(self, store: Store) -> None:
        conversation = await a_conversation(store)
        await an_exchange(store, conversation, "same")

        accepted = await store.runs.accept(a_submission(conversation, "same"), a_claimant())

        assert accepted.is_new

    async def test_keys_of_different_conversations_do_not_clash(self, store: Store) -> None:
        agent = await an_agent(store)
        one, other = await a_conversation(store, agent), await a_conversation(store, agent)

        await a_claimed_run(store, a_submission(one, "first", key="k"))
        second = await store.runs.accept(a_submission(other, "second", key="k"), a_claimant())

        assert second.is_new

    async def test_key_finds_the_conversation_that_it_made(self, store: Store) -> None:
        agent = await an_agent(store)
        first = await store.runs.accept(a_submission(a_new_conversation(agent), key="k"), a_claimant())

        again = await store.runs.accept(a_submission(a_new_conversation(agent), key="k"), a_claimant())

        assert (again.run, again.is_new) == (first.run, False)
        assert again.conversation == first.conversation
        assert await store.conversations.page(TENANT, agent.id) == [first.conversation]

    @pytest.mark.parametrize("alias", [None, "mine"])
    async def test_key_holds_when_the_same_new_conversation_is_named(
        self, store: Store, alias: str | None
    ) -> None:
        agent = await an_agent(store)
        request = a_submission(a_new_conversation(agent, alias=alias), key="k")
        first = await store.runs.accept(request, a_claimant())

        again = await store.runs.accept(_sent_again(request), a_claimant())

        assert (again.run, again.is_new) == (first.run, False)

    async def test_key_holds_when_only_the_alias_is_the_same(self, store: Store) -> None:
        agent = await an_agent(store)
        first = await store.runs.accept(
            a_submission(a_new_conversation(agent, alias="mine"), key="k"), a_claimant()
        )

        again = await store.runs.accept(
            a_submission(a_new_conversation(agent, alias="mine"), key="k"), a_claimant()
        )

        assert (again.run, again.is_new) == (first.run, False)

    async def test_keys_of_different_new_aliases_do_not_clash(self, store: Store) -> None:
        agent = await an_agent(store)

        for alias in ("one", "two"):
            request = a_submission(a_new_conversation(agent, alias=alias), alias, key="k")
            accepted = await store.runs.accept(request, a_claimant())
            assert accepted.is_new

    async def test_other_request_for_a_new_conversation_is_refused(self, store: Store) -> None:
        agent = await an_agent(store)
        await store.runs.accept(a_submission(a_new_conversation(agent), "one", key="k"), a_claimant())

        with pytest.raises(IdempotencyMismatch):
            await store.runs.accept(a_submission(a_new_conversation(agent), "two", key="k"), a_claimant())

        assert len(await store.conversations.page(TENANT, agent.id)) == 1

    async def test_of_many_with_one_key_at_once_one_has_an_effect(self, store: Store) -> None:
        conversation = await a_conversation(store)

        accepted = await asyncio.gather(
            *[store.runs.accept(a_submission(conversation, key="k"), a_claimant()) for _ in range(20)]
        )

        assert len({a.run.id for a in accepted}) == 1
        assert sum(a.is_new for a in accepted) == 1
        assert sum(a.claim is not None for a in accepted) == 1
        assert await all_texts(store, conversation) == ["hello"]
        assert await store.conversations.pending(TENANT, conversation.id) == []

    async def test_of_many_with_one_key_at_once_one_makes_a_conversation(self, store: Store) -> None:
        agent = await an_agent(store)

        accepted = await asyncio.gather(
            *[
                store.runs.accept(a_submission(a_new_conversation(agent), key="k"), a_claimant())
                for _ in range(20)
            ]
        )

        assert len({a.run.id for a in accepted}) == 1
        assert sum(a.is_new for a in accepted) == 1
        assert len(await store.conversations.page(TENANT, agent.id)) == 1


@pytest.mark.asyncio
class RepeatContract:
    """What has failed may be tried again in its place, by its key or by the run."""

    async def test_failed_run_is_repeated_on_the_same_message(self, store: Store) -> None:
        conversation = await a_conversation(store)
        failed = await a_failed_run(store, a_submission(conversation, "hello", key="k"))
        request = a_submission(conversation, "hello", key="k")

        again = await store.runs.accept(request, a_claimant())

        assert again.claim is not None
        assert again.is_new
        assert (again.run.id, again.run.n, again.run.status) == (request.run_id, 2, RunStatus.RUNNING)
        assert (again.run.epoch, again.run.attempt) == (1, 1)
        assert again.run.input_message_id == failed.run.input_message_id
        assert again.run.input_number == failed.run.input_number
        assert again.claim.input == failed.input
        assert again.conversation == failed.conversation
        assert await all_texts(store, conversation) == ["hello"]
        assert await store.conversations.pending(TENANT, conversation.id) == []
        assert (await store.runs.get(TENANT, failed.run.id)).status is RunStatus.FAILED

    async def test_repeated_run_answers_in_its_place(self, store: Store) -> None:
        conversation = await a_conversation(store)
        await a_failed_run(store, a_submission(conversation, "hello", key="k"))
        again = await a_claimed_run(store, a_submission(conversation, "hello", key="k"))

        await store.runs.commit(again.lease, a_finish("answer"), None)

        assert await all_texts(store, conversation) == ["hello", "answer"]
        joined = await store.runs.accept(a_submission(conversation, "hello", key="k"), a_claimant())
        assert (joined.run.id, joined.is_new) == (again.run.id, False)

    async def test_key_joins_the_repeated_run(self, store: Store) -> None:
        conversation = await a_conversation(store)
        await a_failed_run(store, a_submission(conversation, key="k"))
        again = await a_claimed_run(store, a_submission(conversation, key="k"))

        third = await store.runs.accept(a_submission(conversation, key="k"), a_claimant())

        assert (third.run, third.is_new) == (again.run, False)

    async def test_run_may_fail_and_be_repeated_many_times(self, store: Store) -> None:
        conversation = await a_conversation(store)

        claims = [await a_failed_run(store, a_submission(conversation, key="k")) for _ in range(4)]

        assert [claim.run.n for claim in claims] == [1, 2, 3, 4]
        assert {claim.input for claim in claims} == {claims[0].input}
        assert (await store.conversations.get(TENANT, conversation.id)).head == 1

    async def test_failed_request_for_a_new_conversation_is_repeated_there(self, store: Store) -> None:
        agent = await an_agent(store)
        failed = await a_failed_run(store, a_submission(a_new_conversation(agent), key="k"))

        again = await a_claimed_run(store, a_submission(a_new_conversation(agent), key="k"))

        assert again.conversation.id == failed.conversation.id
        assert again.input == failed.input
        assert len(await store.conversations.page(TENANT, agent.id)) == 1

    async def test_of_many_who_repeat_at_once_one_begins(self, store: Store) -> None:
        conversation = await a_conversation(store)
        failed = await a_failed_run(store, a_submission(conversation, key="k"))

        accepted = await asyncio.gather(
            *[store.runs.accept(a_submission(conversation, key="k"), a_claimant()) for _ in range(8)]
        )

        assert len({a.run.id for a in accepted} - {failed.run.id}) == 1
        assert sum(a.is_new for a in accepted) == 1
        assert await all_texts(store, conversation) == ["hello"]

    async def test_run_that_nobody_can_repeat_waits_with_its_number(self, store: Store) -> None:
        conversation = await a_conversation(store)
        failed = await a_failed_run(store, a_submission(conversation, key="k"))

        again = await a_queued_run(store, a_submission(conversation, key="k"))
        pending = await store.conversations.pending(TENANT, conversation.id)
        [claim] = await store.runs.claim(a_claimant(), limit=9)

        assert again.run.status is RunStatus.QUEUED
        assert pending == []
        assert (claim.run.id, claim.run.input_number) == (again.run.id, 1)
        assert (claim.input, claim.conversation) == (failed.input, failed.conversation)

    async def test_failed_run_is_not_repeated_once_its_message_is_not_the_head(self, store: Store) -> None:
        conversation = await a_conversation(store)
        failed = await a_failed_run(store, a_submission(conversation, key="k"))
        await an_exchange(store, conversation, "later")

        await _refused(store, conversation, failed)

    async def test_failed_run_is_not_repeated_while_another_holds(self, store: Store) -> None:
        conversation = await a_conversation(store)
        failed = await a_failed_run(store, a_submission(conversation, key="k"))
        await a_claimed_run(store, a_submission(conversation, "later"))

        await _refused(store, conversation, failed)

    async def test_failed_run_is_not_repeated_while_another_waits(self, store: Store) -> None:
        conversation = await a_conversation(store)
        failed = await a_failed_run(store, a_submission(conversation, key="k"))
        await a_queued_run(store, a_submission(conversation, "later"))

        await _refused(store, conversation, failed)

    async def test_failed_run_is_retried_without_a_key(self, store: Store) -> None:
        conversation = await a_conversation(store)
        submission = replace(a_submission(conversation), options={"a": [1]})
        failed = await a_failed_run(store, submission)
        run_id = new_id(RUN)

        again = await store.runs.retry(TENANT, failed.run.id, run_id, a_claimant())

        assert again.claim is not None
        assert again.is_new
        assert (again.run.id, again.run.n, again.run.epoch) == (run_id, 2, 1)
        assert (again.run.performer, again.run.options) == (submission.performer, {"a": [1]})
        assert again.claim.input == failed.input
        assert again.conversation == failed.conversation
        assert await store.runs.get(TENANT, run_id) == again.run

    async def test_retry_that_nobody_can_carry_out_waits(self, store: Store) -> None:
        conversation = await a_conversation(store)
        failed = await a_failed_run(store, a_submission(conversation))

        again = await store.runs.retry(TENANT, failed.run.id, new_id(RUN), a_claimant(performers=()))
        [claim] = await store.runs.claim(a_claimant(), limit=9)

        assert (again.claim, again.run.status) == (None, RunStatus.QUEUED)
        assert (claim.run.id, claim.input) == (again.run.id, failed.input)

    async def test_key_answers_with_the_retried_run(self, store: Store) -> None:
        conversation = await a_conversation(store)
        failed = await a_failed_run(store, a_submission(conversation, key="k"))
        retried = await store.runs.retry(TENANT, failed.run.id, new_id(RUN), a_claimant())

        joined = await store.runs.accept(a_submission(conversation, key="k"), a_claimant())

        assert (joined.run, joined.is_new) == (retried.run, False)

    async def test_unknown_run_cannot_be_retried(self, store: Store) -> None:
        with pytest.raises(NotFound):
            await store.runs.retry(TENANT, new_id(RUN), new_id(RUN), a_claimant())

    @pytest.mark.parametrize("commit", [Commit(), a_finish("answer"), Commit(ending=CANCELLED)])
    async def test_only_failed_runs_are_retried(self, store: Store, commit: Commit) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation))
        await store.runs.commit(claim.lease, commit, None)
        run_id = new_id(RUN)

        with pytest.raises(ConversationMovedOn):
            await store.runs.retry(TENANT, claim.run.id, run_id, a_claimant())

        with pytest.raises(NotFound):
            await store.runs.get(TENANT, run_id)


def _sent_again(request: Submission) -> Submission:
    """Return the same request as a client sends it again: the ids of its effects are fresh."""
    fresh = a_submission(request.conversation)
    return replace(request, run_id=fresh.run_id, message_id=fresh.message_id)


async def _refused(store: Store, conversation: Conversation, failed: Claim) -> None:
    before = await all_texts(store, conversation), await store.conversations.pending(TENANT, conversation.id)
    request, retried_id = a_submission(conversation, key="k"), new_id(RUN)

    with pytest.raises(ConversationMovedOn):
        await store.runs.accept(request, a_claimant())
    with pytest.raises(ConversationMovedOn):
        await store.runs.retry(TENANT, failed.run.id, retried_id, a_claimant())

    for run_id in (request.run_id, retried_id):
        with pytest.raises(NotFound):
            await store.runs.get(TENANT, run_id)
    after = await all_texts(store, conversation), await store.conversations.pending(TENANT, conversation.id)
    assert after == before
