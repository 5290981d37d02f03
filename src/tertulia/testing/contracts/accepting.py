"""How every store takes requests in."""

import asyncio
from dataclasses import replace

import pytest

from tertulia.conversations import DEFAULT_TENANT, Claimant, NewConversation, RunStatus
from tertulia.definitions import StoredAgent
from tertulia.errors import ConversationBusy, HeadMoved, NotFound, SessionMismatch, TertuliaError
from tertulia.ids import AGENT, CONVERSATION, new_id
from tertulia.messages import Message
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    COMPLETED,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_definition,
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
class AcceptContract:
    """Requests are taken in whole or not at all, and in one order."""

    async def test_request_on_a_free_conversation_begins_at_once(self, store: Store) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        submission = a_submission(conversation, "hello")

        accepted = await store.runs.accept(submission, claimant)

        run, claim = accepted.run, accepted.claim
        assert accepted.is_new
        assert claim is not None
        assert (run.id, run.conversation_id, run.n) == (submission.run_id, conversation.id, 1)
        assert (run.status, run.epoch, run.attempt) == (RunStatus.RUNNING, 1, 1)
        assert (run.input_message_id, run.input_number, run.last_number) == (submission.message_id, 1, 0)
        assert (run.performer, run.ended_at, run.failure) == (submission.performer, None, None)
        assert run.started_at is not None
        assert (claim.run, claim.conversation, claim.steps) == (run, accepted.conversation, ())
        assert (claim.lease.tenant, claim.lease.run_id, claim.lease.epoch) == (TENANT, run.id, 1)
        assert (claim.lease.conversation_id, claim.lease.owner) == (conversation.id, claimant.owner)
        assert await store.runs.get(TENANT, run.id) == run

    async def test_its_message_is_kept_when_accept_returns(self, store: Store) -> None:
        conversation = await a_conversation(store)
        submission = a_submission(conversation, "hello")

        claim = await a_claimed_run(store, submission)

        [message] = await store.conversations.messages(TENANT, conversation.id)
        assert message == claim.input
        assert message == Message(
            id=submission.message_id,
            role="user",
            content=submission.content,
            number=1,
            run_id=submission.run_id,
            created_at=message.created_at,
        )
        assert message.created_at > 0
        row = await store.conversations.get(TENANT, conversation.id)
        assert (row.head, row.tokens) == (1, submission.tokens)
        assert row == claim.conversation

    async def test_every_request_gets_the_number_after_the_head(self, store: Store) -> None:
        conversation = await a_conversation(store)
        await an_exchange(store, conversation)

        claim = await a_claimed_run(store, a_submission(conversation, "more"))

        assert (claim.run.n, claim.run.input_number, claim.conversation.head) == (2, 3, 3)
        assert claim.conversation.tokens == 30

    async def test_options_come_back_as_they_were(self, store: Store) -> None:
        conversation = await a_conversation(store)
        options = {
            "settings": {"temperature": 0.5, "stop": ["ü", "\n"]},
            "none": None,
            "yes": True,
            "n": 2**53,
        }

        accepted = await store.runs.accept(replace(a_submission(conversation), options=options), a_claimant())

        assert accepted.run.options == options
        assert (await store.runs.get(TENANT, accepted.run.id)).options == options

    async def test_equal_messages_are_all_kept(self, store: Store) -> None:
        conversation = await a_conversation(store)

        for _ in range(3):
            await an_exchange(store, conversation, "same", "same")

        assert await all_texts(store, conversation) == ["same"] * 6

    async def test_conversation_is_named_by_alias_too(self, store: Store) -> None:
        conversation = await a_conversation(store, alias="mine")

        accepted = await store.runs.accept(a_submission("mine"), a_claimant())

        assert accepted.conversation.id == conversation.id

    async def test_unknown_conversation_is_not_found_and_nothing_is_left(self, store: Store) -> None:
        submission = a_submission(new_id(CONVERSATION))

        with pytest.raises(NotFound):
            await store.runs.accept(submission, a_claimant())

        await _left_nothing(store, submission.run_id)

    async def test_new_conversation_is_made_with_its_first_request(self, store: Store) -> None:
        new = a_new_conversation(await an_agent(store), alias="fresh")

        accepted = await store.runs.accept(a_submission(new), a_claimant())

        assert (accepted.conversation.id, accepted.conversation.alias) == (new.id, "fresh")
        assert accepted.conversation.head == 1
        assert await store.conversations.get(TENANT, "fresh") == accepted.conversation

    async def test_conversation_that_is_there_is_not_made_again(self, store: Store) -> None:
        agent = await an_agent(store)
        conversation = await a_conversation(store, agent, alias="mine")
        await an_exchange(store, conversation)

        accepted = await store.runs.accept(
            a_submission(a_new_conversation(agent, alias="mine")), a_claimant()
        )

        assert (accepted.conversation.id, accepted.run.n) == (conversation.id, 2)
        assert len(await store.conversations.page(TENANT, agent.id)) == 1

    async def test_request_for_another_agents_conversation_is_refused(self, store: Store) -> None:
        await a_conversation(store, await an_agent(store, name="Chef"), alias="taken")
        baker = await an_agent(store, name="Baker")
        submission = a_submission(a_new_conversation(baker, alias="taken"))

        with pytest.raises(SessionMismatch):
            await store.runs.accept(submission, a_claimant())

        await _left_nothing(store, submission.run_id)

    async def test_request_for_another_users_conversation_is_refused(self, store: Store) -> None:
        agent = await an_agent(store)
        anns = await store.runs.accept(a_submission(_of("ann", agent, alias="anns")), a_claimant())
        await a_conversation(store, agent, alias="nobodys")

        for alias in ("anns", "nobodys"):
            submission = a_submission(_of("bob", agent, alias=alias), key="k")
            with pytest.raises(SessionMismatch):
                await store.runs.accept(submission, a_claimant())
            await _left_nothing(store, submission.run_id)

        assert await store.conversations.get(TENANT, "anns") == anns.conversation
        assert (await store.conversations.get(TENANT, "nobodys")).user_id is None

    async def test_request_of_its_user_or_of_nobody_in_particular_joins_a_conversation(
        self, store: Store
    ) -> None:
        agent = await an_agent(store)
        requests = [_of("ann", agent, alias="anns") for _ in range(2)]
        requests.append(a_new_conversation(agent, alias="anns"))

        accepted = [await store.runs.accept(a_submission(each), a_claimant()) for each in requests]

        assert [a.run.n for a in accepted] == [1, 2, 3]
        assert {(a.conversation.id, a.conversation.user_id) for a in accepted} == {(requests[0].id, "ann")}

    async def test_refused_request_leaves_no_new_conversation(self, store: Store) -> None:
        agent = await an_agent(store)
        moved = a_submission(a_new_conversation(agent), expected_head=3)
        orphan = a_submission(NewConversation(id=new_id(CONVERSATION), agent_id=new_id(AGENT)))

        with pytest.raises(HeadMoved):
            await store.runs.accept(moved, a_claimant())
        with pytest.raises(NotFound):
            await store.runs.accept(orphan, a_claimant())

        assert await store.conversations.page(TENANT, agent.id) == []
        await _left_nothing(store, moved.run_id)
        await _left_nothing(store, orphan.run_id)

    async def test_opening_is_copied_once_with_the_first_request(self, store: Store) -> None:
        agent = await an_agent(store, first_message="Welcome!")
        conversation = await a_conversation(store, agent)
        assert conversation.first_message is None

        first = await a_claimed_run(store, a_submission(conversation))
        await store.runs.commit(first.lease, a_finish(), None)
        await store.agents.update(TENANT, agent.id, a_definition(first_message="Changed!"))
        second = await a_claimed_run(store, a_submission(conversation))

        assert first.conversation.first_message == "Welcome!"
        assert second.conversation.first_message == "Welcome!"

    async def test_opening_is_copied_when_the_first_request_has_to_wait(self, store: Store) -> None:
        agent = await an_agent(store, first_message="Welcome!")
        conversation = await a_conversation(store, agent)

        accepted = await a_queued_run(store, a_submission(conversation))
        await store.agents.update(TENANT, agent.id, a_definition(first_message="Changed!"))
        [claim] = await store.runs.claim(a_claimant(), limit=1)

        assert accepted.conversation.first_message == "Welcome!"
        assert claim.conversation.first_message == "Welcome!"

    async def test_no_opening_is_an_empty_one(self, store: Store) -> None:
        conversation = await a_conversation(store, await an_agent(store, first_message=""))

        claim = await a_claimed_run(store, a_submission(conversation))

        assert claim.conversation.first_message == ""

    async def test_run_keeps_the_agents_version_of_its_acceptance(self, store: Store) -> None:
        agent = await an_agent(store)
        conversation = await a_conversation(store, agent)

        await a_queued_run(store, a_submission(conversation))
        await store.agents.update(TENANT, agent.id, a_definition(model="local"))
        later = await a_queued_run(store, a_submission(conversation))
        [claim] = await store.runs.claim(a_claimant(), limit=1)

        assert (claim.run.agent_version, later.run.agent_version) == (1, 2)

    async def test_conversation_may_stay_with_a_version(self, store: Store) -> None:
        agent = await an_agent(store, first_message="First!")
        await store.agents.update(TENANT, agent.id, a_definition(first_message="Second!"))
        conversation = await a_conversation(store, agent, agent_version=1)

        claim = await a_claimed_run(store, a_submission(conversation))

        assert claim.run.agent_version == 1
        assert claim.conversation.first_message == "First!"

    async def test_request_on_a_held_conversation_waits(self, store: Store) -> None:
        conversation = await a_conversation(store)
        await a_claimed_run(store, a_submission(conversation, "first"))
        submission = a_submission(conversation, "second")

        accepted = await store.runs.accept(submission, a_claimant())

        run = accepted.run
        assert (accepted.claim, accepted.is_new) == (None, True)
        assert (run.status, run.n, run.epoch, run.attempt) == (RunStatus.QUEUED, 2, 0, 0)
        assert (run.input_number, run.started_at) == (0, None)
        assert run.input_message_id == submission.message_id
        assert await store.runs.get(TENANT, run.id) == run
        assert (accepted.conversation.head, accepted.conversation.tokens) == (1, 10)
        assert await all_texts(store, conversation) == ["first"]

    @pytest.mark.parametrize("claimant", [None, a_claimant(performers=("other",)), a_claimant(performers=())])
    async def test_request_that_nobody_can_carry_out_waits(
        self, store: Store, claimant: Claimant | None
    ) -> None:
        conversation = await a_conversation(store)

        accepted = await store.runs.accept(a_submission(conversation), claimant)

        assert (accepted.claim, accepted.run.status) == (None, RunStatus.QUEUED)
        assert (accepted.run.input_number, accepted.conversation.head) == (0, 0)
        assert len(await store.conversations.pending(TENANT, conversation.id)) == 1

    async def test_nobody_overtakes_a_waiting_request(self, store: Store) -> None:
        conversation = await a_conversation(store)
        await a_queued_run(store, a_submission(conversation, "first"))

        second = await store.runs.accept(a_submission(conversation, "second"), a_claimant())

        assert (second.claim, second.run.n) == (None, 2)
        pending = await store.conversations.pending(TENANT, conversation.id)
        assert [message.text for message in pending] == ["first", "second"]

    async def test_request_may_refuse_to_wait(self, store: Store) -> None:
        held, queued = (
            await a_conversation(store),
            await a_conversation(store, await an_agent(store, name="B")),
        )
        await a_claimed_run(store, a_submission(held))
        await a_queued_run(store, a_submission(queued))

        for conversation in (held, queued):
            submission = a_submission(conversation, multitask="reject")
            with pytest.raises(ConversationBusy):
                await store.runs.accept(submission, a_claimant())
            await _left_nothing(store, submission.run_id)

        assert await store.conversations.pending(TENANT, held.id) == []
        assert len(await store.conversations.pending(TENANT, queued.id)) == 1

    async def test_request_that_need_not_wait_is_not_refused(self, store: Store) -> None:
        conversation = await a_conversation(store)

        claim = await a_claimed_run(store, a_submission(conversation, multitask="reject"))

        assert claim.run.n == 1

    async def test_expected_head_that_is_the_head_is_accepted(self, store: Store) -> None:
        conversation = await a_conversation(store)

        first = await a_claimed_run(store, a_submission(conversation, expected_head=0))
        await store.runs.commit(first.lease, a_finish("answer"), None)
        second = await a_claimed_run(store, a_submission(conversation, expected_head=2))

        assert second.run.input_number == 3

    @pytest.mark.parametrize("expected", [0, 1, 3])
    async def test_expected_head_that_is_elsewhere_is_refused(self, store: Store, expected: int) -> None:
        conversation = await a_conversation(store)
        await an_exchange(store, conversation)
        submission = a_submission(conversation, expected_head=expected)

        with pytest.raises(HeadMoved):
            await store.runs.accept(submission, a_claimant())

        await _left_nothing(store, submission.run_id)
        assert (await store.conversations.get(TENANT, conversation.id)).head == 2

    @pytest.mark.parametrize("multitask", ["enqueue", "reject"])
    async def test_expected_head_that_is_about_to_move_is_refused(self, store: Store, multitask: str) -> None:
        held, queued = (
            await a_conversation(store),
            await a_conversation(store, await an_agent(store, name="B")),
        )
        await a_claimed_run(store, a_submission(held))
        await a_queued_run(store, a_submission(queued))

        for conversation, head in ((held, 1), (queued, 0)):
            submission = replace(
                a_submission(conversation, expected_head=head),
                multitask="reject" if multitask == "reject" else "enqueue",
            )
            with pytest.raises(HeadMoved):
                await store.runs.accept(submission, a_claimant())

    async def test_of_many_requests_at_once_one_begins_and_none_is_lost(self, store: Store) -> None:
        conversation = await a_conversation(store)
        submissions = [a_submission(conversation, f"{i}") for i in range(12)]

        accepted = await asyncio.gather(*[store.runs.accept(s, a_claimant()) for s in submissions])

        in_order = sorted(accepted, key=lambda a: a.run.n)
        assert [a.run.n for a in in_order] == list(range(1, 13))
        assert [a.claim is not None for a in in_order] == [True] + [False] * 11
        pending = await store.conversations.pending(TENANT, conversation.id)
        assert [m.id for m in pending] == [a.run.input_message_id for a in in_order[1:]]

    async def test_of_many_who_expect_the_same_head_one_is_accepted(self, store: Store) -> None:
        conversation = await a_conversation(store)
        submissions = [a_submission(conversation, f"{i}", expected_head=0) for i in range(8)]

        outcomes = await asyncio.gather(
            *[store.runs.accept(s, a_claimant()) for s in submissions], return_exceptions=True
        )

        refused = [o for o in outcomes if isinstance(o, TertuliaError)]
        assert [type(o) for o in refused] == [HeadMoved] * 7
        assert await store.conversations.pending(TENANT, conversation.id) == []

    async def test_answers_stand_behind_their_questions(self, store: Store) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        accepted = [await store.runs.accept(a_submission(conversation, f"U{i}"), claimant) for i in (1, 2, 3)]

        claim, i = accepted[0].claim, 1
        while claim is not None:
            committed = await store.runs.commit(claim.lease, a_finish(f"A{i}", ending=COMPLETED), claimant)
            claim, i = committed.next, i + 1

        assert await all_texts(store, conversation) == ["U1", "A1", "U2", "A2", "U3", "A3"]


async def _left_nothing(store: Store, run_id: str) -> None:
    with pytest.raises(NotFound):
        await store.runs.get(TENANT, run_id)


def _of(user: str, agent: StoredAgent, *, alias: str) -> NewConversation:
    """Return a user's conversation, to be made."""
    return replace(a_new_conversation(agent, alias=alias), user_id=user)
