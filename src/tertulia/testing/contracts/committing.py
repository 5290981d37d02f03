"""How every store lets the holder of a lease write."""

import asyncio
from dataclasses import replace

import pytest

from tertulia.conversations import DEFAULT_TENANT, Commit, Ending, Frame, Job, Lease, RunStatus
from tertulia.errors import LeaseLost
from tertulia.ids import MESSAGE, RUN, new_id
from tertulia.messages import Flag, Message
from tertulia.parts import Media, Reasoning, Text, ToolCall, ToolResult, Unknown
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    CANCELLED,
    COMPLETED,
    FAILED,
    FAILURE,
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_finish,
    a_queued_run,
    a_step,
    a_submission,
    all_texts,
    an_answer,
)
from tertulia.usage import Usage

TENANT = DEFAULT_TENANT
USAGES = (
    Usage(input_tokens=5, output_tokens=4),
    Usage(reasoning_tokens=3, tool_calls=2),
    Usage(cost=0.000_012_5),
    Usage(model_calls=3, cost=1.25, unpriced_calls=2),
    Usage(
        input_tokens=1,
        output_tokens=2,
        cached_tokens=3,
        reasoning_tokens=4,
        model_calls=5,
        wasted_calls=6,
        tool_calls=7,
        cost=8.5,
        unpriced_calls=9,
    ),
)
"""With zeros at either end, in the middle, and nowhere."""


@pytest.mark.asyncio
class CommitContract:
    """A commit is written whole, by whoever holds the run, and by nobody else."""

    async def test_messages_get_the_numbers_after_the_head(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation))

        committed = await store.runs.commit(
            claim.lease, Commit(messages=(an_answer("one"), an_answer("two")), tokens=7), None
        )

        assert (committed.head, committed.next) == (3, None)
        row = await store.conversations.get(TENANT, conversation.id)
        assert (row.head, row.tokens) == (3, 17)
        assert (await store.runs.get(TENANT, claim.run.id)).last_number == 3
        messages = await store.conversations.messages(TENANT, conversation.id)
        assert [(m.number, m.text) for m in messages] == [(1, "hello"), (2, "one"), (3, "two")]

    async def test_messages_are_kept_as_they_were_said(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation))
        parts = (Text(text="a"), Unknown(raw={"type": "image", "url": "x", "n": [1, None]}), Text(text="b"))
        use = ToolCall(id="c1", name="mail", arguments='{"to": "Zoë"', opaque="sealed")
        result = ToolResult(call_id="c1", name="mail", text="no JSON", is_error=True)
        thought = Reasoning(text="Hm.", provider="openai", opaque="sealed")
        said = [
            an_answer("plain", author="Chef", turn=1),
            replace(an_answer(turn=2), author=None, content=parts),
            replace(an_answer(turn=2), content=(thought, Text(text="I look."), use)),
            replace(an_answer(turn=2), content=(result,), role="tool", author=None),
            replace(an_answer(turn=2), content=(Media(kind="image", base64="AA=="), Text(text="c"))),
            replace(an_answer("cut", turn=3), flags=Flag.INCOMPLETE, run_id=claim.run.id),
            replace(an_answer("hidden"), flags=Flag.WITHDRAWN | Flag.INCOMPLETE, role="tool"),
            Message(id=new_id(MESSAGE), role="system", content=(), created_at=1),
        ]

        await store.runs.commit(claim.lease, Commit(messages=tuple(said)), None)

        kept = await store.conversations.messages(TENANT, conversation.id, after=1)
        numbered = [replace(m, number=i, run_id=claim.run.id) for i, m in enumerate(said, start=2)]
        assert kept == numbered
        assert await store.conversations.recent(TENANT, conversation.id, upto=9, limit=8) == kept[::-1]

    async def test_run_goes_on_over_many_commits(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation, "U"))

        for text in ("A", "B"):
            await store.runs.commit(claim.lease, Commit(messages=(an_answer(text),), tokens=1), None)
        committed = await store.runs.commit(claim.lease, a_finish("C"), None)

        assert committed.head == 4
        assert await all_texts(store, conversation) == ["U", "A", "B", "C"]
        run = await store.runs.get(TENANT, claim.run.id)
        assert (run.input_number, run.last_number, run.status) == (1, 4, RunStatus.COMPLETED)

    async def test_state_stays_until_it_is_set_again(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation))

        states = []
        for state in ('{"turn":1}', None, '{"turn":2}', ""):
            await store.runs.commit(claim.lease, Commit(state=state), None)
            states.append((await store.conversations.get(TENANT, conversation.id)).state)

        assert claim.conversation.state is None
        assert states == ['{"turn":1}', '{"turn":1}', '{"turn":2}', ""]

    async def test_usage_is_the_new_total(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
        usage = Usage(input_tokens=5, output_tokens=4, cached_tokens=3, model_calls=2, wasted_calls=1)

        await store.runs.commit(claim.lease, Commit(usage=Usage(model_calls=9)), None)
        await store.runs.commit(claim.lease, Commit(usage=usage), None)
        await store.runs.commit(claim.lease, a_finish("answer"), None)

        assert (await store.runs.get(TENANT, claim.run.id)).usage == usage

    @pytest.mark.parametrize("usage", [*USAGES, Usage()])
    async def test_every_amount_of_usage_is_kept(self, store: Store, usage: Usage) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
        step = replace(a_step(), usage=usage)

        await store.runs.commit(claim.lease, Commit(usage=Usage(cost=9.0, unpriced_calls=9)), None)
        await store.runs.commit(claim.lease, Commit(steps=(step,), usage=usage), None)

        assert (await store.runs.get(TENANT, claim.run.id)).usage == usage
        assert [step.usage for step in await store.runs.steps(TENANT, claim.run.id)] == [usage]

    @pytest.mark.parametrize("ending", [COMPLETED, FAILED, CANCELLED])
    async def test_run_ends_as_it_is_told(self, store: Store, ending: Ending) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation))

        committed = await store.runs.commit(claim.lease, Commit(ending=ending), a_claimant())

        run = await store.runs.get(TENANT, claim.run.id)
        assert (run.status, run.failure) == (ending.status, ending.failure)
        assert run.ended_at is not None
        assert run.last_number == 0
        assert (committed.head, committed.next) == (1, None)
        assert await all_texts(store, conversation) == ["hello"]

    async def test_failure_comes_back_whole(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))

        await store.runs.commit(claim.lease, Commit(ending=FAILED), None)

        assert (await store.runs.get(TENANT, claim.run.id)).failure == FAILURE

    async def test_next_run_begins_in_the_commit_that_ends_one(self, store: Store) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        first = await a_claimed_run(store, a_submission(conversation, "U1"), claimant=claimant)
        waiting = [await a_queued_run(store, a_submission(conversation, t)) for t in ("U2", "U3")]

        committed = await store.runs.commit(first.lease, a_finish("A1"), claimant)

        claim = committed.next
        assert claim is not None
        assert (claim.run.id, claim.run.n) == (waiting[0].run.id, 2)
        assert (claim.run.status, claim.run.epoch, claim.run.attempt) == (RunStatus.RUNNING, 1, 1)
        assert (claim.input.text, claim.input.number, claim.run.input_number) == ("U2", 3, 3)
        assert claim.input.id == claim.run.input_message_id
        assert (claim.lease.owner, claim.lease.epoch) == (claimant.owner, 1)
        assert (claim.conversation.head, claim.conversation.tokens) == (3, 30)
        assert committed.head == 3
        assert await store.conversations.get(TENANT, conversation.id) == claim.conversation
        assert await store.runs.get(TENANT, claim.run.id) == claim.run
        assert await all_texts(store, conversation) == ["U1", "A1", "U2"]
        pending = await store.conversations.pending(TENANT, conversation.id)
        assert [m.text for m in pending] == ["U3"]

    async def test_next_run_waits_for_somebody_who_can_carry_it_out(self, store: Store) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        first = await a_claimed_run(store, a_submission(conversation, "U1"), claimant=claimant)
        await a_queued_run(store, a_submission(conversation, "U2", performer="other"))
        await a_queued_run(store, a_submission(conversation, "U3"))

        committed = await store.runs.commit(first.lease, a_finish("A1"), claimant)

        assert (committed.head, committed.next) == (2, None)
        assert await all_texts(store, conversation) == ["U1", "A1"]
        assert len(await store.conversations.pending(TENANT, conversation.id)) == 2

    async def test_next_run_waits_without_a_claimant(self, store: Store) -> None:
        conversation = await a_conversation(store)
        first = await a_claimed_run(store, a_submission(conversation, "U1"))
        await a_queued_run(store, a_submission(conversation, "U2"))

        assert (await store.runs.commit(first.lease, a_finish("A1"), None)).next is None

    async def test_commit_without_ending_begins_no_other_run(self, store: Store) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        first = await a_claimed_run(store, a_submission(conversation, "U1"), claimant=claimant)
        await a_queued_run(store, a_submission(conversation, "U2"))

        committed = await store.runs.commit(first.lease, Commit(messages=(an_answer("A1"),)), claimant)

        assert (committed.head, committed.next) == (2, None)

    async def test_who_was_overtaken_writes_nothing(self, store: Store) -> None:
        conversation = await a_conversation(store)
        stale = await a_claimed_run(
            store, a_submission(conversation), claimant=a_claimant(lease_us=OVER_AT_ONCE)
        )
        [fresh] = await store.runs.claim(a_claimant(), limit=1)

        await _refused(store, stale.lease)

        await store.runs.commit(fresh.lease, a_finish("answer"), None)
        assert await all_texts(store, conversation) == ["hello", "answer"]

    async def test_after_the_end_nothing_is_written(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
        await store.runs.commit(claim.lease, a_finish("answer"), None)

        await _refused(store, claim.lease)

    async def test_for_an_unknown_run_nothing_is_written(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))

        await _refused(store, replace(claim.lease, run_id=new_id(RUN)))

    @pytest.mark.parametrize("epoch", [0, 2])
    async def test_with_another_epoch_nothing_is_written(self, store: Store, epoch: int) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))

        await _refused(store, replace(claim.lease, epoch=epoch))

    async def test_for_a_waiting_run_nothing_is_written(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation))
        waiting = await a_queued_run(store, a_submission(conversation))

        await _refused(store, replace(claim.lease, run_id=waiting.run.id, epoch=0))

    async def test_who_has_given_a_run_back_writes_nothing(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
        await store.runs.release([claim.lease])

        await _refused(store, claim.lease)

    @pytest.mark.parametrize("ending", [None, COMPLETED, FAILED])
    async def test_commit_that_comes_again_is_written_once(self, store: Store, ending: Ending | None) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        claim = await a_claimed_run(store, a_submission(conversation, "U1"), claimant=claimant)
        await a_queued_run(store, a_submission(conversation, "U2"))
        commit = Commit(messages=(an_answer("A1"),), tokens=5, steps=(a_step(),), ending=ending)

        first = await store.runs.commit(claim.lease, commit, None)
        run = await store.runs.get(TENANT, claim.run.id)
        again = await store.runs.commit(claim.lease, commit, claimant)

        assert (first.head, again.head, again.next) == (2, 2, None)
        assert await store.runs.get(TENANT, claim.run.id) == run
        assert await all_texts(store, conversation) == ["U1", "A1"]
        assert (await store.conversations.get(TENANT, conversation.id)).tokens == 15

    async def test_ending_that_comes_again_is_no_loss(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
        await store.runs.commit(claim.lease, Commit(ending=FAILED), None)
        before = await store.runs.get(TENANT, claim.run.id)

        await store.runs.commit(claim.lease, Commit(ending=FAILED), None)
        with pytest.raises(LeaseLost):
            await store.runs.commit(claim.lease, Commit(ending=COMPLETED), None)

        assert await store.runs.get(TENANT, claim.run.id) == before

    async def test_lease_that_ran_out_holds_until_it_is_taken(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(
            store, a_submission(conversation), claimant=a_claimant(lease_us=OVER_AT_ONCE)
        )

        await store.runs.commit(claim.lease, a_finish("answer"), None)

        assert await all_texts(store, conversation) == ["hello", "answer"]

    async def test_of_many_commits_that_end_a_run_at_once_one_is_written(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation))

        outcomes = await asyncio.gather(
            *[store.runs.commit(claim.lease, a_finish("answer"), None) for _ in range(8)],
            return_exceptions=True,
        )

        assert [type(o) for o in outcomes].count(LeaseLost) == 7
        assert await all_texts(store, conversation) == ["hello", "answer"]

    async def test_empty_commit_changes_nothing(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))

        committed = await store.runs.commit(claim.lease, Commit(), None)

        assert (committed.head, committed.next) == (1, None)
        assert await store.runs.get(TENANT, claim.run.id) == claim.run
        assert await store.conversations.get(TENANT, claim.conversation.id) == claim.conversation


async def _refused(store: Store, lease: Lease) -> None:
    """Check that a commit of everything is refused and leaves nothing behind."""

    async def kept() -> list[object]:
        return [
            await store.conversations.get(TENANT, lease.conversation_id),
            await store.conversations.messages(TENANT, lease.conversation_id),
            await store.runs.steps(TENANT, lease.run_id),
            await store.runs.frames(TENANT, lease.run_id),
        ]

    before = await kept()
    everything = replace(
        a_finish("zombie"),
        steps=(a_step("zombie"),),
        state="zombie",
        usage=Usage(model_calls=99),
        frames=(Frame(first_seq=99, last_seq=99, data="[]"),),
        jobs=(Job(id=new_id("job"), kind="index", payload="{}"),),
    )

    for commit in (everything, replace(everything, ending=None), Commit()):
        with pytest.raises(LeaseLost) as refusal:
            await store.runs.commit(lease, commit, a_claimant())
        assert refusal.value.run_id == lease.run_id

    assert await kept() == before
