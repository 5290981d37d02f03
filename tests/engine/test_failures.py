"""What fails ends its run or is tried again, and takes nothing else with it."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from typing_extensions import override

from tertulia.conversations import Claim, Claimant, Commit, Committed, Lease, RunStatus
from tertulia.engine import ActiveRun, Turn
from tertulia.errors import (
    LeaseLost,
    ModelBusy,
    ModelTimeout,
    NotFound,
    RunFailed,
    StoreBusy,
    StoreUnavailable,
    TertuliaError,
)
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.in_memory.runs import InMemoryRuns
from tertulia.stores.in_memory.state import State
from tertulia.testing.builders import a_conversation, a_submission, all_texts
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
)


class Failing(InMemoryRuns):
    """A ledger that can be made to fail for a while."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.failing_commits = self.failing_claims = 0
        self.was_claimed = asyncio.Event()

    @override
    async def commit(self, lease: Lease, commit: Commit, claimant: Claimant | None) -> Committed:
        if self.failing_commits:
            self.failing_commits -= 1
            raise StoreUnavailable
        return await super().commit(lease, commit, claimant)

    @override
    async def claim(self, claimant: Claimant, *, limit: int) -> list[Claim]:
        if self.failing_claims:
            self.failing_claims -= 1
            raise StoreBusy
        return await super().claim(claimant, limit=limit)

    @override
    async def release(self, leases: Sequence[Lease]) -> None:
        raise StoreUnavailable


class FailingStore(InMemoryStore):
    """A store with a ledger that can be made to fail."""

    def __init__(self, *, now: Callable[[], int]) -> None:
        super().__init__(now=now)
        self._runs: Failing = Failing(self._runs._state)

    @property
    @override
    def runs(self) -> Failing:
        return self._runs


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


async def test_what_the_store_cannot_take_now_is_offered_again() -> None:
    store, rounds, gate = FailingStore(now=Clock()), Rounds(), Gate()

    async with an_engine(store, waiting_at(gate), rounds) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await gate.reached()
        store.runs.failing_commits = 3
        gate.open()
        end = await ticket.finished()

    assert end.status is RunStatus.COMPLETED
    assert gate.arrived == 1
    assert rounds.short == sorted(rounds.short)
    assert len(rounds.short) == 3


async def test_run_that_the_store_would_not_take_is_carried_out_again_from_its_last_kept_step() -> None:
    clock, rounds, gate, first = Clock(), Rounds(), Gate(), Tally()
    store = FailingStore(now=clock)
    conversation = await a_conversation(store)

    async with an_engine(store, waiting_at(gate, before=first), rounds) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
        store.runs.failing_commits = 8
        gate.open()
        await settled(engine)
        clock.let_leases_run_out()
        await rounds.look()
        end = await ticket.finished()

    assert (first.count, gate.arrived) == (1, 2)
    assert await all_texts(store, conversation) == ["U", end.messages[0].text]


async def test_engine_goes_on_looking_for_runs_when_the_store_has_failed() -> None:
    store, rounds = FailingStore(now=Clock()), Rounds()
    conversation = await a_conversation(store)
    await store.runs.accept(a_submission(conversation, "U"), None)
    store.runs.failing_claims = 1

    async with an_engine(store, answering("A"), rounds) as engine:
        await rounds.look()
        await rounds.look()
        await engine.stop(grace_seconds=10)

    assert await all_texts(store, conversation) == ["U", "A"]


async def test_engine_stops_when_the_store_is_gone() -> None:
    store, gate = FailingStore(now=Clock()), Gate()

    async with an_engine(store, waiting_at(gate)) as engine:
        await submit(engine, await a_conversation(store))
        await gate.reached()
        await engine.stop()

        assert engine.active == 0


async def test_run_that_was_lost_is_stopped_by_the_heartbeat() -> None:
    store, gate = InMemoryStore(), Gate()

    async with an_engine(store, waiting_at(gate)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await gate.reached()
        [lease] = engine._heartbeat._held
        await asyncio.to_thread(engine._lost_elsewhere, [lease])
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
