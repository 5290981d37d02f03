"""How every store meets runs that failed after they had done something that stays."""

from dataclasses import replace

import pytest

from tertulia.conversations import DEFAULT_TENANT, Commit, Conversation, Run
from tertulia.errors import ConversationMovedOn
from tertulia.ids import RUN, new_id
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    FAILED,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_finish,
    a_submission,
    all_texts,
    an_answer,
    an_exchange,
)

TENANT = DEFAULT_TENANT


async def a_run_that_did_something(
    store: Store, conversation: Conversation, *, key: str | None = None
) -> Run:
    """Return a failed run that has kept a message beside the one that it was asked."""
    claim = await a_claimed_run(store, a_submission(conversation, "hello", key=key))
    done = replace(an_answer("done"), run_id=claim.run.id)
    await store.runs.commit(claim.lease, Commit(messages=(done,), tokens=1, ending=FAILED), None)
    return await store.runs.get(TENANT, claim.run.id)


@pytest.mark.asyncio
class ResumingContract:
    """What a failed run has done stays, and the next run on its message goes on from there."""

    async def test_what_a_failed_run_has_done_stays(self, store: Store) -> None:
        conversation = await a_conversation(store)

        failed = await a_run_that_did_something(store, conversation)

        assert await all_texts(store, conversation) == ["hello", "done"]
        assert failed.last_number == 2

    async def test_retry_goes_on_after_what_was_done(self, store: Store) -> None:
        conversation = await a_conversation(store)
        failed = await a_run_that_did_something(store, conversation)

        again = await store.runs.retry(TENANT, failed.id, new_id(RUN), a_claimant())

        assert again.claim is not None
        assert again.claim.input.text == "hello"
        assert again.claim.conversation.head == 2
        await store.runs.commit(again.claim.lease, a_finish("answer"), None)
        assert await all_texts(store, conversation) == ["hello", "done", "answer"]

    async def test_same_key_goes_on_after_what_was_done(self, store: Store) -> None:
        conversation = await a_conversation(store)
        failed = await a_run_that_did_something(store, conversation, key="k")

        again = await store.runs.accept(a_submission(conversation, "hello", key="k"), a_claimant())

        assert again.is_new
        assert again.run.id != failed.id
        assert again.run.input_message_id == failed.input_message_id

    async def test_retry_that_did_nothing_itself_can_be_retried(self, store: Store) -> None:
        conversation = await a_conversation(store)
        failed = await a_run_that_did_something(store, conversation)
        second = await store.runs.retry(TENANT, failed.id, new_id(RUN), a_claimant())
        assert second.claim is not None
        await store.runs.commit(second.claim.lease, Commit(ending=FAILED), None)

        third = await store.runs.retry(TENANT, second.run.id, new_id(RUN), a_claimant())

        assert third.claim is not None

    async def test_retry_is_refused_once_something_else_was_said(self, store: Store) -> None:
        conversation = await a_conversation(store)
        failed = await a_run_that_did_something(store, conversation)
        await an_exchange(store, conversation, "another", "answer")

        with pytest.raises(ConversationMovedOn):
            await store.runs.retry(TENANT, failed.id, new_id(RUN), a_claimant())
