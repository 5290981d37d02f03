"""The end of a run is told once, under a number of its own: whoever has it is told nothing more."""

import asyncio

import pytest

from tertulia.conversations import RunStatus
from tertulia.engine import Engine
from tertulia.errors import NeedsAttention, NotFound
from tertulia.events import Numbered, RunFinished, RunWaiting
from tertulia.stores import open_store
from tertulia.stores.base import Store
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import LATER_US, a_conversation, a_submission
from tests.engine.kit import Gate, Tally, an_engine, answering, followed, kinds, submit, waiting_at
from tests.engine.test_waiting import asking

pytestmark = pytest.mark.usefixtures("quick")

ENDS = ["run.finished"]


async def _told_twice(engine: Engine, run_id: str) -> tuple[list[Numbered], list[Numbered]]:
    """Return what is told of a run, and what is told after the last of it."""
    seen = await followed(engine, run_id)
    return seen, await followed(engine, run_id, after=seen[-1].seq)


@pytest.mark.parametrize("url", ["memory://", "sqlite"])
async def test_nothing_comes_after_the_end_wherever_it_is_asked_for(url: str, sqlite_url: str) -> None:
    store = open_store(sqlite_url if url == "sqlite" else url)
    await store.open()

    async with an_engine(store, answering()) as here, an_engine(store, answering()) as there:
        ticket = await submit(here, await a_conversation(store))
        await ticket.finished()
        told = [await _told_twice(engine, ticket.run.id) for engine in (here, there)]
    await store.close()

    assert told[0] == told[1]
    assert [more for _, more in told] == [[], []]


async def test_run_is_told_once_its_end_is() -> None:
    store, gate = InMemoryStore(), Gate()

    async with an_engine(store, waiting_at(gate)) as here, an_engine(store, answering()) as there:
        ticket = await submit(here, await a_conversation(store))
        await gate.reached()
        early = [await engine.is_told(0, ticket.run.id, after=0) for engine in (here, there)]
        gate.open()
        *_, before, end = [numbered async for numbered in ticket.events()]
        await ticket.finished()
        late = [
            [await engine.is_told(0, ticket.run.id, after=after) for after in (-1, before.seq, end.seq)]
            for engine in (here, there)
        ]

    assert early == [False, False]
    assert late == [[False, False, True]] * 2


async def test_run_that_is_not_there_is_not_told() -> None:
    store = InMemoryStore()

    async with an_engine(store, answering()) as engine:
        with pytest.raises(NotFound):
            await engine.is_told(0, a_submission("conv").run_id, after=0)


async def test_run_that_ended_while_it_was_queued_is_told_to_have_ended_once() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, waiting_at(gate)) as here, an_engine(store, answering()) as there:
        await submit(here, conversation)
        queued = await submit(here, conversation)
        await gate.reached()
        run = await here.cancel(0, queued.run.id)
        del queued
        told = [await _told_twice(engine, run.id) for engine in (here, there)]
        [end] = told[0][0]
        is_told = [await here.is_told(0, run.id, after=after) for after in (-1, end.seq - 1, end.seq)]

    assert run.status is RunStatus.CANCELLED
    assert [(kinds(seen), more) for seen, more in told] == [(ENDS, [])] * 2
    assert told[0] == told[1]
    assert is_told == [False, False, True]


@pytest.mark.parametrize("url", ["memory://", "sqlite"])
async def test_run_that_ended_while_it_waited_is_told_to_have_ended_once(url: str, sqlite_url: str) -> None:
    store = open_store(sqlite_url if url == "sqlite" else url)
    await store.open()

    async with an_engine(store, asking(Tally())) as here, an_engine(store, answering()) as there:
        ticket = await submit(here, await a_conversation(store))
        with pytest.raises(NeedsAttention):
            await ticket.finished()
        follower = asyncio.create_task(followed(here, ticket.run.id))
        await asyncio.sleep(0)
        run = await here.cancel(0, ticket.run.id)
        told = [await _told_twice(engine, run.id) for engine in (here, there)]
        live = await follower
        after_wait = await followed(there, run.id, after=told[0][0][-2].seq)
    await store.close()

    [(seen, more), elsewhere] = told
    assert run.status is RunStatus.CANCELLED
    assert kinds(seen)[-2:] == [RunWaiting.kind, RunFinished.kind]
    assert kinds(seen).count(RunFinished.kind) == 1
    assert (live, elsewhere) == (seen, (seen, []))
    assert (more, after_wait) == ([], seen[-1:])


async def test_end_whose_events_are_gone_is_told_once() -> None:
    store = InMemoryStore()

    async with an_engine(store, answering()) as here, an_engine(store, answering()) as there:
        ticket = await submit(here, await a_conversation(store))
        await ticket.finished()
        await _forget_events(store)
        seen, more = await _told_twice(there, ticket.run.id)

    assert (kinds(seen), more) == (ENDS, [])


async def _forget_events(store: Store) -> None:
    await store.runs.prune(before=LATER_US, limit=1_000)


async def test_nothing_comes_after_a_number_beyond_the_end() -> None:
    store = InMemoryStore()

    async with an_engine(store, answering()) as here, an_engine(store, answering()) as there:
        ticket = await submit(here, await a_conversation(store))
        await ticket.finished()
        *_, end = await followed(here, ticket.run.id)
        more = [await followed(engine, ticket.run.id, after=end.seq + 1) for engine in (here, there)]

    assert more == [[], []]
