"""A message may have the run before it make room, or be taken back altogether."""

import asyncio

import pytest

from tertulia.conversations import Conversation, Multitask, RunStatus
from tertulia.engine import ActiveRun, Engine, StepResult, Ticket, Turn
from tertulia.errors import RunCancelled, TertuliaError
from tertulia.hints import open_hints
from tertulia.messages import Flag
from tertulia.stores import open_store
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import a_conversation, a_submission, a_waiting_run, all_texts
from tests.engine.kit import (
    Clock,
    Doing,
    Gate,
    Rounds,
    Tally,
    a_turn,
    act,
    an_engine,
    answering,
    settled,
    step,
    submit,
)

pytestmark = pytest.mark.usefixtures("quick")

EFFECT = "turn/1/tool/mail"
MAKING_ROOM: list[Multitask] = ["interrupt", "rollback"]


def stuck_at(gate: Gate) -> Doing:
    """Return a performer that answers every message at once but U1."""

    async def perform(run: ActiveRun) -> Turn:
        if run.input.text == "U1":
            await step(run, "turn/1/model/1", gate)
        return a_turn(f"to {run.input.text}")

    return Doing(perform)


async def say_instead(
    engine: Engine, conversation: Conversation, text: str, multitask: Multitask = "interrupt"
) -> Ticket:
    return await engine.submit(a_submission(conversation, text, multitask=multitask))


async def failure_of(ticket: Ticket) -> TertuliaError:
    with pytest.raises(RunCancelled) as raised:
        await ticket.finished()
    return raised.value


@pytest.mark.parametrize("multitask", MAKING_ROOM)
async def test_message_that_interrupts_is_answered_and_the_run_before_it_is_not(multitask: Multitask) -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, stuck_at(gate)) as engine:
        first = await submit(engine, conversation, "U1")
        await gate.reached()
        second = await say_instead(engine, conversation, "U2", multitask)
        failure = await failure_of(first)
        await second.finished()

    assert "newer message" in str(failure)
    assert await all_texts(store, conversation) == ["U1", "U2", "to U2"]


@pytest.mark.parametrize("multitask", MAKING_ROOM)
async def test_run_of_another_engine_makes_room_when_that_one_looks(multitask: Multitask) -> None:
    store, gate, rounds = InMemoryStore(), Gate(), Rounds()
    conversation = await a_conversation(store)

    async with an_engine(store, stuck_at(gate), rounds) as here, an_engine(store, stuck_at(gate)) as there:
        first = await submit(here, conversation, "U1")
        await gate.reached()
        second = await say_instead(there, conversation, "U2", multitask)
        await rounds.look()
        await failure_of(first)
        await second.finished()

    assert await all_texts(store, conversation) == ["U1", "U2", "to U2"]


async def test_run_of_another_engine_makes_room_as_soon_as_it_hears_of_it() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)
    one, other = [open_hints("memory://interrupting") for _ in range(2)]

    async with (
        an_engine(store, stuck_at(gate), hints=one) as here,
        an_engine(store, stuck_at(gate), hints=other) as there,
    ):
        await submit(here, conversation, "U1")
        await gate.reached()
        second = await say_instead(there, conversation, "U2")
        await second.finished()

    assert await all_texts(store, conversation) == ["U1", "U2", "to U2"]


async def test_queued_runs_keep_their_order_when_the_first_is_interrupted() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, stuck_at(gate)) as engine:
        await submit(engine, conversation, "U1")
        await submit(engine, conversation, "U2")
        await gate.reached()
        last = await say_instead(engine, conversation, "U3")
        await last.finished()

    assert await all_texts(store, conversation) == ["U1", "U2", "to U2", "U3", "to U3"]


async def test_interrupting_twice_stops_the_holder_once_and_nobody_who_waits() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, stuck_at(gate)) as engine:
        await submit(engine, conversation, "U1")
        await gate.reached()
        submissions = [a_submission(conversation, "U2", multitask="interrupt", key="k") for _ in range(2)]
        tickets = [await engine.submit(submission) for submission in submissions]
        await asyncio.gather(*(ticket.finished() for ticket in tickets))

    assert [ticket.is_new for ticket in tickets] == [True, False]
    assert await all_texts(store, conversation) == ["U1", "U2", "to U2"]


async def test_effect_under_way_is_let_end_and_kept_before_room_is_made() -> None:
    store, gate, further = InMemoryStore(), Gate(), Tally()
    conversation = await a_conversation(store)

    async with an_engine(store, _acting(gate, further)) as engine:
        first = await submit(engine, conversation, "U1")
        await gate.reached()
        second = await say_instead(engine, conversation, "U2")
        held = await store.runs.get(0, first.run.id)
        gate.open()
        await failure_of(first)
        await second.finished()
        [effect] = await store.runs.steps(0, first.run.id)

    assert (held.status, further.count) == (RunStatus.RUNNING, 0)
    assert effect.ended_at
    assert await all_texts(store, conversation) == ["U1", "U2", "to U2"]


async def test_effect_is_let_end_although_what_is_done_beside_it_ends_first() -> None:
    store, mail, model, done = InMemoryStore(), Gate(), Gate(), list[str]()
    conversation = await a_conversation(store)

    async def send() -> StepResult:
        result = await mail()
        done.append("sent")
        return result

    async def perform(run: ActiveRun) -> Turn:
        if run.input.text == "U1":
            await asyncio.gather(act(run, EFFECT, send), step(run, "turn/1/model/1", model))
        return a_turn(f"to {run.input.text}")

    async with an_engine(store, Doing(perform)) as engine:
        first = await submit(engine, conversation, "U1")
        await asyncio.gather(mail.reached(), model.reached())
        second = await say_instead(engine, conversation, "U2")
        model.open()
        for _ in range(10):
            await asyncio.sleep(0)
        held = await store.runs.get(0, first.run.id)
        mail.open()
        await failure_of(first)
        await second.finished()

    assert (held.status, done) == (RunStatus.RUNNING, ["sent"])


@pytest.mark.parametrize("url", ["memory://", "sqlite"])
async def test_message_that_rolls_back_has_everything_of_the_run_before_it_withdrawn(
    url: str, sqlite_url: str
) -> None:
    store, gate = open_store(sqlite_url if url == "sqlite" else url), Gate()
    await store.open()
    conversation = await a_conversation(store)

    async def perform(run: ActiveRun) -> Turn:
        if run.input.text == "U1":
            await run.commit_turn(a_turn("A1"))
            await step(run, "turn/2/model/1", gate)
        return a_turn(f"to {run.input.text}")

    async with an_engine(store, Doing(perform)) as engine:
        await (await submit(engine, conversation, "U0")).finished()
        first = await submit(engine, conversation, "U1")
        await gate.reached()
        second = await say_instead(engine, conversation, "U2", "rollback")
        await failure_of(first)
        await second.finished()
        messages = await store.conversations.messages(0, conversation.id)
        now = await store.conversations.get(0, conversation.id)
    await store.close()

    assert [message.text for message in messages] == ["U0", "to U0", "U1", "A1", "U2", "to U2"]
    withdrawn = [message.number for message in messages if message.flags & Flag.WITHDRAWN]
    assert withdrawn == [3, 4]
    assert now.version > conversation.version


async def test_run_that_waits_makes_room_at_once_and_the_queue_goes_on() -> None:
    store = InMemoryStore()
    conversation = await a_conversation(store)
    await a_waiting_run(store, a_submission(conversation, "U1"))

    async with an_engine(store, answering("A")) as engine:
        second = await submit(engine, conversation, "U2")
        third = await say_instead(engine, conversation, "U3")
        await second.finished()
        await third.finished()

    assert await all_texts(store, conversation) == ["U1", "U2", "A", "U3", "A"]


@pytest.mark.parametrize("multitask", MAKING_ROOM)
async def test_message_that_would_interrupt_nothing_is_answered_like_any_other(multitask: Multitask) -> None:
    store = InMemoryStore()
    conversation = await a_conversation(store)

    async with an_engine(store, answering("A")) as engine:
        await (await say_instead(engine, conversation, "U", multitask)).finished()

    assert await all_texts(store, conversation) == ["U", "A"]


async def test_run_that_is_interrupted_keeps_nothing_of_the_turn_under_way() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async def perform(run: ActiveRun) -> Turn:
        if run.input.text == "U1":
            run.when_stopped(lambda: a_turn("partial"))
            await run.commit_turn(a_turn("A1"))
            run.when_stopped(lambda: a_turn("partial"))
            await step(run, "turn/2/model/1", gate)
        return a_turn("A2")

    async with an_engine(store, Doing(perform)) as engine:
        await submit(engine, conversation, "U1")
        await gate.reached()
        await (await say_instead(engine, conversation, "U2")).finished()

    assert await all_texts(store, conversation) == ["U1", "A1", "U2", "A2"]


async def test_heir_makes_room_for_the_message_that_interrupted_a_dead_owner() -> None:
    clock, gate, rounds = Clock(), Gate(), Rounds()
    store = InMemoryStore(now=clock)
    conversation = await a_conversation(store)

    async with an_engine(store, stuck_at(gate)) as gone, an_engine(store, stuck_at(gate), rounds) as heir:
        await submit(gone, conversation, "U1")
        await gate.reached()
        second = await say_instead(heir, conversation, "U2", "rollback")
        clock.let_leases_run_out()
        await rounds.look()
        await second.finished()
        await settled(heir)

    messages = await store.conversations.messages(0, conversation.id)
    assert [message.text for message in messages] == ["U1", "U2", "to U2"]
    assert messages[0].flags & Flag.WITHDRAWN


def _acting(gate: Gate, further: Tally) -> Doing:
    async def perform(run: ActiveRun) -> Turn:
        if run.input.text == "U1":
            await act(run, EFFECT, gate)
            await step(run, "turn/1/model/1", further)
        return a_turn(f"to {run.input.text}")

    return Doing(perform)


async def test_effect_is_cut_short_by_who_cancels() -> None:
    store, gate = InMemoryStore(), Gate()

    async with an_engine(store, _acting_at(gate)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await gate.reached()
        run = await engine.cancel(0, ticket.run.id)

    assert run.status is RunStatus.CANCELLED


async def test_effect_is_cut_short_by_who_cancels_what_somebody_wants_rolled_back() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, _acting_at(gate)) as engine:
        ticket = await submit(engine, conversation, "U1")
        await gate.reached()
        await engine.submit(a_submission(conversation, "U2", multitask="rollback"))
        run = await engine.cancel(0, ticket.run.id)

    assert run.status is RunStatus.CANCELLED


def _acting_at(gate: Gate) -> Doing:
    async def perform(run: ActiveRun) -> Turn:
        await act(run, EFFECT, gate)
        return a_turn()

    return Doing(perform)
