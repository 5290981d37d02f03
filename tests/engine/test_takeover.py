"""Runs go from one engine to the next, whole."""

import asyncio

import pytest

from tertulia.conversations import RunStatus
from tertulia.engine import ActiveRun, Engine, Ticket, Turn
from tertulia.engine.silence import GRACE_SECONDS
from tertulia.errors import RunFailed, Stopping
from tertulia.events import EPOCH_SPAN, Numbered, RunFinished, RunStarted
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import (
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_queued_run,
    a_submission,
    all_texts,
    an_agent,
)
from tests.engine.kit import (
    BEATING_SECONDS,
    STEP_SECONDS,
    Clock,
    Doing,
    Gate,
    Renewed,
    Rounds,
    Seconds,
    Tally,
    Unacknowledged,
    a_turn,
    an_engine,
    answering,
    settled,
    submit,
    waiting_at,
    with_runs,
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


async def test_engine_does_not_take_from_itself_what_it_still_carries_out() -> None:
    clock, gate, rounds = Clock(), Gate(), Rounds()
    store, before = InMemoryStore(now=clock), Tally()
    conversation = await a_conversation(store)

    async with an_engine(store, waiting_at(gate, before=before), rounds) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
        clock.let_leases_run_out()
        await rounds.look()
        assert engine.active == 1
        gate.open()
        end = await ticket.finished()

    assert (before.count, gate.arrived) == (1, 1)
    assert (await store.runs.get(0, ticket.run.id)).epoch == 1
    assert await all_texts(store, conversation) == ["U", end.messages[0].text]


async def test_lease_that_was_renewed_too_late_is_held_again_if_nobody_took_it() -> None:
    clock, gate = Clock(), Gate()
    store = InMemoryStore(now=clock)
    runs = with_runs(store, Renewed(store.runs._state))

    async with an_engine(store, waiting_at(gate), lease_seconds=BEATING_SECONDS) as engine:
        await submit(engine, await a_conversation(store))
        await gate.reached()
        clock.let_leases_run_out()
        await runs.beat()

        assert await runs.claim(a_claimant(), limit=9) == []
        assert engine.active == 1


async def test_run_that_comes_back_goes_on_where_it_was_followed() -> None:
    clock, rounds, heirs_rounds = Clock(), Rounds(), Rounds()
    store, gate, heirs_gate = InMemoryStore(now=clock), Gate(), Gate()

    async with an_engine(store, waiting_at(gate), rounds) as engine:
        ticket = await submit(engine, await a_conversation(store))
        follower = asyncio.create_task(_followed(ticket))
        await gate.reached()
        async with an_engine(store, waiting_at(heirs_gate), heirs_rounds):
            clock.let_leases_run_out()
            await heirs_rounds.look()
            await heirs_gate.reached()
            await _hear_that_leases_are_lost(engine)
            await settled(engine)
        await rounds.look()
        await gate.reached()
        [lease] = engine._carrier.heartbeat._held
        gate.open()
        told = await follower

    assert lease.epoch == 3
    seqs = [numbered.seq for numbered in told]
    assert seqs == sorted(set(seqs))
    assert [each.event.epoch for each in told if isinstance(each.event, RunStarted)] == [1, 3]
    assert isinstance(told[-1].event, RunFinished)
    assert seqs[-1] > 2 * EPOCH_SPAN
    assert [frame.last_seq for frame in await store.runs.frames(0, ticket.run.id)] == [seqs[-1]]


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
    assert (before.count, run.usage.model_calls, run.usage.wasted_calls) == (1, 2, 1)


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


async def test_run_that_keeps_crashing_is_given_up() -> None:
    clock, rounds = Clock(), Rounds()
    store, performer = InMemoryStore(now=clock), answering()
    conversation = await a_conversation(store)
    await a_claimed_run(store, a_submission(conversation, "U"), claimant=a_claimant(lease_us=OVER_AT_ONCE))
    for is_suspect in (False, True):
        await store.runs.claim(a_claimant(lease_us=OVER_AT_ONCE), limit=1, suspects=is_suspect)

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


async def test_run_that_hangs_is_stopped_and_left_to_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, hanging = Seconds(), Gate()
    monkeypatch.setattr("tertulia.engine.heartbeat.time", seconds)
    store = InMemoryStore(now=Clock())

    async with an_engine(store, _doing_nothing_at(hanging), lease_seconds=BEATING_SECONDS) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await hanging.reached()
        seconds.passed += GRACE_SECONDS + 1
        await settled(engine)

        assert not ticket.live.is_ours
        assert await store.runs.claim(a_claimant(), limit=9) == []
        assert (await store.runs.get(0, ticket.run.id)).attempt == 1


async def test_caller_is_told_that_a_run_was_given_up_because_it_hung_three_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, rounds, seconds, hanging = Clock(), Rounds(), Seconds(), Gate()
    monkeypatch.setattr("tertulia.engine.heartbeat.time", seconds)
    store, performer = InMemoryStore(now=clock), _doing_nothing_at(hanging)

    async with an_engine(store, performer, rounds, lease_seconds=BEATING_SECONDS) as engine:
        ticket = await submit(engine, await a_conversation(store))
        for _ in range(3):
            await hanging.reached()
            seconds.passed += GRACE_SECONDS + 1
            await settled(engine)
            clock.let_leases_run_out()
            await rounds.look()
        with pytest.raises(RunFailed, match="given up"):
            await ticket.finished()

    assert len(performer.runs) == 3


async def test_step_that_takes_as_long_as_it_said_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, gate = Seconds(), Gate()
    monkeypatch.setattr("tertulia.engine.heartbeat.time", seconds)
    store = InMemoryStore(now=Clock())
    runs = with_runs(store, Renewed(store.runs._state))

    async with an_engine(store, waiting_at(gate), lease_seconds=BEATING_SECONDS) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await gate.reached()
        seconds.passed += STEP_SECONDS + GRACE_SECONDS - 20
        await runs.beat()
        gate.open()
        await ticket.finished()

    assert gate.arrived == 1


async def test_run_that_waits_is_begun_although_the_one_before_it_was_told_to_stop_while_it_ended() -> None:
    store, gate = InMemoryStore(now=Clock()), Gate()
    runs, conversation = with_runs(store, Unacknowledged(store.runs._state)), await a_conversation(store)

    async with an_engine(store, waiting_at(gate)) as engine:
        tickets = [await submit(engine, conversation, text) for text in ("U1", "U2")]
        gate.open()
        await runs.written.wait()
        await _hear_that_leases_are_lost(engine)
        runs.let.set()
        await settled(engine)

    ended = [await store.runs.get(0, ticket.run.id) for ticket in tickets]
    assert [(run.status, run.epoch) for run in ended] == [(RunStatus.COMPLETED, 1)] * 2


async def test_run_that_waits_is_handed_over_although_the_one_before_it_ends_while_the_engine_stops() -> None:
    store, gate, stopped = InMemoryStore(now=Clock()), Gate(), asyncio.Event()
    runs, agent = with_runs(store, Unacknowledged(store.runs._state)), await an_agent(store)
    conversation, elsewhere = [await a_conversation(store, agent) for _ in range(2)]

    async def perform(run: ActiveRun) -> Turn:
        if run.conversation.id == conversation.id:
            await gate()
        else:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()
        return a_turn("A")

    async with an_engine(store, Doing(perform)) as engine:
        tickets = [await submit(engine, conversation, text) for text in ("U1", "U2")]
        await submit(engine, elsewhere)
        gate.open()
        await runs.written.wait()
        stopping = asyncio.create_task(engine.stop())
        await stopped.wait()
        runs.let.set()
        await stopping

    first, second = [await store.runs.get(0, ticket.run.id) for ticket in tickets]
    claimable = {claim.run.id for claim in await runs.claim(a_claimant(), limit=9)}
    assert first.status is RunStatus.COMPLETED
    assert second.status is RunStatus.COMPLETED or second.id in claimable


async def test_engine_that_stops_begins_nothing_that_waits() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, waiting_at(gate)) as engine:
        tickets = [await submit(engine, conversation, text) for text in ("U1", "U2")]
        await gate.reached()
        stopping = asyncio.create_task(engine.stop(grace_seconds=10))
        await asyncio.sleep(0)
        gate.open()
        await stopping

    left = [await store.runs.get(0, ticket.run.id) for ticket in tickets]
    assert [run.status for run in left] == [RunStatus.COMPLETED, RunStatus.QUEUED]


async def test_engine_stops_although_an_end_is_never_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tertulia.engine.carrying.ENDING_SECONDS", 0.01)
    store = InMemoryStore()
    runs = with_runs(store, Unacknowledged(store.runs._state))

    async with an_engine(store, answering()) as engine:
        await submit(engine, await a_conversation(store))
        await runs.written.wait()
        await engine.stop()

        assert engine.active == 0


async def _followed(ticket: Ticket) -> list[Numbered]:
    return [numbered async for numbered in ticket.events()]


async def _hear_that_leases_are_lost(engine: Engine) -> None:
    """Have an engine told what its heartbeat would tell it of all its leases."""
    await asyncio.to_thread(engine._carrier._lost_elsewhere, list(engine._carrier.heartbeat._held))


def _doing_nothing_at(gate: Gate) -> Doing:
    async def perform(_run: ActiveRun) -> Turn:
        await gate()
        return a_turn()

    return Doing(perform)
