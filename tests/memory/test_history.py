from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from tertulia.conversations import Conversation
from tertulia.errors import ContextTooLong
from tertulia.llms.base import Shown
from tertulia.memory.tokens import tokens_of
from tertulia.memory.views.log import Log, LogView
from tertulia.messages import Flag, Message
from tertulia.parts import text_content
from tertulia.stores.in_memory import InMemoryStore
from tests.memory.log import ALog


def _texts(shown: Sequence[Shown]) -> list[str]:
    return [message.text for message in shown]


async def test_short_log_is_shown_whole() -> None:
    log = ALog()
    log.say("one"), log.say("two", role="assistant")
    newest = log.say("three")

    shown = await LogView(log).show(log.row, newest=(newest,), budget=1000)

    assert [(message.role, message.text) for message in shown] == [
        ("user", "one"),
        ("assistant", "two"),
        ("user", "three"),
    ]


async def test_next_turn_reads_nothing_and_encodes_nothing_again() -> None:
    log = ALog()
    history = LogView(log)
    log.say("zero")
    first = await history.show(log.row, newest=(), budget=1000)
    reads = log.reads

    newest = (log.say("one", role="assistant"), log.say("two"))
    shown = await history.show(log.row, newest=newest, budget=1000)

    assert log.reads == reads
    assert _texts(shown) == ["zero", "one", "two"]
    assert shown[0] is first[0]


async def test_of_a_log_that_went_on_elsewhere_only_what_is_new_is_read() -> None:
    log = ALog()
    history = LogView(log)
    log.say("zero")
    await history.show(log.row, newest=(), budget=1000)

    log.say("said on another replica", role="assistant")
    log.say("and answered there")
    newest, reads = (log.say("here again"),), log.reads
    shown = await history.show(log.row, newest=newest, budget=1000)

    assert (log.reads - reads, log.gaps) == (0, 1)
    assert _texts(shown) == [message.text for message in log.messages_said]


async def test_change_of_what_was_written_is_seen() -> None:
    log = ALog()
    history = LogView(log)
    log.say("secret")
    await history.show(log.row, newest=(), budget=1000)

    log.messages_said[0] = replace(log.messages_said[0], flags=Flag.WITHDRAWN)
    log.version += 1
    newest = (log.say("next"),)
    shown = await history.show(log.row, newest=newest, budget=1000)

    assert _texts(shown) == ["next"]


async def test_long_log_that_fits_is_read_back_to_its_beginning() -> None:
    log = ALog()
    for turn in range(100):
        log.say(f"question {turn}")
        log.say(f"answer {turn}", role="assistant")

    shown = await LogView(log).show(log.row, newest=(), budget=100_000)

    assert _texts(shown) == [message.text for message in log.messages_said]


async def test_message_longer_than_the_window_says_what_to_do() -> None:
    log = ALog()
    newest = log.say("word " * 1000)

    with pytest.raises(ContextTooLong, match=r"context_tokens=, or TERTULIA_CONTEXT_TOKENS"):
        await LogView(log).show(log.row, newest=(newest,), budget=100)


async def test_what_is_kept_is_bounded() -> None:
    log = ALog()
    history = LogView(log, cache_bytes=15_000)
    newest = log.say("x" * 3000)

    for number in range(20):
        row = replace(log.row, id=f"conv_{number}")
        await history.show(row, newest=(newest,), budget=10_000)
    reads = log.reads
    await history.show(replace(log.row, id="conv_19"), newest=(newest,), budget=10_000)
    await history.show(replace(log.row, id="conv_0"), newest=(newest,), budget=10_000)

    assert log.reads == reads + 1


class ALogForEach(Log):
    """Conversations that have the same id and belong to different tenants."""

    def __init__(self, *logs: ALog) -> None:
        self._logs = logs

    @override
    async def recent(self, tenant: int, conversation_id: str, *, upto: int, limit: int) -> list[Message]:
        return await self._logs[tenant].recent(tenant, conversation_id, upto=upto, limit=limit)

    @override
    async def messages(
        self, tenant: int, conversation_id: str, *, after: int = 0, limit: int = 100
    ) -> list[Message]:
        return await self._logs[tenant].messages(tenant, conversation_id, after=after, limit=limit)


async def test_tenants_with_the_same_conversation_id_never_see_each_others_messages() -> None:
    logs = ALog(), ALog()
    history = LogView(ALogForEach(*logs))
    for tenant, log in enumerate(logs):
        log.say(f"secret of {tenant}")

    shown = []
    for _ in range(2):
        for tenant, log in enumerate(logs):
            answer = log.say(f"answer to {tenant}", role="assistant")
            row = replace(log.row, tenant=tenant)
            shown.append(_texts(await history.show(row, newest=(answer,), budget=1000)))
            said = log.say(f"more of {tenant}")
            history.learn(row, (said,), budget=1000)

    first = [["secret of 0", "answer to 0"], ["secret of 1", "answer to 1"]]
    assert shown[:2] == first
    assert shown[2:] == [[*first[tenant], f"more of {tenant}", f"answer to {tenant}"] for tenant in range(2)]


@given(
    sizes=st.lists(st.integers(1, 200), min_size=1, max_size=90),
    budget=st.integers(210, 6000),
    forget_at=st.sets(st.integers(0, 60)),
    elsewhere_at=st.sets(st.integers(0, 60)),
)
async def test_kept_and_reread_histories_are_the_same(
    sizes: list[int], budget: int, forget_at: set[int], elsewhere_at: set[int]
) -> None:
    log = ALog()
    history = LogView(log)

    for turn, size in enumerate(sizes):
        newest = [log.say(f"answer {turn} " + "b " * (size // 3), role="assistant")] if turn else []
        newest.append(log.say(f"question {turn} " + "a " * (size // 3)))
        if turn in elsewhere_at:
            continue
        if turn in forget_at:
            history = LogView(log)
        kept = await history.show(log.row, newest=newest, budget=budget)
        fresh = await LogView(log).show(log.row, newest=(), budget=budget)

        assert list(kept) == list(fresh)
        assert kept[0].role == "user"
        assert kept[-1].text == log.messages_said[-1].text
        assert sum(tokens_of(text_content(message.text)) for message in kept) <= budget
        assert _texts(kept) == [m.text for m in log.messages_said][-len(kept) :]


async def test_works_on_a_real_store() -> None:
    store = InMemoryStore()

    with pytest.raises(ContextTooLong):
        row = Conversation(tenant=0, id="conv", agent_id="agent", tokens=500)
        await LogView(store.conversations).show(row, newest=(), budget=100)
