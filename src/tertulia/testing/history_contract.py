"""What every history provider does for sessions, whatever it keeps them in.

::

    class TestMyHistory(HistoryContract):
        @pytest.fixture
        def opened(self, tmp_path):
            return lambda: MyHistory(tmp_path)

Whatever ``opened`` returns works on the same place, as if each were another process; the place is
empty at the start of every test. What can be read from its end, or can forget, is tried for that too.
The tests need pytest-asyncio.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Final

import pytest

from tertulia.memory.history.base import HistoryProvider, SupportsRecent
from tertulia.messages import Flag, Message, Role
from tertulia.testing.contracts.forgetting import ForgettingLaws
from tertulia.testing.history_samples import (
    AGENTS,
    NAMES,
    PARTS,
    USERS,
    a_message,
    a_session,
    some_messages,
    what_counts,
)

__all__ = ["HistoryContract", "a_message", "a_session", "some_messages", "what_counts"]


@pytest.mark.asyncio
class HistoryContract(ForgettingLaws):
    """The laws of the port; a subclass gives the fixture ``opened``."""

    @pytest.fixture
    async def history(self, opened: Callable[[], HistoryProvider]) -> AsyncIterator[HistoryProvider]:
        """The provider that most tests ask."""
        provider = opened()
        yield provider
        await provider.close()

    @pytest.fixture
    async def other(self, opened: Callable[[], HistoryProvider]) -> AsyncIterator[HistoryProvider]:
        """One more, as in another process."""
        provider = opened()
        yield provider
        await provider.close()

    async def test_unknown_session_has_no_messages(self, history: HistoryProvider) -> None:
        assert await history.load(a_session()) == []

    async def test_what_was_kept_comes_back_as_it_was(self, history: HistoryProvider) -> None:
        said = [a_message("hi", author="Ada"), a_message("hello", role="assistant", author="Chef")]

        await history.append(a_session(), said)

        assert what_counts(await history.load(a_session())) == said

    @pytest.mark.parametrize("kind", PARTS)
    async def test_everything_that_can_be_said_is_kept(self, history: HistoryProvider, kind: str) -> None:
        role, content = PARTS[kind]
        said = replace(a_message(role=role), content=content)

        await history.append(a_session(), [said])

        assert what_counts(await history.load(a_session())) == [said]

    @pytest.mark.parametrize("flags", [Flag.WITHDRAWN, Flag.INCOMPLETE, Flag.WITHDRAWN | Flag.INCOMPLETE])
    async def test_flags_are_kept(self, history: HistoryProvider, flags: Flag) -> None:
        said = replace(a_message(role="assistant"), flags=flags)

        await history.append(a_session(), [said])

        assert what_counts(await history.load(a_session())) == [said]

    async def test_three_equal_turns_are_three(self, history: HistoryProvider) -> None:
        said = [a_message(text, role=role) for _ in range(3) for text, role in _PING_PONG]

        for turn in range(3):
            await history.append(a_session(), said[2 * turn : 2 * turn + 2])

        assert what_counts(await history.load(a_session())) == said

    async def test_equal_messages_of_one_append_are_all_kept(self, history: HistoryProvider) -> None:
        said = [a_message("same") for _ in range(3)]

        await history.append(a_session(), said)

        assert what_counts(await history.load(a_session())) == said

    async def test_appending_again_changes_nothing(self, history: HistoryProvider) -> None:
        said = some_messages(4)

        for _ in range(3):
            await history.append(a_session(), said)

        assert what_counts(await history.load(a_session())) == said

    async def test_only_what_is_not_there_yet_is_appended(self, history: HistoryProvider) -> None:
        said = some_messages(6)

        await history.append(a_session(), said[:4])
        await history.append(a_session(), said[2:])
        await history.append(a_session(), [said[0], said[5], said[0]])

        assert what_counts(await history.load(a_session())) == said

    async def test_one_id_twice_in_one_append_is_one_message(self, history: HistoryProvider) -> None:
        said = a_message()

        await history.append(a_session(), [said, said])

        assert what_counts(await history.load(a_session())) == [said]

    async def test_appending_nothing_does_no_harm(self, history: HistoryProvider) -> None:
        await history.append(a_session(), [])
        before = await history.load(a_session())
        [said] = some_messages(1)
        await history.append(a_session(), [said])
        await history.append(a_session(), [])

        assert before == []
        assert what_counts(await history.load(a_session())) == [said]

    async def test_messages_keep_their_order(self, history: HistoryProvider) -> None:
        said = some_messages(60)
        later_ids_first = [replace(m, id=o.id) for m, o in zip(said, reversed(said), strict=True)]

        for place in range(0, 60, 3):
            await history.append(a_session(), later_ids_first[place : place + 3])

        assert what_counts(await history.load(a_session())) == later_ids_first

    async def test_long_session_is_kept_whole(self, history: HistoryProvider) -> None:
        said = some_messages(1_200)

        await history.append(a_session(), said)

        assert what_counts(await history.load(a_session())) == said

    async def test_appends_at_the_same_time_do_not_mix(
        self, history: HistoryProvider, other: HistoryProvider
    ) -> None:
        turns = [some_messages(3) for _ in range(20)]

        await asyncio.gather(
            *(
                provider.append(a_session(), turn)
                for turn, provider in zip(turns, [history, other] * 10, strict=True)
            )
        )

        kept = what_counts(await history.load(a_session()))
        assert sorted(_in_threes(kept), key=_ids) == sorted(turns, key=_ids)

    async def test_same_append_at_the_same_time_happens_once(
        self, history: HistoryProvider, other: HistoryProvider
    ) -> None:
        said = some_messages(3)

        await asyncio.gather(*(p.append(a_session(), said) for p in [history, other] * 4))

        assert what_counts(await history.load(a_session())) == said

    async def test_sessions_are_kept_apart(self, history: HistoryProvider) -> None:
        said = {name: a_message(name) for name in NAMES}

        for name, message in said.items():
            await history.append(a_session(name), [message])

        kept = {name: await history.load(a_session(name)) for name in NAMES}
        assert {name: what_counts(messages) for name, messages in kept.items()} == {
            name: [message] for name, message in said.items()
        }

    async def test_agents_are_kept_apart(self, history: HistoryProvider) -> None:
        said = {agent: a_message(agent) for agent in AGENTS}

        for agent, message in said.items():
            await history.append(a_session(agent=agent), [message])

        for agent, message in said.items():
            assert what_counts(await history.load(a_session(agent=agent))) == [message]

    async def test_agents_that_begin_one_session_at_once_are_kept_apart(
        self, history: HistoryProvider
    ) -> None:
        said = {f"Agent {n}": a_message(f"{n}") for n in range(4)}

        await asyncio.gather(*(history.append(a_session(agent=a), [m]) for a, m in said.items()))

        for agent, message in said.items():
            assert what_counts(await history.load(a_session(agent=agent))) == [message]

    async def test_tenants_are_kept_apart(self, history: HistoryProvider) -> None:
        ours, theirs = a_message("ours"), a_message("theirs")

        await history.append(a_session(tenant=0), [ours])
        await history.append(a_session(tenant=7), [theirs])

        assert what_counts(await history.load(a_session(tenant=0))) == [ours]
        assert what_counts(await history.load(a_session(tenant=7))) == [theirs]
        assert await history.load(a_session(tenant=70)) == []

    async def test_users_are_kept_apart_under_one_id(self, history: HistoryProvider) -> None:
        said = {user: a_message(f"{user}") for user in USERS}

        for user, message in said.items():
            await history.append(a_session(user=user), [message])

        for user, message in said.items():
            assert what_counts(await history.load(a_session(user=user))) == [message]
        assert await history.load(a_session(user="nobody yet")) == []

    async def test_users_who_begin_one_session_at_once_are_kept_apart(
        self, history: HistoryProvider, other: HistoryProvider
    ) -> None:
        said = {user: a_message(f"{user}") for user in USERS}

        await asyncio.gather(
            *(
                provider.append(a_session(user=user), [message])
                for user, message in said.items()
                for provider in (history, other)
            )
        )

        for user, message in said.items():
            assert what_counts(await history.load(a_session(user=user))) == [message]

    async def test_newest_messages_are_those_of_the_user(self, history: HistoryProvider) -> None:
        if not isinstance(history, SupportsRecent):
            return
        ada, bob = some_messages(3), some_messages(2)

        await history.append(a_session(user="ada"), ada)
        await history.append(a_session(user="bob"), bob)

        assert what_counts(await history.recent(a_session(user="ada"), limit=2)) == ada[-2:]
        assert what_counts(await history.recent(a_session(user="bob"), limit=9)) == bob
        assert await history.recent(a_session(), limit=9) == []

    async def test_what_is_given_out_is_nobody_elses(self, history: HistoryProvider) -> None:
        said = some_messages(2)
        await history.append(a_session(), said)

        first = await history.load(a_session())
        first.clear()

        assert what_counts(await history.load(a_session())) == said
        assert len(said) == 2

    async def test_others_of_the_same_place_see_it_at_once(
        self, history: HistoryProvider, other: HistoryProvider
    ) -> None:
        said = some_messages(6)

        for place in range(0, 6, 2):
            writer, reader = (history, other) if place % 4 else (other, history)
            await writer.append(a_session(), said[place : place + 2])
            assert what_counts(await reader.load(a_session())) == said[: place + 2]

        await history.append(a_session(), said)
        assert what_counts(await other.load(a_session())) == said

    async def test_it_is_there_when_all_is_opened_anew(self, opened: Callable[[], HistoryProvider]) -> None:
        said = some_messages(4)
        before = opened()
        await before.append(a_session(), said)
        await before.close()

        after = opened()

        assert what_counts(await after.load(a_session())) == said
        await after.close()

    async def test_closing_twice_is_closing_once_and_asking_opens_again(
        self, opened: Callable[[], HistoryProvider]
    ) -> None:
        said = some_messages(4)
        history = opened()
        await history.close()
        await history.append(a_session(), said[:2])
        await history.close()
        await history.close()

        await history.append(a_session(), said[2:])

        assert what_counts(await history.load(a_session())) == said
        await history.close()

    async def test_newest_messages_are_the_end_of_all(self, history: HistoryProvider) -> None:
        if not isinstance(history, SupportsRecent):
            return
        said = some_messages(200)
        assert await history.recent(a_session(), limit=5) == []

        await history.append(a_session(), said)

        for limit in (1, 2, 3, 64, 199, 200, 201, 1000):
            assert what_counts(await history.recent(a_session(), limit=limit)) == said[-limit:]
        assert await history.recent(a_session(), limit=0) == []

    async def test_it_has_a_name(self, history: HistoryProvider) -> None:
        assert history.name
        assert history.name == history.name.strip()


_PING_PONG: Final[tuple[tuple[str, Role], ...]] = (("ping", "user"), ("pong", "assistant"))


def _in_threes(messages: list[Message]) -> list[list[Message]]:
    return [messages[place : place + 3] for place in range(0, len(messages), 3)]


def _ids(messages: list[Message]) -> list[str]:
    return [message.id for message in messages]
