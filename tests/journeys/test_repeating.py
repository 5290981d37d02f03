"""Asking again is safe: one effect, one answer, whoever hangs up and whatever fails."""

import asyncio

from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.storm.servers import Answer, Caller, Place, serving
from tests.conftest import Times
from tests.journeys.seeing import asked, calls, check_history, texts


async def test_twenty_at_once_under_one_key_have_one_effect_and_one_answer(
    database_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=database_url, fake=fake)
    fake.latency = 0.2

    async with serving(place) as server:
        name = await caller.begin(server)
        answers = await asyncio.gather(*(caller.chat(server, name, "[[once", key="k") for _ in range(20)))
        answers.append(await caller.chat(server, name, "[[once", key="k"))
        history = await check_history(place)

    assert len({answer.body for answer in answers}) == 1
    assert {answer.status for answer in answers} == {200}
    assert (len(history.runs), calls(fake)) == (1, {"[[once": 1})


async def test_twenty_at_once_under_one_key_on_two_replicas_have_one_effect_and_one_answer(
    database_url: str, fake: FakeOpenAI, caller: Caller, times: Times
) -> None:
    place, groups, room = Place(database_url=database_url, fake=fake), times(8, 100), asyncio.Semaphore(4)
    fake.latency = 0.2

    async with serving(place) as one, serving(place) as other:
        agent = await caller.create_agent(one)

        async def ask(group: int) -> list[Answer]:
            async with room:
                name = await caller.create_conversation(one, agent)
                text = f"[[{group} once"
                return await asyncio.gather(
                    *(caller.chat(server, name, text, key="k") for server in (one, other) * 10)
                )

        answered = await asyncio.gather(*map(ask, range(groups)))
        history = await check_history(place)

    assert {answer.status for answers in answered for answer in answers} == {200}
    assert [len({answer.body for answer in answers}) for answers in answered] == [1] * groups
    assert len(history.runs) == groups
    assert calls(fake) == {f"[[{group} once": 1 for group in range(groups)}


async def test_same_key_with_another_message_is_refused(
    database_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=database_url, fake=fake)

    async with serving(place) as server:
        name = await caller.begin(server)
        first = await caller.chat(server, name, "[[one", key="k")
        other = await caller.chat(server, name, "[[other", key="k")
        history = await check_history(place)

    assert (first.status, other.status) == (200, 422)
    assert texts(history, name)[::2] == ["[[one"]


async def test_key_is_known_after_a_restart(database_url: str, fake: FakeOpenAI, caller: Caller) -> None:
    place = Place(database_url=database_url, fake=fake)

    async with serving(place) as server:
        name = await caller.begin(server)
        first = await caller.chat(server, name, "[[once", key="k")
    async with serving(place) as server:
        second = await caller.chat(server, name, "[[once", key="k")

    assert first == second
    assert calls(fake) == {"[[once": 1}


async def test_caller_that_hangs_up_stops_nothing(
    database_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=database_url, fake=fake)
    fake.latency = 0.5

    async with serving(place) as server:
        name = await caller.begin(server)
        call = asyncio.create_task(caller.chat(server, name, "[[hello", key="k"))
        await asked(fake)
        call.cancel()
        await asyncio.wait([call])
        history = await check_history(place)
        again = await caller.chat(server, name, "[[hello", key="k")

    assert [run.status for run in history.runs] == ["completed"]
    assert (again.status, again.text) == (200, texts(history, name)[1])
    assert fake.aborted == 0


async def test_message_stays_when_the_model_fails_and_is_answered_when_asked_again(
    database_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=database_url, fake=fake)
    fake.fault("400", times=1)

    async with serving(place) as server:
        name = await caller.begin(server)
        failed = await caller.chat(server, name, "[[hello", key="k")
        [before] = await caller.exchanges(server, name)
        again = await caller.chat(server, name, "[[hello", key="k")
        [after] = await caller.exchanges(server, name)

    assert (failed.status, again.status) == (502, 200)
    assert before == {**after, "agent_message": None}
    assert after["agent_message"] == again.text
    assert again.text.startswith("m=1 ")
    assert calls(fake) == {"[[hello": 2}


async def test_failed_message_is_not_answered_out_of_place(
    database_url: str, fake: FakeOpenAI, caller: Caller
) -> None:
    place = Place(database_url=database_url, fake=fake)
    fake.fault("400", match="[[one", times=1)

    async with serving(place) as server:
        name = await caller.begin(server)
        await caller.chat(server, name, "[[one", key="k")
        await caller.chat(server, name, "[[two")
        late = await caller.chat(server, name, "[[one", key="k")

    assert (late.status, late.json["code"]) == (409, "conversation_moved_on")
