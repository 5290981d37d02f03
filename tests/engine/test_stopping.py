"""Cancelling is final: nothing more is begun, and what is kept is what was asked for."""

import asyncio
from contextlib import suppress

import pytest

from tertulia.conversations import RunStatus, Stop
from tertulia.engine import ActiveRun, Engine, Turn
from tertulia.errors import NotFound, RunCancelled
from tertulia.hints import open_hints
from tertulia.stores import open_store, rules
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import (
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_submission,
    a_waiting_run,
    all_texts,
)
from tests.engine.kit import (
    Clock,
    Doing,
    Gate,
    Halting,
    Rounds,
    Tally,
    a_turn,
    an_engine,
    answering,
    ends,
    says_something,
    settled,
    speaking,
    step,
    submit,
    waiting_at,
    with_runs,
)

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize("url", ["memory://", "sqlite"])
async def test_cancelled_run_ends_without_an_answer_and_who_waits_is_told(url: str, sqlite_url: str) -> None:
    store, gate = open_store(sqlite_url if url == "sqlite" else url), Gate()
    await store.open()
    conversation = await a_conversation(store)

    async with an_engine(store, waiting_at(gate)) as engine:
        ticket = await submit(engine, conversation, "U")
        waiting = asyncio.create_task(ticket.finished())
        await gate.reached()
        run = await engine.cancel(0, ticket.run.id)
        with pytest.raises(RunCancelled) as raised:
            await waiting
        log = await all_texts(store, conversation)
    await store.close()

    assert (run.status, run.stop, raised.value.run_id) == (RunStatus.CANCELLED, Stop.CANCEL, run.id)
    assert log == ["U"]


async def test_what_waits_behind_a_cancelled_run_is_answered() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, waiting_at(gate)) as engine:
        first, second = [await submit(engine, conversation, text) for text in ("U1", "U2")]
        await gate.reached()
        await engine.cancel(0, first.run.id)
        gate.open()
        await second.finished()

    assert await all_texts(store, conversation) == ["U1", "U2", '"late"']


async def test_no_further_step_is_begun_by_a_performer_that_does_not_listen() -> None:
    store, gate, further = InMemoryStore(), Gate(), Tally()
    conversation = await a_conversation(store)

    async def perform(run: ActiveRun) -> Turn:
        with suppress(asyncio.CancelledError):
            await step(run, "turn/1/model/1", gate)
        await step(run, "turn/1/model/2", further)
        return a_turn()

    async with an_engine(store, Doing(perform)) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
        run = await engine.cancel(0, ticket.run.id)

    assert (run.status, further.count) == (RunStatus.CANCELLED, 0)
    assert await all_texts(store, conversation) == ["U"]


async def test_answer_of_a_performer_that_does_not_listen_is_not_kept() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async def perform(run: ActiveRun) -> Turn:
        with suppress(asyncio.CancelledError):
            await step(run, "turn/1/model/1", gate)
        return a_turn()

    async with an_engine(store, Doing(perform)) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
        run = await engine.cancel(0, ticket.run.id)

    assert run.status is RunStatus.CANCELLED
    assert await all_texts(store, conversation) == ["U"]


async def test_run_of_another_engine_is_cancelled_when_that_one_looks() -> None:
    store, gate, rounds = InMemoryStore(), Gate(), Rounds()

    async with an_engine(store, waiting_at(gate), rounds) as here, an_engine(store, answering()) as there:
        ticket = await submit(here, await a_conversation(store))
        await gate.reached()
        cancelling = asyncio.create_task(there.cancel(0, ticket.run.id))
        await rounds.look()
        run = await cancelling
        with pytest.raises(RunCancelled):
            await ticket.finished()

    assert run.status is RunStatus.CANCELLED


async def test_run_of_another_engine_is_cancelled_as_soon_as_it_hears_of_it() -> None:
    store, gate = InMemoryStore(), Gate()
    one, other = [open_hints("memory://cancelling") for _ in range(2)]

    async with (
        an_engine(store, waiting_at(gate), hints=one) as here,
        an_engine(store, answering(), hints=other) as there,
    ):
        ticket = await submit(here, await a_conversation(store))
        await gate.reached()
        run = await there.cancel(0, ticket.run.id)

    assert run.status is RunStatus.CANCELLED


async def test_run_that_is_cancelled_before_it_has_begun_is_never_begun() -> None:
    store, performer = InMemoryStore(), answering()
    conversation = await a_conversation(store)

    async with an_engine(store, performer) as engine:
        claim = await a_claimed_run(store, a_submission(conversation, "U"), claimant=engine._claimant)
        await store.runs.stop(0, claim.run.id, Stop.CANCEL, None)
        engine._carrier.begin(claim)
        engine._carrier.stop_run(claim.run.id, Stop.CANCEL)
        await settled(engine)
        run = await store.runs.get(0, claim.run.id)

    assert (run.status, performer.runs) == (RunStatus.CANCELLED, [])
    assert await all_texts(store, conversation) == ["U"]


@pytest.mark.parametrize("has_heard", [True, False], ids=["told here", "told in the store"])
async def test_turn_that_is_not_kept_yet_when_its_run_is_cancelled_is_never_kept(has_heard: bool) -> None:
    store, further = InMemoryStore(), Tally()
    runs = with_runs(store, Halting(store.runs._state, says_something))
    conversation = await a_conversation(store)

    async with an_engine(store, _of_two_turns(further)) as engine:
        ticket = await submit(engine, conversation, "U")
        await runs.reached.wait()
        await _ask_to_stop(engine, ticket.run.id, Stop.CANCEL, has_heard=has_heard)
        runs.let.set()
        with pytest.raises(RunCancelled):
            await ticket.finished()

    assert await all_texts(store, conversation) == ["U"]
    assert further.count == 0


async def test_turn_that_is_kept_when_its_run_is_cancelled_stays_and_is_the_last() -> None:
    store, gate, further = InMemoryStore(), Gate(), Tally()
    conversation = await a_conversation(store)

    async def perform(run: ActiveRun) -> Turn:
        await run.commit_turn(a_turn("A1"))
        await gate()
        await run.commit_turn(a_turn("A2", number=2))
        await step(run, "turn/3/model/1", further)
        return a_turn("A3", number=3)

    async with an_engine(store, Doing(perform)) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
        await engine.cancel(0, ticket.run.id)
        run = await store.runs.get(0, ticket.run.id)

    assert (run.status, run.last_number, further.count) == (RunStatus.CANCELLED, 2, 0)
    assert await all_texts(store, conversation) == ["U", "A1"]


@pytest.mark.parametrize("has_heard", [True, False], ids=["told here", "told in the store"])
async def test_run_that_is_cancelled_just_before_its_end_is_written_ends_as_cancelled(
    has_heard: bool,
) -> None:
    store = InMemoryStore()
    runs, conversation = with_runs(store, Halting(store.runs._state, ends)), await a_conversation(store)

    async with an_engine(store, answering()) as engine:
        ticket = await submit(engine, conversation, "U")
        await runs.reached.wait()
        await _ask_to_stop(engine, ticket.run.id, Stop.CANCEL, has_heard=has_heard)
        runs.let.set()
        with pytest.raises(RunCancelled):
            await ticket.finished()

    assert await all_texts(store, conversation) == ["U"]


async def test_run_that_has_ended_stays_as_it_is_however_often_it_is_cancelled() -> None:
    store = InMemoryStore()

    async with an_engine(store, answering("A")) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await ticket.finished()
        ended = await store.runs.get(0, ticket.run.id)
        again = [await engine.cancel(0, ticket.run.id, keep_partial=keep) for keep in (False, True)]

    assert again == [ended, ended]
    assert ended.status is RunStatus.COMPLETED


async def test_cancelling_twice_at_once_ends_the_run_once() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, speaking(gate)) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
        ended = await asyncio.gather(*(engine.cancel(0, ticket.run.id, keep_partial=True) for _ in range(3)))

    assert ended[0].status is RunStatus.CANCELLED
    assert ended == [ended[0]] * 3
    assert await all_texts(store, conversation) == ["U", "Once upon"]


async def test_run_that_is_not_there_cannot_be_cancelled() -> None:
    store = InMemoryStore()

    async with an_engine(store, answering()) as engine:
        with pytest.raises(NotFound):
            await engine.cancel(0, a_submission("conv").run_id)


async def test_queued_run_is_cancelled_at_once_and_the_others_keep_their_order() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, waiting_at(gate)) as engine:
        tickets = [await submit(engine, conversation, f"U{i}") for i in range(1, 5)]
        run = await engine.cancel(0, tickets[1].run.id)
        gate.open()
        with pytest.raises(RunCancelled):
            await tickets[1].finished()
        for ticket in (tickets[0], *tickets[2:]):
            await ticket.finished()

    assert (run.status, run.failure, run.input_number) == (RunStatus.CANCELLED, rules.STOPPED, 0)
    late = '"late"'
    assert await all_texts(store, conversation) == ["U1", late, "U3", late, "U4", late]


async def test_waiting_run_is_cancelled_at_once_and_the_next_begins() -> None:
    store = InMemoryStore()
    conversation = await a_conversation(store)
    claim = await a_waiting_run(store, a_submission(conversation, "U1"))

    async with an_engine(store, answering("A")) as engine:
        ticket = await submit(engine, conversation, "U2")
        run = await engine.cancel(0, claim.run.id)
        await ticket.finished()

    assert (run.status, run.wait) == (RunStatus.CANCELLED, None)
    assert await all_texts(store, conversation) == ["U1", "U2", "A"]


async def test_heir_of_a_run_that_was_cancelled_ends_it_and_does_nothing_else() -> None:
    store, rounds, performer = InMemoryStore(), Rounds(), answering()
    conversation = await a_conversation(store)
    gone = a_claimant(lease_us=OVER_AT_ONCE)
    claim = await a_claimed_run(store, a_submission(conversation, "U"), claimant=gone)
    await store.runs.stop(0, claim.run.id, Stop.KEEP, None)

    async with an_engine(store, performer, rounds) as engine:
        await rounds.look()
        await settled(engine)

    assert performer.runs == []
    assert (await store.runs.get(0, claim.run.id)).status is RunStatus.CANCELLED
    assert await all_texts(store, conversation) == ["U"]


async def test_cancelling_a_run_of_a_dead_owner_says_how_it_stands() -> None:
    store = InMemoryStore()
    claim = await a_claimed_run(store, a_submission(await a_conversation(store)))

    async with an_engine(store, answering()) as engine:
        run = await engine.cancel(0, claim.run.id)

    assert (run.status, run.stop) == (RunStatus.RUNNING, Stop.CANCEL)


async def test_run_that_is_cancelled_when_it_is_about_to_wait_ends() -> None:
    store, gate = InMemoryStore(), Gate()

    async def perform(run: ActiveRun) -> Turn:
        await gate()
        run.ask("turn/1/ask", kind="approval", message="May I?")
        return a_turn()

    async with an_engine(store, Doing(perform)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await gate.reached()
        await store.runs.stop(0, ticket.run.id, Stop.CANCEL, None)
        gate.open()
        await settled(engine)
        run = await store.runs.get(0, ticket.run.id)

    assert run.status is RunStatus.CANCELLED


async def test_owner_that_wakes_up_after_its_run_was_cancelled_writes_nothing() -> None:
    clock, gate, rounds = Clock(), Gate(), Rounds()
    store = InMemoryStore(now=clock)
    conversation = await a_conversation(store)

    async with an_engine(store, waiting_at(gate)) as sleeper, an_engine(store, answering(), rounds) as heir:
        ticket = await submit(sleeper, conversation, "U")
        await gate.reached()
        await store.runs.stop(0, ticket.run.id, Stop.CANCEL, None)
        clock.let_leases_run_out()
        await rounds.look()
        await settled(heir)
        gate.open()
        await settled(sleeper)

    run = await store.runs.get(0, ticket.run.id)
    assert (run.status, run.epoch) == (RunStatus.CANCELLED, 2)
    assert await all_texts(store, conversation) == ["U"]


def _of_two_turns(further: Tally) -> Doing:
    async def perform(run: ActiveRun) -> Turn:
        await run.commit_turn(a_turn("A1"))
        await step(run, "turn/2/model/1", further)
        return a_turn("A2", number=2)

    return Doing(perform)


async def _ask_to_stop(engine: Engine, run_id: str, how: Stop, *, has_heard: bool) -> None:
    """Have a run stop; its engine hears of it from us, or has to find out from the store."""
    await engine.store.runs.stop(0, run_id, how, None)
    if has_heard:
        engine._carrier.stop_run(run_id, how)
