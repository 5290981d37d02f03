"""Where it would do harm to guess, a run waits until somebody has decided."""

import asyncio

import pytest

from tertulia.conversations import RunStatus
from tertulia.engine import ActiveRun, Decision, Turn
from tertulia.errors import InvalidInput, NeedsAttention, NotFound, NotWaiting
from tertulia.events import RunFinished, RunStarted, RunWaiting
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import (
    a_claimant,
    a_conversation,
    a_submission,
    all_texts,
)
from tests.engine.kit import (
    SPENT,
    Clock,
    Doing,
    Rounds,
    Tally,
    a_turn,
    act,
    an_engine,
    answering,
    followed,
    kinds,
    settled,
    submit,
    told,
)

pytestmark = pytest.mark.usefixtures("quick")

EFFECT = "turn/1/tool/mail"
ASKED = "turn/1/approval/mail"


def asking(work: Tally, *, within_seconds: float = 60.0) -> Doing:
    """Return a performer that does something only if somebody allows it."""

    async def perform(run: ActiveRun) -> Turn:
        decision = run.ask(ASKED, kind="approval", message="Send it?", within_seconds=within_seconds)
        if decision.verdict == "deny":
            return a_turn(f"not sent: {decision.value}")
        return a_turn((await act(run, EFFECT, work)).output)

    return Doing(perform)


@pytest.mark.parametrize(
    ("verdict", "count", "answer"), [("approve", 1, '"done"'), ("deny", 0, "not sent: too late")]
)
async def test_run_that_asks_first_goes_on_as_somebody_decides(verdict: str, count: int, answer: str) -> None:
    store, work = InMemoryStore(), Tally()
    conversation = await a_conversation(store)

    async with an_engine(store, asking(work)) as engine:
        ticket = await submit(engine, conversation, "U")
        with pytest.raises(NeedsAttention, match="Send it") as raised:
            await ticket.finished()
        again = await engine.decide(0, ticket.run.id, Decision(verdict=verdict, value="too late"))
        await again.finished()

    assert raised.value.run_id == ticket.run.id
    assert work.count == count
    assert await all_texts(store, conversation) == ["U", answer]


async def test_run_that_waits_holds_its_conversation() -> None:
    store, work = InMemoryStore(), Tally()
    conversation = await a_conversation(store)

    async with an_engine(store, asking(work)) as engine:
        first = await submit(engine, conversation, "U1")
        await settled(engine)
        second = await submit(engine, conversation, "U2")
        queued = await store.runs.get(0, second.run.id)
        await engine.decide(0, first.run.id, Decision(verdict="deny", value=1))
        await settled(engine)
        await engine.decide(0, second.run.id, Decision(verdict="deny", value=2))
        await second.finished()

    assert queued.status is RunStatus.QUEUED
    assert await all_texts(store, conversation) == ["U1", "not sent: 1", "U2", "not sent: 2"]


async def test_run_that_nobody_has_decided_about_in_time_fails_and_the_next_goes_on() -> None:
    clock, rounds, work = Clock(), Rounds(), Tally()
    store = InMemoryStore(now=clock)
    performer = asking(work)

    async with an_engine(store, performer, rounds) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await settled(engine)
        clock.let_leases_run_out()
        await rounds.look()
        await settled(engine)
        with pytest.raises(NeedsAttention, match="nobody has decided in time"):
            await ticket.finished()
        run = await store.runs.get(0, ticket.run.id)

    assert (run.status, run.wait, work.count, len(performer.runs)) == (RunStatus.FAILED, None, 0, 2)


async def test_decision_that_the_wait_does_not_know_is_refused() -> None:
    store = InMemoryStore()

    async with an_engine(store, asking(Tally())) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await settled(engine)
        with pytest.raises(InvalidInput, match="approve, deny"):
            await engine.decide(0, ticket.run.id, Decision(verdict="retry"))
        run = await store.runs.get(0, ticket.run.id)

    assert run.status is RunStatus.WAITING


@pytest.mark.parametrize("value", ["\ud800", 2**70, {"n": 2**70}], ids=["text", "number", "within"])
async def test_decision_that_cannot_be_kept_is_refused(value: object) -> None:
    store = InMemoryStore()

    async with an_engine(store, asking(Tally())) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await settled(engine)
        with pytest.raises(InvalidInput):
            await engine.decide(0, ticket.run.id, Decision(verdict="approve", value=value))
        run = await store.runs.get(0, ticket.run.id)

    assert run.status is RunStatus.WAITING


async def test_decision_about_a_run_that_waits_for_none_is_refused() -> None:
    store = InMemoryStore()

    async with an_engine(store, answering()) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await ticket.finished()
        with pytest.raises(NotWaiting, match="completed"):
            await engine.decide(0, ticket.run.id, Decision(verdict="retry"))
        with pytest.raises(NotFound):
            await engine.decide(0, a_submission("conv").run_id, Decision(verdict="retry"))


async def test_two_who_decide_at_once_decide_once() -> None:
    store, work = InMemoryStore(), Tally()
    conversation = await a_conversation(store)

    async with an_engine(store, asking(work)) as engine:
        ticket = await submit(engine, conversation, "U")
        await settled(engine)
        decisions = [engine.decide(0, ticket.run.id, Decision(verdict="approve")) for _ in range(2)]
        tickets = await asyncio.gather(*decisions)
        await ticket.finished()

    assert [each.is_new for each in tickets] == [True, False]
    assert work.count == 1
    assert await all_texts(store, conversation) == ["U", '"done"']


async def test_who_follows_a_run_through_its_wait_sees_the_same_as_who_comes_later() -> None:
    store = InMemoryStore()

    async with an_engine(store, asking(Tally())) as engine, an_engine(store, answering()) as there:
        ticket = await submit(engine, await a_conversation(store))
        here, elsewhere = [
            asyncio.create_task(told(events))
            for events in (ticket.events(), await there.follow(0, ticket.run.id))
        ]
        await settled(engine)
        await engine.decide(0, ticket.run.id, Decision(verdict="approve"))
        seen, seen_elsewhere = await here, await elsewhere
        later = await followed(there, ticket.run.id)

    assert kinds(seen) == [
        RunStarted.kind,
        RunWaiting.kind,
        RunStarted.kind,
        "turn.finished",
        RunFinished.kind,
    ]
    assert seen == later
    assert seen_elsewhere == later


async def test_decision_is_taken_on_an_engine_that_does_not_carry_the_run_out() -> None:
    store, work = InMemoryStore(), Tally()
    conversation = await a_conversation(store)

    async with an_engine(store, asking(work)) as one, an_engine(store, asking(work)) as other:
        ticket = await submit(one, conversation, "U")
        await settled(one)
        await other.decide(0, ticket.run.id, Decision(verdict="approve"))
        end = await ticket.finished()

    assert (end.messages[0].text, work.count) == ('"done"', 1)


async def test_answer_that_follows_a_decision_wastes_nothing() -> None:
    store, work = InMemoryStore(), Tally()

    async with an_engine(store, asking(work)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await settled(engine)
        await engine.decide(0, ticket.run.id, Decision(verdict="approve"))
        end = await ticket.finished()

    assert end.usage == SPENT


async def test_engine_that_stops_leaves_a_run_that_waits_as_it_is() -> None:
    store = InMemoryStore()

    async with an_engine(store, asking(Tally())) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await settled(engine)

    run = await store.runs.get(0, ticket.run.id)
    assert (run.status, run.epoch) == (RunStatus.WAITING, 1)
    assert await store.runs.claim(a_claimant(), limit=9) == []
