"""What the tasks of a performer raise together means what the weightiest of it means alone."""

import asyncio

import pytest

from tertulia.conversations import RunStatus, Stop
from tertulia.engine import ActiveRun, Turn
from tertulia.errors import LeaseLost, ModelBusy, NeedsAttention, RunCancelled, RunFailed, StoreUnavailable
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import a_claimant, a_conversation, all_texts
from tests.engine.kit import Doing, Gate, Tally, a_turn, an_engine, settled, step, submit

pytestmark = pytest.mark.usefixtures("quick")


def in_a_group(gate: Gate, *, depth: int) -> Doing:
    """Return a performer that takes two steps in a task of a group, which may stand in another one."""

    async def perform(run: ActiveRun) -> Turn:
        async def think(depth: int) -> None:
            if depth:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(think(depth - 1))
                    tasks.create_task(_fail_when_cut())
            await step(run, "turn/1/model/1", gate)
            await step(run, "turn/1/model/2", Tally())

        await think(depth)
        return a_turn("not said")

    return Doing(perform)


@pytest.mark.parametrize("depth", [1, 2])
async def test_wish_to_stop_in_a_group_ends_the_run_as_cancelled(depth: int) -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, in_a_group(gate, depth=depth)) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
        await store.runs.stop(0, ticket.run.id, Stop.CANCEL, None)
        gate.open()
        with pytest.raises(RunCancelled):
            await ticket.finished()

    assert (await store.runs.get(0, ticket.run.id)).status is RunStatus.CANCELLED
    assert await all_texts(store, conversation) == ["U"]


@pytest.mark.parametrize("depth", [1, 2])
async def test_handover_in_a_group_leaves_the_run_to_others(depth: int) -> None:
    store, gate = InMemoryStore(), Gate()

    async with an_engine(store, in_a_group(gate, depth=depth)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await gate.reached()
        engine.drain(grace_seconds=3600)
        gate.open()
        await settled(engine)
        [claim] = await store.runs.claim(a_claimant(), limit=9)

    assert (claim.run.id, claim.run.epoch) == (ticket.run.id, 2)
    assert [each.path for each in claim.steps] == ["turn/1/model/1"]


async def test_run_that_asks_in_a_group_waits() -> None:
    store = InMemoryStore()

    async def perform(run: ActiveRun) -> Turn:
        async def ask() -> None:
            run.ask("turn/1/approval/mail", kind="approval", message="Send it?")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ask())
        return a_turn("not said")

    async with an_engine(store, Doing(perform)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        with pytest.raises(NeedsAttention):
            await ticket.finished()

    assert (await store.runs.get(0, ticket.run.id)).status is RunStatus.WAITING


@pytest.mark.parametrize("error", [LeaseLost(), StoreUnavailable("away")])
async def test_run_that_is_lost_in_a_group_is_not_ended(error: Exception) -> None:
    store = InMemoryStore()

    async with an_engine(store, raising_together(RunFailed("a fault"), error)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await settled(engine)

    run = await store.runs.get(0, ticket.run.id)
    assert (run.status, run.failure) == (RunStatus.RUNNING, None)


async def test_error_of_ours_in_a_group_is_what_the_caller_is_told() -> None:
    store = InMemoryStore()

    async with an_engine(
        store, raising_together(ZeroDivisionError("a secret"), ModelBusy("come back"))
    ) as engine:
        ticket = await submit(engine, await a_conversation(store))
        with pytest.raises(ModelBusy, match="come back"):
            await ticket.finished()

    assert (await store.runs.get(0, ticket.run.id)).status is RunStatus.FAILED


async def _fail_when_cut() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ModelBusy


def raising_together(*errors: Exception) -> Doing:
    """Return a performer whose tasks raise all of these."""

    async def fail(error: Exception) -> None:
        raise error

    async def perform(_run: ActiveRun) -> Turn:
        async with asyncio.TaskGroup() as tasks:
            for error in errors:
                tasks.create_task(fail(error))
        return a_turn("not said")

    return Doing(perform)
