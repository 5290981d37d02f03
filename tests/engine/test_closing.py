"""Whoever waits for a run or follows it learns that it has closed its conversation, wherever that was."""

from dataclasses import replace

import pytest

from tertulia.conversations import Commit
from tertulia.engine import ActiveRun, Turn
from tertulia.events import RunFinished
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import (
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_queued_run,
    a_submission,
    an_answer,
)
from tests.engine.kit import Doing, Gate, Rounds, a_turn, an_engine, answering, followed, submit

REASON = "The goal is reached."


def closing(gate: Gate | None = None) -> Doing:
    """Return a performer whose answers end the conversation."""

    async def perform(_run: ActiveRun) -> Turn:
        if gate is not None:
            await gate()
        return replace(a_turn("Goodbye."), closes=REASON)

    return Doing(perform)


async def test_end_tells_that_it_has_closed_the_conversation() -> None:
    store = InMemoryStore()
    conversation = await a_conversation(store)

    async with an_engine(store, closing()) as engine:
        end = await (await submit(engine, conversation)).finished()

    assert end.closed == REASON
    assert (await store.conversations.get(0, conversation.id)).closed == REASON


async def test_who_waits_elsewhere_is_told_as_well() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, closing(gate)) as here, an_engine(store, answering()) as there:
        ticket = await here.submit(a_submission(conversation, key="k"))
        elsewhere = await there.submit(a_submission(conversation, key="k"))
        gate.open()
        ends = [await each.finished() for each in (ticket, elsewhere)]

    assert [end.closed for end in ends] == [REASON, REASON]


async def test_who_follows_later_is_told_what_was_so_then() -> None:
    store = InMemoryStore()
    conversation = await a_conversation(store)

    async with an_engine(store, closing()) as here, an_engine(store, answering()) as there:
        ticket = await submit(here, conversation)
        await ticket.finished()
        await store.conversations.set_closed(0, conversation.id, None)
        told = await followed(there, ticket.run.id)

    assert isinstance(told[-1].event, RunFinished)
    assert told[-1].event.closed == REASON


@pytest.mark.parametrize("goes_on", [True, False])
async def test_end_whose_events_are_gone_tells_what_is_so_now(goes_on: bool) -> None:
    store = InMemoryStore()
    conversation = await a_conversation(store)

    async with an_engine(store, closing()) as engine:
        ticket = await submit(engine, conversation)
        await ticket.finished()
        if goes_on:
            await store.conversations.set_closed(0, conversation.id, None)
    await store.runs.prune(before=2**62, limit=99)
    async with an_engine(store, answering()) as engine:
        [told] = await followed(engine, ticket.run.id)

    assert isinstance(told.event, RunFinished)
    assert told.event.closed == (None if goes_on else REASON)


async def test_end_tells_also_what_an_earlier_turn_has_closed() -> None:
    store = InMemoryStore()

    async def perform(run: ActiveRun) -> Turn:
        await run.commit_turn(replace(a_turn("Goodbye."), closes=REASON))
        return replace(a_turn("And thanks.", number=2), finish_reason="stop")

    async with an_engine(store, Doing(perform)) as engine:
        end = await (await submit(engine, await a_conversation(store))).finished()

    assert (end.closed, end.finish_reason) == (REASON, "stop")


async def test_end_tells_also_what_a_turn_in_another_process_has_closed() -> None:
    store, rounds = InMemoryStore(), Rounds()
    submission = a_submission(await a_conversation(store))
    claim = await a_claimed_run(store, submission, claimant=a_claimant(lease_us=OVER_AT_ONCE))
    await store.runs.commit(claim.lease, Commit(messages=(an_answer("Goodbye."),), closes=REASON), None)

    async with an_engine(store, answering("And thanks."), rounds) as engine:
        await rounds.look()
        told = await followed(engine, claim.run.id)

    assert isinstance(told[-1].event, RunFinished)
    assert told[-1].event.closed == REASON


async def test_run_in_a_conversation_that_somebody_else_has_closed_has_not_closed_it() -> None:
    store = InMemoryStore()
    conversation = await a_conversation(store)
    queued, rounds = await a_queued_run(store, a_submission(conversation)), Rounds()
    await store.conversations.set_closed(0, conversation.id, REASON)

    async with an_engine(store, answering(), rounds) as engine:
        await rounds.look()
        told = await followed(engine, queued.run.id)

    assert isinstance(told[-1].event, RunFinished)
    assert told[-1].event.closed is None


async def test_run_that_others_have_spoken_after_has_not_closed_the_conversation() -> None:
    store = InMemoryStore()
    conversation = await a_conversation(store)

    async with an_engine(store, answering()) as here, an_engine(store, answering()) as there:
        first = await here.submit(a_submission(conversation, key="k"))
        await first.finished()
        await (await submit(here, conversation, "more")).finished()
        await store.conversations.set_closed(0, conversation.id, REASON)
        again = await there.submit(a_submission(conversation, key="k"))
        end = await again.finished()

    assert end.closed is None
