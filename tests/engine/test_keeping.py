"""What was said so far of a run that is cancelled is kept if that is wanted: that, and nothing else."""

import asyncio
from collections.abc import Sequence

import pytest
from typing_extensions import override

from tertulia.conversations import Claimant, Commit, Committed, Lease, RunStatus, Stop
from tertulia.engine import ActiveRun, Plan, Turn
from tertulia.errors import RunCancelled
from tertulia.messages import Flag
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.in_memory.runs import InMemoryRuns
from tertulia.stores.in_memory.state import State
from tertulia.testing.builders import (
    a_conversation,
    a_digest,
    all_texts,
)
from tests.engine.kit import (
    Doing,
    Gate,
    Rounds,
    Tally,
    a_turn,
    an_engine,
    an_incomplete_turn,
    settled,
    speaking,
    step,
    submit,
    with_runs,
)

pytestmark = pytest.mark.usefixtures("quick")


class Deliberate(InMemoryRuns):
    """A ledger that takes its time to say who was asked to stop."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.reached, self.let = asyncio.Event(), asyncio.Event()

    @override
    async def asked(self, leases: Sequence[Lease]) -> dict[str, Stop]:
        self.reached.set()
        await self.let.wait()
        return await super().asked(leases)


class Picky(InMemoryRuns):
    """A ledger that cannot keep one text."""

    @override
    async def commit(self, lease: Lease, commit: Commit, claimant: Claimant | None) -> Committed:
        if any(message.text == "bad" for message in commit.messages):
            raise RuntimeError("cannot be kept")
        return await super().commit(lease, commit, claimant)


async def test_what_was_said_is_kept_marked_incomplete_if_that_is_wanted() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, speaking(gate)) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
        run = await engine.cancel(0, ticket.run.id, keep_partial=True)

    [_, kept] = await store.conversations.messages(0, conversation.id)
    assert (kept.text, kept.flags, kept.run_id) == ("Once upon", Flag.INCOMPLETE, run.id)
    assert (run.status, run.last_number) == (RunStatus.CANCELLED, 2)


async def test_what_was_said_is_not_kept_if_nobody_wants_it() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, speaking(gate)) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
        await engine.cancel(0, ticket.run.id)

    assert await all_texts(store, conversation) == ["U"]


async def test_who_wants_what_was_said_kept_gets_it_from_another_engine_too() -> None:
    store, gate, rounds = InMemoryStore(), Gate(), Rounds()
    conversation = await a_conversation(store)

    async with an_engine(store, speaking(gate), rounds) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
        await store.runs.stop(0, ticket.run.id, Stop.KEEP, None)
        await rounds.look()
        await settled(engine)

    assert await all_texts(store, conversation) == ["U", "Once upon"]


async def test_what_was_said_is_kept_when_the_store_is_the_first_to_tell_of_the_wish() -> None:
    store, gate, first = InMemoryStore(), Gate(), Tally()
    conversation = await a_conversation(store)

    async def perform(run: ActiveRun) -> Turn:
        run.when_stopped(lambda: an_incomplete_turn("Once upon"))
        await step(run, "turn/1/model/1", gate)
        await step(run, "turn/1/model/2", first)
        return a_turn()

    async with an_engine(store, Doing(perform)) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
        await store.runs.stop(0, ticket.run.id, Stop.KEEP, None)
        gate.open()
        with pytest.raises(RunCancelled):
            await ticket.finished()

    assert first.count == 0
    assert await all_texts(store, conversation) == ["U", "Once upon"]


async def test_what_was_said_of_a_turn_that_is_kept_already_is_not_kept_twice() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async def perform(run: ActiveRun) -> Turn:
        run.when_stopped(lambda: an_incomplete_turn("A"))
        await run.commit_turn(a_turn("A1"))
        await step(run, "turn/2/model/1", gate)
        return a_turn("A2", number=2)

    async with an_engine(store, Doing(perform)) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
        await engine.cancel(0, ticket.run.id, keep_partial=True)

    assert await all_texts(store, conversation) == ["U", "A1"]


async def test_what_was_paid_until_a_run_was_cancelled_is_counted_and_journaled() -> None:
    store, gate, before = InMemoryStore(), Gate(), Tally()

    async with an_engine(store, speaking(gate, before=before)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await gate.reached()
        run = await engine.cancel(0, ticket.run.id)

    assert run.usage.model_calls == 2  # the one that was cut short as well
    assert [each.path for each in await store.runs.steps(0, run.id)] == ["turn/1/model/1"]


async def test_what_asks_no_model_is_no_call_of_one_although_it_was_cut_short() -> None:
    store, gate = InMemoryStore(), Gate()
    plan = Plan(kind="tool", identity=a_digest("same"), within_seconds=60)

    async def perform(run: ActiveRun) -> Turn:
        await run.step("turn/1/tool/look", gate, plan)
        return a_turn()

    async with an_engine(store, Doing(perform)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await gate.reached()
        run = await engine.cancel(0, ticket.run.id)

    assert (run.status, run.usage.model_calls) == (RunStatus.CANCELLED, 0)


async def test_cancelled_run_ends_although_what_it_has_said_cannot_be_kept() -> None:
    store, gate = InMemoryStore(), Gate()
    with_runs(store, Picky(store.runs._state))
    conversation = await a_conversation(store)

    async with an_engine(store, speaking(gate, "bad")) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
        run = await engine.cancel(0, ticket.run.id, keep_partial=True)

    assert run.status is RunStatus.CANCELLED
    assert await all_texts(store, conversation) == ["U"]


async def test_wish_that_comes_again_while_the_store_is_asked_what_it_was_does_no_harm() -> None:
    store, gate = InMemoryStore(), Gate()
    runs, conversation = with_runs(store, Deliberate(store.runs._state)), await a_conversation(store)

    async with an_engine(store, performer := speaking(gate)) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
        await runs.stop(0, ticket.run.id, Stop.KEEP, None)
        gate.open()
        await runs.reached.wait()
        cancelling = asyncio.create_task(engine.cancel(0, ticket.run.id, keep_partial=True))
        await asyncio.sleep(0)
        runs.let.set()
        run = await cancelling

    assert (run.status, len(performer.runs)) == (RunStatus.CANCELLED, 1)
    assert await all_texts(store, conversation) == ["U", "Once upon"]
