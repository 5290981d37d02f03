"""One order: whatever comes at once is answered one after another, each seeing those before."""

import asyncio
from collections import Counter
from itertools import pairwise

from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.history import History
from tests.journeys.seeing import asked_texts, check_history, texts
from tests.journeys.servers import Caller, Place, Server, serving

_PAIRS = 100


async def test_two_messages_at_once_are_both_answered_in_the_order_of_acceptance(
    database_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=database_url, fake=fake)

    async with serving(place) as server:
        history = await _pairs(caller, place, server, server)

    _all_in_order(history)


async def test_two_messages_at_once_to_two_replicas_are_answered_in_order(
    postgres_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=postgres_url, fake=fake)

    async with serving(place) as one, serving(place) as other:
        history = await _pairs(caller, place, one, other)

    _all_in_order(history)


async def _pairs(caller: Caller, place: Place, one: Server, other: Server) -> History:
    """Post two messages at once to each of a hundred conversations, one to each server."""
    agent = await caller.create_agent(one)
    room = asyncio.Semaphore(10)

    async def pair(i: int) -> None:
        async with room:
            name = await caller.create_conversation(one, agent)
            answers = await asyncio.gather(
                caller.chat(one, name, f"[[{i}a"), caller.chat(other, name, f"[[{i}b")
            )
            assert [answer.status for answer in answers] == [200, 200]
            # Whoever comes second sees the other and its answer.
            assert {answer.text[:3] for answer in answers} == {"m=1", "m=2"}

    await asyncio.gather(*(pair(i) for i in range(_PAIRS)))
    return await check_history(place)


def _all_in_order(history: History) -> None:
    assert Counter(each.role for each in history.messages) == {"user": 2 * _PAIRS, "assistant": 2 * _PAIRS}
    for one, two in pairwise(history.runs):
        if one.conversation_id == two.conversation_id:
            assert (one.n, one.input_number, one.last_number) == (1, 1, 2)
            assert (two.n, two.input_number, two.last_number) == (2, 3, 4)
            assert one.created_at <= two.created_at


async def test_each_of_eight_at_once_sees_those_before(
    database_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=database_url, fake=fake)
    fake.latency = 0.02

    async with serving(place) as server:
        name = await caller.begin(server)
        answers = await asyncio.gather(*(caller.chat(server, name, f"[[{i}") for i in range(8)))
        history = await check_history(place)

    said = texts(history, name)[::2]
    assert sorted(said) == [f"[[{i}" for i in range(8)]
    assert [asked_texts(body) for body in fake.requests] == [said[: i + 1] for i in range(8)]
    assert sorted(answer.text[:3] for answer in answers) == [f"m={i + 1}" for i in range(8)]


async def test_three_identical_turns_are_three(database_url: str, fake: FakeOpenAI, caller: Caller) -> None:
    place = Place(database_url=database_url, fake=fake)
    fake.script(["the same"] * 3)

    async with serving(place) as server:
        name = await caller.begin(server)
        for _ in range(3):
            await caller.chat(server, name, "again")
        exchanges = await caller.exchanges(server, name)

    assert [(each["user_message"], each["agent_message"]) for each in exchanges] == [
        ("again", "the same")
    ] * 3
    assert len({each["id"] for each in exchanges}) == 3
    assert asked_texts(fake.requests[-1]) == ["again"] * 3


async def test_conversations_do_not_wait_for_each_other(
    database_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=database_url, fake=fake)
    fake.fault("hang", match="[[stuck")

    async with serving(place) as server:
        stuck, free = await caller.begin(server), await caller.begin(server)
        waiting = asyncio.create_task(caller.chat(server, stuck, "[[stuck"))
        answers = [await caller.chat(server, free, f"[[{i}") for i in range(5)]
        assert not waiting.done()
        waiting.cancel()

    assert [answer.status for answer in answers] == [200] * 5
