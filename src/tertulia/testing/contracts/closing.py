"""How every store closes conversations, and opens them again."""

from dataclasses import replace

import pytest

from tertulia.conversations import (
    DEFAULT_TENANT,
    Commit,
    Conversation,
    NewConversation,
    RunStatus,
    Stop,
    Submission,
)
from tertulia.errors import (
    ConversationBusy,
    ConversationClosed,
    ConversationMovedOn,
    HeadMoved,
    IdempotencyMismatch,
    LeaseLost,
    NotFound,
    SessionMismatch,
    StopRequested,
    TertuliaError,
)
from tertulia.ids import CONVERSATION, RUN, new_id
from tertulia.messages import Flag
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    a_branch,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_decision,
    a_failed_run,
    a_finish,
    a_fork,
    a_new_conversation,
    a_once,
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
REASON = "The goal is reached."


@pytest.mark.asyncio
class ClosingContract:
    """A conversation that was closed takes no further message until it is opened again."""

    async def test_conversation_is_open_until_it_is_closed(self, store: Store) -> None:
        conversation = await a_conversation(store)

        closed = await store.conversations.set_closed(TENANT, conversation.id, REASON)

        kept = store.conversations
        assert conversation.closed is None
        assert closed == replace(conversation, closed=REASON)
        assert await kept.get(TENANT, conversation.id) == closed
        assert await kept.page(TENANT, conversation.agent_id) == [closed]
        found = await kept.newest(TENANT, [conversation.agent_id], each=1)
        assert found == {conversation.agent_id: [closed]}

    async def test_closed_conversation_can_be_opened_again(self, store: Store) -> None:
        conversation = await _a_closed_one(store)

        opened = await store.conversations.set_closed(TENANT, conversation.id, None)

        assert opened == replace(conversation, closed=None)
        assert await store.conversations.get(TENANT, conversation.id) == opened
        assert (await store.runs.accept(a_submission(conversation), None)).is_new

    async def test_it_is_closed_and_opened_by_its_alias_as_well(self, store: Store) -> None:
        await a_conversation(store, alias="dinner")

        closed = await store.conversations.set_closed(TENANT, "dinner", REASON)
        opened = await store.conversations.set_closed(TENANT, "dinner", None)

        assert (closed.closed, opened.closed) == (REASON, None)

    async def test_what_is_as_wanted_already_stays_as_it_is(self, store: Store) -> None:
        closed, open_one = (
            await _a_closed_one(store),
            await a_conversation(store, await an_agent(store, name="B")),
        )

        assert await store.conversations.set_closed(TENANT, closed.id, "another reason") == closed
        assert await store.conversations.set_closed(TENANT, open_one.id, None) == open_one

        for conversation in (closed, open_one):
            found = await store.conversations.get(TENANT, conversation.id)
            assert (found, found.updated_at) == (conversation, conversation.updated_at)

    async def test_unknown_conversation_is_neither_closed_nor_opened(self, store: Store) -> None:
        for name in (new_id(CONVERSATION), "nobody's", ""):
            for reason in (REASON, None):
                with pytest.raises(NotFound):
                    await store.conversations.set_closed(TENANT, name, reason)

    async def test_what_was_said_in_it_is_read_and_marked_as_before(self, store: Store) -> None:
        conversation = await _a_closed_one(store)

        marked = await store.conversations.mark(TENANT, conversation.id, [1], Flag.WITHDRAWN)

        assert (marked.version, marked.closed) == (conversation.version + 1, REASON)
        assert await all_texts(store, conversation) == ["hello", "an answer"]

    # --- Messages for a closed conversation -------------------------------------------------------

    async def test_closed_conversation_takes_nothing(self, store: Store) -> None:
        conversation = await _a_closed_one(store, alias="dinner")
        before = await all_kept(store, conversation)
        made_if_need_be = NewConversation(
            id=new_id(CONVERSATION), agent_id=conversation.agent_id, alias="dinner"
        )

        for named in (conversation, "dinner", made_if_need_be):
            for claimant in (a_claimant(), None):
                with pytest.raises(ConversationClosed, match="The goal is reached"):
                    await store.runs.accept(a_submission(named, "more"), claimant)

        assert await all_kept(store, conversation) == before

    async def test_refused_request_leaves_its_key_unused(self, store: Store) -> None:
        conversation = await _a_closed_one(store)
        with pytest.raises(ConversationClosed):
            await store.runs.accept(a_submission(conversation, "more", key="k"), None)
        await store.conversations.set_closed(TENANT, conversation.id, None)

        accepted = await store.runs.accept(a_submission(conversation, "something else", key="k"), None)

        assert accepted.is_new

    async def test_being_closed_counts_before_the_head_and_before_being_busy(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation))
        await store.conversations.set_closed(TENANT, conversation.id, REASON)

        async def refusal(*, reopens: bool, expected_head: int | None) -> type[TertuliaError]:
            asked = a_submission(conversation, multitask="reject", expected_head=expected_head)
            with pytest.raises(TertuliaError) as refused:
                await store.runs.accept(replace(asked, reopens=reopens), a_claimant())
            return refused.type

        assert await refusal(reopens=False, expected_head=9) is ConversationClosed
        assert await refusal(reopens=False, expected_head=None) is ConversationClosed
        assert await refusal(reopens=True, expected_head=9) is HeadMoved
        assert await refusal(reopens=True, expected_head=None) is ConversationBusy
        assert (await store.conversations.get(TENANT, conversation.id)).closed == REASON
        assert (await store.runs.get(TENANT, claim.run.id)).status is RunStatus.RUNNING

    async def test_belonging_to_another_agent_counts_before_being_closed(self, store: Store) -> None:
        await _a_closed_one(store, alias="dinner")
        baker = await an_agent(store, name="Baker")

        with pytest.raises(SessionMismatch):
            await store.runs.accept(a_submission(a_new_conversation(baker, alias="dinner")), None)

    # --- Messages that open it again --------------------------------------------------------------

    @pytest.mark.parametrize("is_claimed", [True, False])
    async def test_message_may_open_it_again(self, store: Store, is_claimed: bool) -> None:
        conversation = await _a_closed_one(store)
        claimant = a_claimant() if is_claimed else None

        accepted = await store.runs.accept(_opening(a_submission(conversation, "more")), claimant)

        assert accepted.is_new
        assert accepted.conversation.closed is None
        assert await store.conversations.get(TENANT, conversation.id) == accepted.conversation
        if accepted.claim is not None:
            assert accepted.claim.conversation == accepted.conversation
            await store.runs.commit(accepted.claim.lease, a_finish("still here"), None)
            assert await all_texts(store, conversation) == ["hello", "an answer", "more", "still here"]

    async def test_first_message_may_open_it_again_as_well(self, store: Store) -> None:
        conversation = await a_conversation(store, await an_agent(store, first_message="Hi!"))
        await store.conversations.set_closed(TENANT, conversation.id, REASON)

        await store.runs.accept(_opening(a_submission(conversation)), a_claimant())

        found = await store.conversations.get(TENANT, conversation.id)
        assert (found.closed, found.first_message, found.head) == (None, "Hi!", 1)

    async def test_message_that_would_open_it_finds_an_open_one_as_it_is(self, store: Store) -> None:
        conversation = await a_conversation(store)

        claim = await a_claimed_run(store, _opening(a_submission(conversation)))

        assert (claim.conversation.closed, claim.run.input_number) == (None, 1)

    async def test_message_that_was_accepted_before_is_known_and_opens_nothing(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation, key="k"))
        await store.runs.commit(claim.lease, replace(a_finish("answer"), closes=REASON), None)

        for reopens in (False, True):
            asked = replace(a_submission(conversation, key="k"), reopens=reopens)
            again = await store.runs.accept(asked, None)

            assert (again.is_new, again.run.id) == (False, claim.run.id)
            assert again.conversation.closed == REASON
        with pytest.raises(IdempotencyMismatch):
            await store.runs.accept(_opening(a_submission(conversation, "other", key="k")), None)
        assert (await store.conversations.get(TENANT, conversation.id)).closed == REASON

    async def test_failed_message_is_asked_again_only_where_that_opens_it(self, store: Store) -> None:
        conversation = await a_conversation(store)
        failed = await a_failed_run(store, a_submission(conversation, key="k"))
        await store.conversations.set_closed(TENANT, conversation.id, REASON)
        with pytest.raises(ConversationClosed):
            await store.runs.accept(a_submission(conversation, key="k"), a_claimant())

        again = await store.runs.accept(_opening(a_submission(conversation, key="k")), a_claimant())

        assert again.is_new
        assert again.run.input_message_id == failed.run.input_message_id
        assert (await store.conversations.get(TENANT, conversation.id)).closed is None
        assert await all_texts(store, conversation) == ["hello"]

    async def test_failed_run_is_not_retried_in_a_closed_conversation(self, store: Store) -> None:
        conversation = await a_conversation(store)
        failed = await a_failed_run(store, a_submission(conversation))
        once, second = a_once(), new_id(RUN)
        first = await store.runs.retry(TENANT, failed.run.id, second, a_claimant(), once=once)
        assert first.claim is not None
        await store.runs.commit(first.claim.lease, a_finish("answer"), None)
        await store.conversations.set_closed(TENANT, conversation.id, REASON)

        again = await store.runs.retry(TENANT, failed.run.id, new_id(RUN), a_claimant(), once=once)

        assert (again.is_new, again.run.id) == (False, second)
        with pytest.raises(ConversationClosed):
            await store.runs.retry(TENANT, failed.run.id, new_id(RUN), a_claimant())
        await store.conversations.set_closed(TENANT, conversation.id, None)
        with pytest.raises(ConversationMovedOn):
            await store.runs.retry(TENANT, failed.run.id, new_id(RUN), a_claimant())

    # --- What was accepted before -----------------------------------------------------------------

    async def test_what_was_accepted_before_is_carried_out(self, store: Store) -> None:
        conversation = await a_conversation(store)
        first = await a_claimed_run(store, a_submission(conversation, "U1"))
        await a_queued_run(store, a_submission(conversation, "U2"))
        await a_queued_run(store, a_submission(conversation, "U3"))
        await store.conversations.set_closed(TENANT, conversation.id, REASON)

        second = (await store.runs.commit(first.lease, a_finish("A1"), a_claimant())).next
        assert second is not None
        await store.runs.commit(second.lease, a_finish("A2"), None)
        [third] = await store.runs.claim(a_claimant(), limit=9)
        await store.runs.commit(third.lease, a_finish("A3"), None)

        assert await all_texts(store, conversation) == ["U1", "A1", "U2", "A2", "U3", "A3"]
        assert [claim.conversation.closed for claim in (second, third)] == [REASON, REASON]
        assert (await store.conversations.get(TENANT, conversation.id)).closed == REASON

    async def test_decision_about_a_run_that_waits_is_taken(self, store: Store) -> None:
        conversation = await a_conversation(store)
        waiting = await a_waiting_run(store, a_submission(conversation))
        await store.conversations.set_closed(TENANT, conversation.id, REASON)

        decided = await store.runs.decide(TENANT, waiting.run.id, a_decision(), a_claimant())

        assert decided.claim is not None
        assert decided.claim.conversation.closed == REASON

    # --- Runs that close it -----------------------------------------------------------------------

    async def test_run_may_close_it_with_its_end(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation, "U1"))
        await a_queued_run(store, a_submission(conversation, "U2"))

        committed = await store.runs.commit(claim.lease, replace(a_finish("A1"), closes=REASON), a_claimant())

        assert committed.next is not None
        assert committed.next.conversation.closed == REASON
        assert (committed.head, committed.next.input.text) == (3, "U2")
        assert await store.conversations.get(TENANT, conversation.id) == committed.next.conversation
        with pytest.raises(ConversationClosed):
            await store.runs.accept(a_submission(conversation, "U3"), None)

    async def test_run_may_close_it_and_go_on(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation))

        closed = []
        for commit in (
            Commit(messages=(an_answer(),)),
            Commit(closes=REASON),
            Commit(state="{}"),
            a_finish("end"),
        ):
            await store.runs.commit(claim.lease, commit, None)
            closed.append((await store.conversations.get(TENANT, conversation.id)).closed)

        assert closed == [None, REASON, REASON, REASON]

    async def test_commit_that_comes_again_does_not_close_it_again(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation))
        commit = replace(a_finish("answer"), closes=REASON)
        await store.runs.commit(claim.lease, commit, None)
        await store.conversations.set_closed(TENANT, conversation.id, None)

        await store.runs.commit(claim.lease, commit, None)

        assert (await store.conversations.get(TENANT, conversation.id)).closed is None

    async def test_who_may_not_write_closes_nothing(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation))
        overtaken = replace(claim.lease, epoch=claim.lease.epoch + 1)
        await store.runs.stop(TENANT, claim.run.id, Stop.CANCEL, None)

        with pytest.raises(LeaseLost):
            await store.runs.commit(overtaken, Commit(closes=REASON), None)
        with pytest.raises(StopRequested):
            await store.runs.commit(claim.lease, replace(a_finish("answer"), closes=REASON), None)

        assert (await store.conversations.get(TENANT, conversation.id)).closed is None

    # --- Branches ---------------------------------------------------------------------------------

    async def test_branch_of_a_closed_conversation_is_open(self, store: Store) -> None:
        source = await _a_closed_one(store)

        branch = await a_fork(store, source, at=2)
        asked = await store.runs.accept(a_submission(a_branch(source, at=2), "other"), a_claimant())
        await store.runs.accept(a_submission(branch, "more"), a_claimant())

        assert (branch.closed, asked.conversation.closed) == (None, None)
        assert asked.conversation.parent_id == source.id
        assert (await store.conversations.get(TENANT, source.id)).closed == REASON
        assert await all_texts(store, branch) == ["hello", "an answer", "more"]

    async def test_nothing_is_appended_to_a_closed_conversation_by_way_of_a_branch(
        self, store: Store
    ) -> None:
        source = await _a_closed_one(store)
        at_head, earlier = (a_branch(source, at=at, or_append=True) for at in (2, 1))

        with pytest.raises(ConversationClosed):
            await store.runs.accept(a_submission(at_head, "more"), a_claimant())
        apart = await store.runs.accept(a_submission(earlier, "other"), a_claimant())

        with pytest.raises(NotFound):
            await store.conversations.get(TENANT, at_head.id)
        assert apart.conversation.id == earlier.id
        assert await all_texts(store, source) == ["hello", "an answer"]

    async def test_what_is_appended_by_way_of_a_branch_may_open_it_again(self, store: Store) -> None:
        source = await _a_closed_one(store)
        branch = a_branch(source, at=2, or_append=True)

        accepted = await store.runs.accept(_opening(a_submission(branch, "more")), a_claimant())

        assert (accepted.conversation.id, accepted.conversation.closed) == (source.id, None)
        assert await all_texts(store, source) == ["hello", "an answer", "more"]

    async def test_message_in_a_branch_does_not_open_its_source(self, store: Store) -> None:
        source = await _a_closed_one(store)

        await store.runs.accept(_opening(a_submission(a_branch(source, at=1))), a_claimant())

        assert (await store.conversations.get(TENANT, source.id)).closed == REASON

    async def test_branch_that_was_closed_itself_takes_nothing(self, store: Store) -> None:
        source = await a_conversation(store)
        await an_exchange(store, source)
        branch = a_branch(source, at=1, alias="other")
        await store.conversations.fork(TENANT, branch)
        await store.conversations.set_closed(TENANT, "other", REASON)

        with pytest.raises(ConversationClosed):
            await store.runs.accept(a_submission(branch), None)

        assert (await store.conversations.fork(TENANT, branch)).closed == REASON


async def _a_closed_one(store: Store, *, alias: str | None = None) -> Conversation:
    """Store a conversation in which something was said, and close it."""
    conversation = await a_conversation(store, alias=alias)
    await an_exchange(store, conversation)
    return await store.conversations.set_closed(TENANT, conversation.id, REASON)


def _opening(submission: Submission) -> Submission:
    """Return this request, made so that it opens the conversation again."""
    return replace(submission, reopens=True)
