"""Laws on forgetting, for history providers that can; others keep them by doing nothing."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from tertulia.memory.history.base import HistoryProvider, SupportsForgetting, SupportsRecent
from tertulia.parts import ToolCall, ToolResult
from tertulia.testing.history_samples import a_message, a_session, some_messages, what_counts


@pytest.mark.asyncio
class ForgettingLaws:
    """What was forgotten is gone, and nothing else."""

    async def test_what_was_forgotten_is_gone_and_the_rest_as_it_was(
        self, history: HistoryProvider, other: HistoryProvider
    ) -> None:
        if not isinstance(history, SupportsForgetting):
            return
        said = some_messages(9)
        for place in range(0, 9, 3):
            await history.append(a_session(), said[place : place + 3])

        await history.forget(a_session(), {said[0].id, said[5].id})

        left = [*said[1:5], *said[6:]]
        assert what_counts(await history.load(a_session())) == left
        assert what_counts(await other.load(a_session())) == left

    @pytest.mark.parametrize("gone", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)])
    async def test_any_part_of_an_append_can_be_forgotten(
        self, history: HistoryProvider, gone: tuple[int, ...]
    ) -> None:
        if not isinstance(history, SupportsForgetting):
            return
        said, more = some_messages(3), some_messages(2)
        await history.append(a_session(), said)

        await history.forget(a_session(), [said[place].id for place in gone])
        left = [message for place, message in enumerate(said) if place not in gone]
        before = await history.load(a_session())
        await history.append(a_session(), more)

        assert what_counts(before) == left
        assert what_counts(await history.load(a_session())) == [*left, *more]

    async def test_what_was_forgotten_is_not_kept_again(
        self, history: HistoryProvider, other: HistoryProvider
    ) -> None:
        if not isinstance(history, SupportsForgetting):
            return
        said = some_messages(6)
        await history.append(a_session(), said[:4])

        await history.forget(a_session(), [said[1].id, said[3].id])
        for provider in (other, history, other):
            await provider.append(a_session(), said)

        assert what_counts(await history.load(a_session())) == [said[0], said[2], *said[4:]]

    async def test_session_of_which_all_was_forgotten_has_no_messages(
        self, history: HistoryProvider, opened: Callable[[], HistoryProvider]
    ) -> None:
        if not isinstance(history, SupportsForgetting):
            return
        said, more = some_messages(4), a_message("more")
        await history.append(a_session(), said)

        await history.forget(a_session(), [message.id for message in said])
        before = await history.load(a_session())
        anew = opened()
        await anew.append(a_session(), [*said, more])
        after = await anew.load(a_session())
        await anew.close()

        assert before == []
        assert what_counts(after) == [more]

    async def test_forgetting_what_is_not_there_is_no_error(self, history: HistoryProvider) -> None:
        if not isinstance(history, SupportsForgetting):
            return
        said = some_messages(3)

        await history.forget(a_session("unknown"), [a_message().id])
        await history.append(a_session(), said)
        await history.forget(a_session(), [])
        await history.forget(a_session(), [a_message().id])
        for _ in range(2):
            await history.forget(a_session(), [said[1].id, said[1].id, a_message().id])

        assert await history.load(a_session("unknown")) == []
        assert what_counts(await history.load(a_session())) == [said[0], said[2]]

    async def test_other_sessions_forget_nothing(self, history: HistoryProvider) -> None:
        if not isinstance(history, SupportsForgetting):
            return
        sessions = [a_session(), a_session("s2"), a_session(agent="Waiter"), a_session(tenant=7)]
        sessions.append(a_session(user="ada"))
        said = [some_messages(2) for _ in sessions]
        for session, messages in zip(sessions, said, strict=True):
            await history.append(session, messages)

        await history.forget(a_session(), [message.id for messages in said for message in messages])

        kept = [what_counts(await history.load(session)) for session in sessions]
        assert kept == [[], *said[1:]]

    async def test_newest_messages_are_those_that_were_not_forgotten(self, history: HistoryProvider) -> None:
        if not isinstance(history, SupportsForgetting) or not isinstance(history, SupportsRecent):
            return
        said = some_messages(120)
        await history.append(a_session(), said)

        await history.forget(a_session(), [said[0].id, *(message.id for message in said[20:118])])

        left = [*said[1:20], *said[118:]]
        for limit in (1, 2, 3, 20, 21, 22, 200):
            assert what_counts(await history.recent(a_session(), limit=limit)) == left[-limit:]

    async def test_call_stays_when_its_result_is_forgotten(self, history: HistoryProvider) -> None:
        if not isinstance(history, SupportsForgetting):
            return
        call = ToolCall(id="call_1", name="look", arguments="{}")
        calling = replace(a_message(role="assistant"), content=(call,))
        result = ToolResult(call_id="call_1", name="look", text="seen")
        seen = replace(a_message(role="tool"), content=(result,))
        await history.append(a_session(), [calling, seen])

        await history.forget(a_session(), [seen.id])

        assert what_counts(await history.load(a_session())) == [calling]

    async def test_forgetting_and_appending_at_the_same_time_both_happen(
        self, history: HistoryProvider, other: HistoryProvider
    ) -> None:
        if not isinstance(history, SupportsForgetting) or not isinstance(other, SupportsForgetting):
            return
        said, turns = some_messages(8), [some_messages(3) for _ in range(8)]
        await history.append(a_session(), said)

        await asyncio.gather(
            *(
                work
                for place, turn in enumerate(turns)
                for work in (
                    (history, other)[place % 2].forget(a_session(), [said[place].id]),
                    (other, history)[place % 2].append(a_session(), turn),
                )
            )
        )

        kept = what_counts(await history.load(a_session()))
        in_threes = [kept[place : place + 3] for place in range(0, len(kept), 3)]
        assert sorted(turn[0].id for turn in in_threes) == sorted(turn[0].id for turn in turns)
        assert all(turn in turns for turn in in_threes)
