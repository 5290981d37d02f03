"""One order: whatever comes at once is answered one after another, each seeing those before."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.history import History
from tertulia.testing.storm.servers import Answer, Caller, Place, Server, serving
from tests.conftest import Times
from tests.journeys.seeing import asked_texts, check_history, texts

_AT_ONCE = 10


async def test_two_messages_at_once_are_both_answered_in_the_order_of_acceptance(
    database_url: str, fake: FakeOpenAI, caller: Caller, times: Times
) -> None:
    place, count = Place(database_url=database_url, fake=fake), times(60, 500)

    async with serving(place) as server:
        answers = await _pairs(caller, server, server, count)
        history = await check_history(place)

    _all_answered(answers)
    _all_in_order(history, count)


async def test_two_messages_at_once_to_two_replicas_are_answered_in_order(
    database_url: str, fake: FakeOpenAI, caller: Caller, times: Times
) -> None:
    place, count = Place(database_url=database_url, fake=fake), times(60, 500)

    async with serving(place) as one, serving(place) as other:
        answers = await _pairs(caller, one, other, count)
        history = await check_history(place)

    _all_answered(answers)
    _all_in_order(history, count)


async def test_of_two_messages_at_once_that_do_not_want_to_wait_one_is_refused(
    database_url: str, fake: FakeOpenAI, caller: Caller, times: Times
) -> None:
    place, count = Place(database_url=database_url, fake=fake), times(60, 500)
    # Long enough for the other one to come meanwhile.
    fake.latency = 1.0

    async with serving(place) as one, serving(place) as other:
        answers = await _pairs(caller, one, other, count, multitask_strategy="reject")
        history = await check_history(place)

    for pair in answers:
        taken, refused = sorted(pair, key=lambda answer: answer.status)
        assert (taken.status, refused.status) == (200, 409)
        assert refused.json["code"] == "conversation_busy"
        assert int(refused.headers["Retry-After"]) > 0
    assert len(history.runs) == count
    assert Counter(each.role for each in history.messages) == {"user": count, "assistant": count}


async def _pairs(
    caller: Caller, one: Server, other: Server, count: int, **options: str
) -> list[tuple[Answer, Answer]]:
    """Post two messages at once to each of so many conversations, one to each server."""
    agent = await caller.create_agent(one)
    room = asyncio.Semaphore(_AT_ONCE)

    async def pair(i: int) -> tuple[Answer, Answer]:
        async with room:
            name = await caller.create_conversation(one, agent)
            first = {"conversation_id": name, "message": f"[[{i}a", **options}
            second = {"conversation_id": name, "message": f"[[{i}b", **options}
            return await asyncio.gather(
                caller.post(one, "/v1/runs", first), caller.post(other, "/v1/runs", second)
            )

    return await asyncio.gather(*(pair(i) for i in range(count)))


def _all_answered(answers: Sequence[tuple[Answer, Answer]]) -> None:
    for pair in answers:
        assert [answer.status for answer in pair] == [200, 200]
        # Whoever comes second sees the other and its answer.
        assert {answer.said[:3] for answer in pair} == {"m=1", "m=2"}


def _all_in_order(history: History, count: int) -> None:
    assert Counter(each.role for each in history.messages) == {"user": 2 * count, "assistant": 2 * count}
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
