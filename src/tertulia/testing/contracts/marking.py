"""How every store withdraws and erases messages."""

import asyncio
from dataclasses import replace

import pytest

from tertulia.conversations import DEFAULT_TENANT, Claim, Commit, Conversation
from tertulia.errors import ConversationBusy, NotFound
from tertulia.ids import CONVERSATION, new_id
from tertulia.messages import Flag, Message
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_failed_run,
    a_finish,
    a_fork,
    a_frame,
    a_queued_run,
    a_submission,
    a_waiting_run,
    all_kept,
    an_answer,
    an_exchange,
)
from tertulia.testing.contracts.branching import a_family, a_talk

TENANT = DEFAULT_TENANT

each_flag = pytest.mark.parametrize("flag", [Flag.WITHDRAWN, Flag.DELETED])


@pytest.mark.asyncio
class MarkContract:
    """What was said can be withdrawn or erased, wherever it is shared; its number stays."""

    async def test_withdrawn_messages_stay_in_the_log(self, store: Store) -> None:
        conversation = await a_talk(store, await a_conversation(store), upto=4)
        before = await _read(store, conversation)

        marked = await store.conversations.mark(TENANT, conversation.id, [2, 3], Flag.WITHDRAWN)

        assert marked == replace(conversation, version=conversation.version + 1)
        assert await store.conversations.get(TENANT, conversation.id) == marked
        assert await _read(store, conversation) == [
            replace(m, flags=Flag.WITHDRAWN) if m.number in (2, 3) else m for m in before
        ]

    async def test_erased_messages_leave_tombstones(self, store: Store) -> None:
        conversation = await a_talk(store, await a_conversation(store), upto=4)
        before = await _read(store, conversation)

        marked = await store.conversations.mark(TENANT, conversation.id, [1, 4], Flag.DELETED)

        after = await _read(store, conversation)
        assert marked == replace(conversation, version=conversation.version + 1)
        assert after == [
            replace(m, flags=Flag.DELETED, content=(), author=None) if m.number in (1, 4) else m
            for m in before
        ]
        assert await store.conversations.recent(TENANT, conversation.id, upto=4, limit=9) == after[::-1]

    async def test_marks_add_up(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation))
        cut = replace(an_answer("cut"), flags=Flag.INCOMPLETE)
        await store.runs.commit(claim.lease, replace(a_finish(), messages=(cut,)), None)

        marks = []
        for flag in (Flag.WITHDRAWN, Flag.DELETED):
            row = await store.conversations.mark(TENANT, conversation.id, [2], flag)
            marks.append((row.version, (await _read(store, conversation))[1].flags))

        assert marks == [
            (2, Flag.INCOMPLETE | Flag.WITHDRAWN),
            (3, Flag.INCOMPLETE | Flag.WITHDRAWN | Flag.DELETED),
        ]
        assert (await _read(store, conversation))[1].content == ()

    @each_flag
    async def test_where_nothing_changes_no_version_rises(self, store: Store, flag: Flag) -> None:
        conversation = await a_talk(store, await a_conversation(store), upto=2)
        branch = await a_fork(store, conversation, at=2)
        marked = await store.conversations.mark(TENANT, conversation.id, [1, 2], flag)
        before = await all_kept(store, conversation)
        shared = await store.conversations.get(TENANT, branch.id)

        for numbers in ([1], [2, 1], []):
            assert await store.conversations.mark(TENANT, conversation.id, numbers, flag) == marked
        await store.conversations.mark(TENANT, branch.id, [1, 2], flag)

        assert await all_kept(store, conversation) == before
        assert await store.conversations.get(TENANT, branch.id) == shared

    @each_flag
    async def test_numbers_may_come_twice_and_in_any_order(self, store: Store, flag: Flag) -> None:
        conversation = await a_talk(store, await a_conversation(store), upto=4)

        marked = await store.conversations.mark(TENANT, conversation.id, (4, 1, 4, 1), flag)

        assert marked.version == conversation.version + 1
        assert await _marked(store, conversation, flag) == [1, 4]

    @each_flag
    @pytest.mark.parametrize("numbers", [[0], [-1], [5], [1, 5], [2**40]])
    async def test_unknown_number_is_not_found_and_nothing_is_marked(
        self, store: Store, flag: Flag, numbers: list[int]
    ) -> None:
        conversation = await a_talk(store, await a_conversation(store), upto=4)
        before = await all_kept(store, conversation)

        with pytest.raises(NotFound):
            await store.conversations.mark(TENANT, conversation.id, numbers, flag)

        assert await all_kept(store, conversation) == before

    async def test_unknown_conversation_is_not_found(self, store: Store) -> None:
        for conversation_id in (new_id(CONVERSATION), "nope", ""):
            for numbers in ([1], []):
                with pytest.raises(NotFound):
                    await store.conversations.mark(TENANT, conversation_id, numbers, Flag.DELETED)

    async def test_events_in_which_an_erased_message_was_told_are_gone(self, store: Store) -> None:
        conversation = await a_conversation(store)
        first, second = [await _told(store, conversation) for _ in range(2)]

        await store.conversations.mark(TENANT, conversation.id, [2], Flag.DELETED)

        assert await store.runs.frames(TENANT, first.run.id) == []
        assert await store.runs.frames(TENANT, second.run.id) == [a_frame(0, 3)]
        assert (await store.runs.get(TENANT, first.run.id)).last_number == 2

    async def test_events_in_which_a_withdrawn_message_was_told_stay(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await _told(store, conversation)

        await store.conversations.mark(TENANT, conversation.id, [1, 2], Flag.WITHDRAWN)

        assert await store.runs.frames(TENANT, claim.run.id) == [a_frame(0, 3)]

    async def test_events_are_gone_also_if_a_branch_erases_their_message(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await _told(store, conversation)
        branch = await a_fork(store, conversation, at=2)

        await store.conversations.mark(TENANT, branch.id, [2], Flag.DELETED)

        assert await store.runs.frames(TENANT, claim.run.id) == []

    @each_flag
    async def test_what_the_holder_answers_or_has_said_is_left_alone(self, store: Store, flag: Flag) -> None:
        conversation = await a_talk(store, await a_conversation(store), upto=2)
        claim = await a_claimed_run(store, a_submission(conversation))
        await store.runs.commit(claim.lease, Commit(messages=(an_answer(),)), None)
        before = await all_kept(store, conversation)

        for numbers in ([3], [4], [1, 4]):
            with pytest.raises(ConversationBusy):
                await store.conversations.mark(TENANT, conversation.id, numbers, flag)
        assert await all_kept(store, conversation) == before
        await store.conversations.mark(TENANT, conversation.id, [1, 2], flag)
        await store.runs.commit(claim.lease, a_finish(), None)
        await store.conversations.mark(TENANT, conversation.id, [3, 4], flag)

        assert await _marked(store, conversation, flag) == [1, 2, 3, 4]

    @each_flag
    async def test_what_a_waiting_holder_answers_is_left_alone(self, store: Store, flag: Flag) -> None:
        conversation = await a_conversation(store)
        await a_waiting_run(store, a_submission(conversation))

        with pytest.raises(ConversationBusy):
            await store.conversations.mark(TENANT, conversation.id, [1], flag)

    @each_flag
    async def test_what_a_holder_is_at_work_on_is_left_alone_by_its_branches_too(
        self, store: Store, flag: Flag
    ) -> None:
        source = await a_talk(store, await a_conversation(store), upto=2)
        claim = await a_claimed_run(store, a_submission(source))
        branch = await a_fork(store, source, at=3)

        with pytest.raises(ConversationBusy):
            await store.conversations.mark(TENANT, branch.id, [1, 3], flag)
        await store.runs.commit(claim.lease, a_finish("answer"), None)
        await store.conversations.mark(TENANT, branch.id, [1, 3], flag)

        assert await _marked(store, source, flag) == await _marked(store, branch, flag) == [1, 3]

    @each_flag
    async def test_what_holders_of_branches_share_may_be_marked(self, store: Store, flag: Flag) -> None:
        source = await a_talk(store, await a_conversation(store), upto=2)
        branch = await a_fork(store, source, at=2)
        await a_claimed_run(store, a_submission(branch))

        await store.conversations.mark(TENANT, branch.id, [2], flag)

        assert await _marked(store, source, flag) == [2]

    async def test_what_a_repeated_run_answers_is_left_alone(self, store: Store) -> None:
        conversation = await a_conversation(store)
        failed = await a_failed_run(store, a_submission(conversation))
        await store.runs.retry(TENANT, failed.run.id, new_id("run"), a_claimant())

        with pytest.raises(ConversationBusy):
            await store.conversations.mark(TENANT, conversation.id, [1], Flag.WITHDRAWN)

    async def test_unknown_number_is_said_before_a_busy_conversation(self, store: Store) -> None:
        conversation = await a_conversation(store)
        await a_claimed_run(store, a_submission(conversation))

        with pytest.raises(NotFound):
            await store.conversations.mark(TENANT, conversation.id, [1, 2], Flag.WITHDRAWN)

    async def test_queued_runs_are_in_nobodys_way(self, store: Store) -> None:
        conversation = await a_talk(store, await a_conversation(store), upto=2)
        await a_queued_run(store, a_submission(conversation))

        await store.conversations.mark(TENANT, conversation.id, [2], Flag.WITHDRAWN)

        assert await _marked(store, conversation, Flag.WITHDRAWN) == [2]

    @each_flag
    async def test_what_is_marked_is_marked_for_all_that_share_it(self, store: Store, flag: Flag) -> None:
        source = await a_talk(store, await a_conversation(store), upto=4)
        near, far = await a_fork(store, source, at=1), await a_fork(store, source, at=3)
        marker = await a_fork(store, far, at=3)

        await store.conversations.mark(TENANT, marker.id, [2, 3], flag)

        for conversation, numbers in ((source, [2, 3]), (near, []), (far, [2, 3]), (marker, [2, 3])):
            assert await _marked(store, conversation, flag) == numbers
        assert await _risen(store, [source, near, far, marker]) == [1, 0, 1, 1]
        assert await _read(store, far) == (await _read(store, source))[:3]

    @each_flag
    @pytest.mark.parametrize(
        ("number", "risen"),
        [
            (1, [1, 1, 1, 1]),
            (2, [1, 1, 1, 1]),
            (3, [0, 1, 1, 1]),
            (4, [0, 1, 1, 1]),
            (5, [0, 0, 1, 1]),
            (6, [0, 0, 1, 1]),
            (7, [0, 0, 0, 1]),
            (10, [0, 0, 0, 1]),
        ],
    )
    async def test_version_rises_in_those_that_share_what_has_changed(
        self, store: Store, flag: Flag, number: int, risen: list[int]
    ) -> None:
        family = await a_family(store)

        await store.conversations.mark(TENANT, family[-1].id, [number], flag)

        assert await _risen(store, family) == risen

    async def test_parents_own_messages_do_not_touch_its_branches(self, store: Store) -> None:
        family = await a_family(store)

        await store.conversations.mark(TENANT, family[0].id, [3, 4], Flag.DELETED)
        await store.conversations.mark(TENANT, family[2].id, [8], Flag.WITHDRAWN)

        assert await _risen(store, family) == [1, 0, 1, 0]
        assert await _marked(store, family[-1], Flag.DELETED) == []

    async def test_version_rises_once_for_many_messages(self, store: Store) -> None:
        family = await a_family(store)
        await store.conversations.mark(TENANT, family[0].id, [1], Flag.WITHDRAWN)

        await store.conversations.mark(TENANT, family[-1].id, [1, 5, 6, 9], Flag.WITHDRAWN)

        assert await _risen(store, family) == [1, 1, 2, 2]

    async def test_of_many_who_mark_at_once_one_does(self, store: Store) -> None:
        source = await a_talk(store, await a_conversation(store), upto=2)
        branch = await a_fork(store, source, at=2)

        await asyncio.gather(
            *[
                store.conversations.mark(TENANT, conversation.id, [1, 2], Flag.WITHDRAWN)
                for conversation in (source, branch) * 4
            ]
        )

        assert await _risen(store, [source, branch]) == [1, 1]

    async def test_branch_of_what_was_marked_begins_with_the_marks(self, store: Store) -> None:
        source = await a_talk(store, await a_conversation(store), upto=2)
        await store.conversations.mark(TENANT, source.id, [1], Flag.DELETED)

        branch = await a_fork(store, source, at=2)

        assert await _read(store, branch) == await _read(store, source)
        assert await _marked(store, branch, Flag.DELETED) == [1]

    @each_flag
    async def test_conversation_goes_on_behind_what_was_marked(self, store: Store, flag: Flag) -> None:
        conversation = await a_talk(store, await a_conversation(store), upto=2)
        await store.conversations.mark(TENANT, conversation.id, [1, 2], flag)

        await an_exchange(store, conversation)

        assert [m.number for m in await _read(store, conversation)] == [1, 2, 3, 4]
        assert await _marked(store, conversation, flag) == [1, 2]


async def _read(store: Store, conversation: Conversation) -> list[Message]:
    return await store.conversations.messages(TENANT, conversation.id)


async def _marked(store: Store, conversation: Conversation, flag: Flag) -> list[int]:
    return [m.number for m in await _read(store, conversation) if flag in m.flags]


async def _risen(store: Store, earlier: list[Conversation]) -> list[int]:
    """Return by how much the versions of these conversations have risen since."""
    now = [await store.conversations.get(TENANT, row.id) for row in earlier]
    return [new.version - old.version for new, old in zip(now, earlier, strict=True)]


async def _told(store: Store, conversation: Conversation) -> Claim:
    """Have something asked and answered, and its events stored."""
    claim = await a_claimed_run(store, a_submission(conversation))
    await store.runs.commit(claim.lease, replace(a_finish("answer"), frames=(a_frame(0, 3),)), None)
    return claim
