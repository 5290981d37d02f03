"""What fails ends its run or is tried again, and takes nothing else with it."""

import asyncio

import pytest
from typing_extensions import override

from tertulia.conversations import (
    Accepted,
    Claimant,
    RunStatus,
    Stop,
    Stopped,
    Submission,
)
from tertulia.engine import ActiveRun, Turn
from tertulia.errors import (
    LeaseLost,
    ModelBusy,
    ModelTimeout,
    NotFound,
    RunFailed,
    TertuliaError,
)
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.in_memory.runs import InMemoryRuns
from tertulia.stores.in_memory.state import State
from tertulia.testing.builders import a_conversation, a_submission, a_waiting_run, all_texts
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
    step,
    submit,
    waiting_at,
    with_runs,
)


class Slow(InMemoryRuns):
    """A ledger that takes a request in, and says so when it is let."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.accepted, self.let = asyncio.Event(), asyncio.Event()

    @override
    async def accept(self, submission: Submission, claimant: Claimant | None) -> Accepted:
        accepted = await super().accept(submission, claimant)
        self.accepted.set()
        await self.let.wait()
        return accepted


class SlowToStop(InMemoryRuns):
    """A ledger that notes a wish to stop, and says so when it is let."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.stopped, self.let = asyncio.Event(), asyncio.Event()

    @override
    async def stop(self, tenant: int, run_id: str, how: Stop, claimant: Claimant | None) -> Stopped:
        stopped = await super().stop(tenant, run_id, how, claimant)
        self.stopped.set()
        await self.let.wait()
        return stopped


async def test_fault_of_a_performer_ends_its_run_and_nothing_else() -> None:
    store, conversation = InMemoryStore(), None
    conversation = await a_conversation(store)

    async def perform(run: ActiveRun) -> Turn:
        if run.input.text == "bad":
            raise ZeroDivisionError("a secret")
        return a_turn()

    async with an_engine(store, Doing(perform)) as engine:
        bad = await submit(engine, conversation, "bad")
        good = await submit(engine, conversation, "good")
        with pytest.raises(RunFailed) as raised:
            await bad.finished()
        await good.finished()

    assert "secret" not in str(raised.value)
    assert raised.value.run_id == bad.run.id
    assert await all_texts(store, conversation) == ["bad", "good", "an answer"]


@pytest.mark.parametrize("error", [ModelBusy(retry_after=2.5), ModelTimeout("slow"), NotFound("gone")])
async def test_error_of_ours_is_kept_with_the_run_and_raised_again(error: TertuliaError) -> None:
    store = InMemoryStore()

    async def perform(_run: ActiveRun) -> Turn:
        raise error

    async with an_engine(store, Doing(perform)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        with pytest.raises(type(error)) as raised:
            await ticket.finished()
        run = await store.runs.get(0, ticket.run.id)

    assert (run.status, run.failure) == (RunStatus.FAILED, error.failure())
    assert raised.value.failure() == error.failure()


async def test_failed_run_can_be_made_again_on_the_same_message() -> None:
    store, answers = InMemoryStore(), iter([ModelBusy(), None])
    conversation = await a_conversation(store)

    async def perform(_run: ActiveRun) -> Turn:
        if (error := next(answers)) is not None:
            raise error
        return a_turn("A")

    async with an_engine(store, Doing(perform)) as engine:
        failed = await engine.submit(a_submission(conversation, "U", key="k"))
        with pytest.raises(ModelBusy):
            await failed.finished()
        again = await engine.submit(a_submission(conversation, "U", key="k"))
        await again.finished()

    assert again.is_new
    assert await all_texts(store, conversation) == ["U", "A"]


async def test_failed_run_can_be_retried_by_its_id() -> None:
    store, answers = InMemoryStore(), iter([ModelBusy(), None])
    conversation = await a_conversation(store)

    async def perform(_run: ActiveRun) -> Turn:
        if (error := next(answers)) is not None:
            raise error
        return a_turn("A")

    async with an_engine(store, Doing(perform)) as engine:
        failed = await submit(engine, conversation, "U")
        with pytest.raises(ModelBusy):
            await failed.finished()
        await (await engine.retry(0, failed.run.id)).finished()

    assert await all_texts(store, conversation) == ["U", "A"]


async def test_run_whose_performer_waited_for_something_cancelled_has_failed() -> None:
    store = InMemoryStore()

    async def perform(_run: ActiveRun) -> Turn:
        forsaken: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        forsaken.cancel()
        return await forsaken

    async with an_engine(store, performer := Doing(perform)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        with pytest.raises(RunFailed):
            await ticket.finished()

    assert len(performer.runs) == 1


async def test_run_that_was_lost_is_stopped_by_the_heartbeat() -> None:
    store, gate = InMemoryStore(), Gate()

    async with an_engine(store, waiting_at(gate)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await gate.reached()
        [lease] = engine._carrier.heartbeat._held
        await asyncio.to_thread(engine._carrier._lost_elsewhere, [lease])
        await settled(engine)

        assert not ticket.live.is_ours


async def test_caller_that_goes_stops_nothing() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, waiting_at(gate)) as engine:
        ticket = await submit(engine, conversation, "U")
        caller = asyncio.create_task(ticket.finished())
        await gate.reached()
        caller.cancel()
        await asyncio.wait([caller])
        gate.open()
        await engine.stop(grace_seconds=10)

    assert (await store.runs.get(0, ticket.run.id)).status is RunStatus.COMPLETED


async def test_caller_that_goes_before_it_has_its_answer_stops_nothing() -> None:
    store = InMemoryStore()
    runs, conversation = with_runs(store, Slow(store.runs._state)), await a_conversation(store)

    async with an_engine(store, answering("A")) as engine:
        caller = asyncio.create_task(submit(engine, conversation, "U"))
        await runs.accepted.wait()
        caller.cancel()
        await asyncio.wait([caller])
        runs.let.set()
        await engine.stop(grace_seconds=10)

    assert caller.cancelled()
    assert await all_texts(store, conversation) == ["U", "A"]


async def test_caller_that_goes_while_a_run_is_cancelled_keeps_nothing_from_what_waits_behind_it() -> None:
    store = InMemoryStore()
    runs, conversation = with_runs(store, SlowToStop(store.runs._state)), await a_conversation(store)
    waiting = await a_waiting_run(store, a_submission(conversation, "U1"))

    async with an_engine(store, answering("A")) as engine:
        second = await submit(engine, conversation, "U2")
        caller = asyncio.create_task(engine.cancel(0, waiting.run.id))
        await runs.stopped.wait()
        caller.cancel()
        await asyncio.wait([caller])
        runs.let.set()
        await second.finished()

    assert caller.cancelled()
    assert await all_texts(store, conversation) == ["U1", "U2", "A"]


async def test_cancelling_is_waited_for_when_the_engine_stops() -> None:
    store = InMemoryStore()
    runs, conversation = with_runs(store, SlowToStop(store.runs._state)), await a_conversation(store)
    waiting = await a_waiting_run(store, a_submission(conversation, "U1"))

    async with an_engine(store, answering("A")) as engine:
        second = await submit(engine, conversation, "U2")
        caller = asyncio.create_task(engine.cancel(0, waiting.run.id))
        await runs.stopped.wait()
        stopping = asyncio.create_task(engine.stop(grace_seconds=10))
        for _ in range(10):
            await asyncio.sleep(0)
        is_stopped = stopping.done()
        runs.let.set()
        await asyncio.gather(stopping, caller)

    assert not is_stopped
    assert (await store.runs.get(0, second.run.id)).status is RunStatus.COMPLETED


async def test_request_that_is_being_taken_in_is_waited_for_when_the_engine_stops() -> None:
    store = InMemoryStore()
    runs, conversation = with_runs(store, Slow(store.runs._state)), await a_conversation(store)

    async with an_engine(store, answering("A")) as engine:
        caller = asyncio.create_task(submit(engine, conversation, "U"))
        await runs.accepted.wait()
        stopping = asyncio.create_task(engine.stop(grace_seconds=10))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(stopping), 0.05)
        runs.let.set()
        await stopping
        ticket = await caller

    assert (await store.runs.get(0, ticket.run.id)).status is RunStatus.COMPLETED


async def test_step_after_a_lost_lease_is_not_begun() -> None:
    clock, rounds, late = Clock(), Rounds(), Tally()
    store, gate = InMemoryStore(now=clock), Gate()

    async def perform(run: ActiveRun) -> Turn:
        await step(run, "turn/1/model/1", gate)
        with pytest.raises(LeaseLost):
            await step(run, "turn/1/model/2", late)
        raise LeaseLost

    async with an_engine(store, Doing(perform)) as sleeper, an_engine(store, answering("B"), rounds):
        ticket = await submit(sleeper, await a_conversation(store))
        await gate.reached()
        clock.let_leases_run_out()
        await rounds.look()
        gate.open()
        end = await ticket.finished()

    assert (late.count, end.messages[0].text) == (0, "B")
