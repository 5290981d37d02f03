"""Runs go from one engine to the next, whole."""

import pytest

from tertulia.conversations import RunStatus
from tertulia.engine import ActiveRun, Turn
from tertulia.errors import RunFailed, Stopping
from tertulia.events import EPOCH_SPAN, RunFinished, RunStarted
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import (
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_queued_run,
    a_submission,
    all_texts,
)
from tests.engine.kit import (
    Clock,
    Doing,
    Gate,
    Rounds,
    Tally,
    a_turn,
    an_engine,
    answering,
    settled,
    submit,
    waiting_at,
)


async def test_poll_takes_over_what_nobody_carries_out() -> None:
    store, rounds = InMemoryStore(), Rounds()
    conversation = await a_conversation(store)
    gone = a_claimant(lease_us=OVER_AT_ONCE)
    await a_claimed_run(store, a_submission(conversation, "U1"), claimant=gone)
    await a_queued_run(store, a_submission(conversation, "U2"))

    async with an_engine(store, answering("A"), rounds) as engine:
        await rounds.look()
        await engine.stop(grace_seconds=10)

    assert await all_texts(store, conversation) == ["U1", "A", "U2", "A"]


async def test_messages_are_answered_in_the_order_in_which_they_came() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, waiting_at(gate)) as engine:
        tickets = [await submit(engine, conversation, f"U{i}") for i in range(5)]
        gate.open()
        ends = [await ticket.finished() for ticket in tickets]

    answer = '"late"'
    assert [end.messages[0].number for end in ends] == [2, 4, 6, 8, 10]
    assert await all_texts(store, conversation) == [t for i in range(5) for t in (f"U{i}", answer)]


async def test_owner_that_wakes_up_too_late_writes_nothing() -> None:
    clock, gate, rounds = Clock(), Gate(), Rounds()
    store = InMemoryStore(now=clock)
    conversation = await a_conversation(store)

    async with an_engine(store, waiting_at(gate)) as sleeper, an_engine(store, answering("B"), rounds):
        ticket = await submit(sleeper, conversation, "U")
        await gate.reached()
        clock.let_leases_run_out()
        await rounds.look()
        gate.open()
        end = await ticket.finished()

    assert end.messages[0].text == "B"
    assert await all_texts(store, conversation) == ["U", "B"]
    assert (await store.runs.get(0, ticket.run.id)).epoch == 2


async def test_engine_that_takes_a_run_over_from_itself_goes_on_once() -> None:
    clock, gate, rounds = Clock(), Gate(), Rounds()
    store, before = InMemoryStore(now=clock), Tally()
    conversation = await a_conversation(store)

    async with an_engine(store, waiting_at(gate, before=before), rounds) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
        clock.let_leases_run_out()
        await rounds.look()
        await gate.reached()
        await settled(engine, active=1)
        assert engine.active == 1
        assert ticket.live.is_ours
        gate.open()
        end = await ticket.finished()

    assert (before.count, gate.arrived) == (1, 2)
    assert await all_texts(store, conversation) == ["U", end.messages[0].text]


async def test_lease_of_a_run_taken_over_from_itself_goes_on_being_renewed() -> None:
    clock, gate, rounds = Clock(), Gate(), Rounds()
    store = InMemoryStore(now=clock)

    async with an_engine(store, waiting_at(gate), rounds) as engine:
        await submit(engine, await a_conversation(store))
        await gate.reached()
        clock.let_leases_run_out()
        await rounds.look()
        await gate.reached()

        [lease] = engine._heartbeat._held
        assert lease.epoch == 2


async def test_stopping_hands_runs_over_at_once() -> None:
    store, gate, before = InMemoryStore(), Gate(), Tally()
    conversation, rounds = await a_conversation(store), Rounds()

    async with an_engine(store, waiting_at(gate, before=before)) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
    async with an_engine(store, waiting_at(gate, before=before), rounds) as heir:
        gate.open()
        await rounds.look()
        await heir.stop(grace_seconds=10)

    run = await store.runs.get(0, ticket.run.id)
    assert (run.status, run.epoch, run.attempt) == (RunStatus.COMPLETED, 2, 0)
    assert (before.count, run.usage.model_calls, run.usage.wasted_calls) == (1, 2, 0)


async def test_engine_that_stops_takes_nothing_in() -> None:
    store = InMemoryStore()
    conversation = await a_conversation(store)

    async with an_engine(store, answering()) as engine:
        await engine.stop()
        with pytest.raises(Stopping):
            await submit(engine, conversation)

    assert await store.conversations.pending(0, conversation.id) == []


async def test_ticket_tells_the_end_of_a_run_that_another_engine_carries_out() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)
    submission = a_submission(conversation, "U", key="k")

    async with an_engine(store, waiting_at(gate)) as one, an_engine(store, answering("never")) as other:
        first = await one.submit(submission)
        second = await other.submit(a_submission(conversation, "U", key="k"))
        gate.open()
        ends = [await first.finished(), await second.finished()]

    assert not second.is_new
    assert ends[0] == ends[1]


async def test_events_of_a_later_owner_are_numbered_above_those_of_the_first() -> None:
    clock, gate, rounds = Clock(), Gate(), Rounds()
    store = InMemoryStore(now=clock)

    async with an_engine(store, waiting_at(gate), rounds) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await gate.reached()
        clock.let_leases_run_out()
        await rounds.look()
        gate.open()
        told = [numbered async for numbered in ticket.events()]

    seqs = [numbered.seq for numbered in told]
    assert seqs == sorted(set(seqs))
    assert [each.event.epoch for each in told if isinstance(each.event, RunStarted)] == [1, 2]
    assert isinstance(told[-1].event, RunFinished)
    assert seqs[-1] > EPOCH_SPAN
    assert [frame.last_seq for frame in await store.runs.frames(0, ticket.run.id)] == [seqs[-1]]


async def test_run_that_keeps_crashing_is_given_up() -> None:
    clock, rounds = Clock(), Rounds()
    store, performer = InMemoryStore(now=clock), answering()
    conversation = await a_conversation(store)
    await a_claimed_run(store, a_submission(conversation, "U"), claimant=a_claimant(lease_us=OVER_AT_ONCE))
    for _ in range(2):
        await store.runs.claim(a_claimant(lease_us=OVER_AT_ONCE), limit=1)

    async with an_engine(store, performer, rounds) as engine:
        await rounds.look()
        await engine.stop(grace_seconds=10)

    assert performer.runs == []
    assert await all_texts(store, conversation) == ["U"]


async def test_run_that_crashed_three_times_after_a_step_is_tried_again() -> None:
    store, rounds, performer = InMemoryStore(), Rounds(), answering("A")
    conversation = await a_conversation(store)
    await a_claimed_run(store, a_submission(conversation, "U"), claimant=a_claimant(lease_us=OVER_AT_ONCE))
    await store.runs.claim(a_claimant(lease_us=OVER_AT_ONCE), limit=1)

    async with an_engine(store, performer, rounds) as engine:
        await rounds.look()
        await engine.stop(grace_seconds=10)

    assert await all_texts(store, conversation) == ["U", "A"]


async def test_caller_is_told_that_a_run_was_given_up() -> None:
    clock, rounds = Clock(), Rounds()
    store = InMemoryStore(now=clock)
    conversation = await a_conversation(store)

    async def crash(run: ActiveRun) -> Turn:
        clock.let_leases_run_out()
        await Gate()()
        return a_turn()

    async with an_engine(store, Doing(crash), rounds) as engine:
        ticket = await submit(engine, conversation)
        for _ in range(3):
            await rounds.look()
        with pytest.raises(RunFailed, match="given up"):
            await ticket.finished()
