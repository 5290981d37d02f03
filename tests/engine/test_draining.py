"""A process that is about to end loses nothing: what it carries out goes on elsewhere, and nobody hangs."""

import asyncio

import pytest

from tertulia.conversations import RunStatus
from tertulia.engine import ActiveRun, Decision, Engine, StepResult, Turn
from tertulia.errors import Stopping
from tertulia.hints import WORK, open_hints
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import (
    a_conversation,
    a_failed_run,
    a_queued_run,
    a_submission,
    a_waiting_run,
    all_texts,
    an_agent,
)
from tests.engine.kit import (
    Doing,
    Gate,
    Rounds,
    Tally,
    a_turn,
    act,
    an_engine,
    answering,
    followed,
    say,
    settled,
    step,
    submit,
    submit_followed,
    texts,
    told,
    waiting_at,
)

pytestmark = pytest.mark.usefixtures("quick")

A_WHILE = 1_000.0
"""A grace so long that no test sees its end."""


def in_three_steps(gate: Gate, works: list[Tally]) -> Doing:
    """Return a performer that waits in the first of its steps if it is the first to carry the run out."""

    async def perform(run: ActiveRun) -> Turn:
        async def first() -> StepResult:
            await gate()
            return await works[0]()

        results = [await step(run, "turn/1/model/0", first)]
        results += [await step(run, f"turn/1/model/{i}", works[i]) for i in (1, 2)]
        return a_turn(" ".join(result.output for result in results))

    return Doing(perform)


async def test_run_is_handed_over_where_its_next_step_would_begin() -> None:
    store, gate, rounds, works = InMemoryStore(), Gate(), Rounds(), [Tally(f"{i}") for i in range(3)]
    conversation = await a_conversation(store)

    async with an_engine(store, in_three_steps(gate, works)) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
        engine.drain(grace_seconds=A_WHILE)
        under_way = engine.active
        gate.open()
        await settled(engine)
        between = [work.count for work in works]
        journaled = [each.path for each in await store.runs.steps(0, ticket.run.id)]
    async with an_engine(store, in_three_steps(gate, works), rounds) as heir:
        await rounds.look()
        await settled(heir)

    run = await store.runs.get(0, ticket.run.id)
    assert (under_way, between, journaled) == (1, [1, 0, 0], ["turn/1/model/0"])
    assert [work.count for work in works] == [1, 1, 1]
    assert (run.status, run.epoch, run.usage.model_calls) == (RunStatus.COMPLETED, 2, 3)
    assert await all_texts(store, conversation) == ["U", "0 1 2"]


async def test_run_that_is_handed_over_goes_on_as_soon_as_another_engine_hears_of_it() -> None:
    store, gate, works = InMemoryStore(), Gate(), [Tally(f"{i}") for i in range(3)]
    one, other = [open_hints("memory://draining") for _ in range(2)]

    async with (
        an_engine(store, in_three_steps(gate, works), hints=one) as engine,
        an_engine(store, in_three_steps(gate, works), hints=other) as heir,
    ):
        ticket = await submit(engine, await a_conversation(store))
        await gate.reached()
        engine.drain(grace_seconds=A_WHILE)
        gate.open()
        await followed(heir, ticket.run.id)
        run = await store.runs.get(0, ticket.run.id)

    assert run.epoch == 2
    assert [work.count for work in works] == [1, 1, 1]


async def test_last_turn_is_kept_although_the_engine_takes_its_leave() -> None:
    store, gate = InMemoryStore(), Gate()

    async with an_engine(store, waiting_at(gate)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await gate.reached()
        engine.drain(grace_seconds=A_WHILE)
        gate.open()
        end = await ticket.finished()

    assert end.status is RunStatus.COMPLETED
    assert (await store.runs.get(0, ticket.run.id)).epoch == 1


async def test_effect_is_let_end_before_its_run_is_handed_over() -> None:
    store, mail, model, rounds, sent = InMemoryStore(), Gate(), Gate(), Rounds(), list[str]()
    conversation = await a_conversation(store)

    async def send() -> StepResult:
        result = await mail()
        sent.append("sent")
        return result

    async def perform(run: ActiveRun) -> Turn:
        async def think() -> None:
            await step(run, "turn/1/model/1", model)
            await step(run, "turn/1/model/2", Tally())

        await asyncio.gather(act(run, "turn/1/tool/mail", send), think())
        return a_turn("A")

    async with an_engine(store, Doing(perform)) as engine:
        await submit(engine, conversation, "U")
        await asyncio.gather(mail.reached(), model.reached())
        engine.drain(grace_seconds=A_WHILE)
        model.open()
        for _ in range(10):
            await asyncio.sleep(0)
        mail.open()
        await settled(engine)
    async with an_engine(store, Doing(perform), rounds) as heir:
        await rounds.look()
        await settled(heir)

    assert sent == ["sent"]
    assert await all_texts(store, conversation) == ["U", "A"]


async def test_who_follows_a_run_of_another_engine_is_sent_there_at_once() -> None:
    store, gate = InMemoryStore(), Gate()

    async with an_engine(store, _telling(gate)) as owner, an_engine(store, answering()) as engine:
        ticket = await submit_followed(owner, await a_conversation(store))
        await gate.reached()
        events = await engine.follow(0, ticket.run.id)
        seen = [await anext(events) for _ in range(2)]
        waiting = asyncio.create_task(anext(events))
        engine.drain(grace_seconds=A_WHILE)
        with pytest.raises(Stopping):
            await waiting
        gate.open()
        seen += await followed(owner, ticket.run.id, after=seen[-1].seq)

    assert texts(seen) == ["a", "b"]


async def test_who_follows_a_run_of_ours_sees_it_end_if_there_is_time() -> None:
    store, gate = InMemoryStore(), Gate()

    async with an_engine(store, _telling(gate)) as engine:
        ticket = await submit_followed(engine, await a_conversation(store))
        follower = asyncio.create_task(told(ticket.events()))
        await gate.reached()
        engine.drain(grace_seconds=A_WHILE)
        gate.open()
        seen = await follower

    assert texts(seen) == ["a", "b"]


async def test_who_follows_a_run_of_ours_is_sent_elsewhere_when_time_is_over() -> None:
    store, gate = InMemoryStore(), Gate()

    async with an_engine(store, _telling(gate)) as engine:
        ticket = await submit_followed(engine, await a_conversation(store))
        follower = asyncio.create_task(told(ticket.events()))
        await gate.reached()
        engine.drain(grace_seconds=0)
        with pytest.raises(Stopping):
            await follower
        still = engine.active

    assert still == 1


async def test_who_follows_a_run_that_is_handed_over_is_sent_to_its_heir_and_misses_nothing() -> None:
    store, gate, rounds, seen = InMemoryStore(), Gate(), Rounds(), list[str]()
    works = [Tally(f"{i}") for i in range(3)]

    async with an_engine(store, in_three_steps(gate, works)) as engine:
        ticket = await submit_followed(engine, await a_conversation(store))
        await gate.reached()
        engine.drain(grace_seconds=A_WHILE)
        gate.open()
        last = -1
        with pytest.raises(Stopping):
            async for each in ticket.events():
                last = each.seq
                seen.append(each.event.kind)
    async with an_engine(store, in_three_steps(gate, works), rounds) as heir:
        await rounds.look()
        seen += [each.event.kind for each in await followed(heir, ticket.run.id, after=last)]

    assert seen == ["run.started", "run.started", "turn.finished", "run.finished"]


async def test_engine_that_takes_its_leave_takes_nothing_in() -> None:
    store = InMemoryStore()
    agent = await an_agent(store)
    conversation, failed, waiting = [await a_conversation(store, agent) for _ in range(3)]
    failure = await a_failed_run(store, a_submission(failed))
    wait = await a_waiting_run(store, a_submission(waiting))

    async with an_engine(store, answering()) as engine:
        engine.drain(grace_seconds=A_WHILE)
        with pytest.raises(Stopping):
            await submit(engine, conversation)
        with pytest.raises(Stopping):
            await engine.retry(0, failure.run.id)
        with pytest.raises(Stopping):
            await engine.decide(0, wait.run.id, Decision(verdict="approve"))
        is_draining = engine.is_draining

    assert is_draining
    assert await store.conversations.pending(0, conversation.id) == []
    assert (await store.runs.get(0, wait.run.id)).status is RunStatus.WAITING


async def test_engine_that_takes_its_leave_claims_nothing() -> None:
    store, performer = InMemoryStore(), answering()
    conversation = await a_conversation(store)

    async with an_engine(store, performer) as engine:
        engine.drain(grace_seconds=A_WHILE)
        accepted = await a_queued_run(store, a_submission(conversation))
        await _hear_of_work(engine)
        run = await store.runs.get(0, accepted.run.id)

    assert (run.status, performer.runs) == (RunStatus.QUEUED, [])


async def test_engine_that_takes_its_leave_does_not_take_its_own_runs_back() -> None:
    store, gate, works = InMemoryStore(), Gate(), [Tally(f"{i}") for i in range(3)]

    async with an_engine(store, in_three_steps(gate, works)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await gate.reached()
        engine.drain(grace_seconds=A_WHILE)
        gate.open()
        await settled(engine)
        await _hear_of_work(engine)
        run = await store.runs.get(0, ticket.run.id)

    assert (run.status, run.epoch) == (RunStatus.RUNNING, 1)


async def test_run_that_ends_while_its_engine_takes_its_leave_leaves_the_next_to_others() -> None:
    store, gate, rounds = InMemoryStore(), Gate(), Rounds()
    conversation = await a_conversation(store)

    async with an_engine(store, waiting_at(gate)) as engine:
        first, second = [await submit(engine, conversation, text) for text in ("U1", "U2")]
        await gate.reached()
        engine.drain(grace_seconds=A_WHILE)
        gate.open()
        await first.finished()
        await settled(engine)
        queued = await store.runs.get(0, second.run.id)
    async with an_engine(store, answering("A"), rounds) as heir:
        await rounds.look()
        await settled(heir)

    assert queued.status is RunStatus.QUEUED
    assert await all_texts(store, conversation) == ["U1", '"late"', "U2", "A"]


@pytest.mark.parametrize("how", ["ends", "is cancelled"])
async def test_what_waits_behind_a_run_of_ours_goes_on_where_somebody_hears_of_it(
    how: str,
) -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)
    one, other = [open_hints("memory://leaving-the-next") for _ in range(2)]

    async with (
        an_engine(store, waiting_at(gate), hints=one) as engine,
        an_engine(store, answering("A"), hints=other) as heir,
    ):
        first, second = [await submit(engine, conversation, text) for text in ("U1", "U2")]
        await gate.reached()
        engine.drain(grace_seconds=A_WHILE)
        if how == "ends":
            gate.open()
        else:
            await engine.cancel(0, first.run.id)
        events = await asyncio.wait_for(followed(heir, second.run.id), 5)

    assert events[-1].event.kind == "run.finished"


async def test_run_is_cancelled_although_its_engine_takes_its_leave() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, waiting_at(gate)) as engine:
        first, second = [await submit(engine, conversation, text) for text in ("U1", "U2")]
        await gate.reached()
        engine.drain(grace_seconds=A_WHILE)
        run = await engine.cancel(0, first.run.id)
        queued = await store.runs.get(0, second.run.id)

    assert (run.status, queued.status) == (RunStatus.CANCELLED, RunStatus.QUEUED)


async def test_taking_leave_twice_is_taking_leave_once() -> None:
    store, gate = InMemoryStore(), Gate()

    async with an_engine(store, waiting_at(gate)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await gate.reached()
        engine.drain(grace_seconds=A_WHILE)
        engine.drain(grace_seconds=0)
        gate.open()
        end = await ticket.finished()

    assert end.status is RunStatus.COMPLETED


def _telling(gate: Gate) -> Doing:
    async def perform(run: ActiveRun) -> Turn:
        say(run, "a")
        await gate()
        say(run, "b")
        return a_turn("ab")

    return Doing(perform)


async def _hear_of_work(engine: Engine) -> None:
    """Have an engine hear that there is something to claim, and give it the time to do so."""
    engine._hear(frozenset({WORK}))
    for _ in range(10):
        await asyncio.sleep(0)
    await settled(engine)
