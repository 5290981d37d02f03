"""What the store cannot take is offered again, or ends its run."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import pytest
from typing_extensions import override

from tertulia.conversations import (
    Claim,
    Claimant,
    Commit,
    Committed,
    Lease,
    RunStatus,
)
from tertulia.engine import ActiveRun, Turn
from tertulia.errors import (
    RunFailed,
    StoreBusy,
    StoreUnavailable,
)
from tertulia.stores import open_store
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.in_memory.runs import InMemoryRuns
from tertulia.stores.in_memory.state import State
from tertulia.testing.builders import a_conversation, a_submission, all_texts
from tests.engine.kit import (
    SPENT,
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
        self.fault: Exception = StoreUnavailable()

    @override
    async def commit(self, lease: Lease, commit: Commit, claimant: Claimant | None) -> Committed:
        if self.failing_commits:
            self.failing_commits -= 1
            raise self.fault
        return await super().commit(lease, commit, claimant)

    @override
    async def claim(
        self, claimant: Claimant, *, limit: int, busy_with: Collection[str] = (), suspects: bool = False
    ) -> list[Claim]:
        if self.failing_claims:
            self.failing_claims -= 1
            raise StoreBusy
        return await super().claim(claimant, limit=limit, busy_with=busy_with, suspects=suspects)

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


async def test_what_was_paid_is_kept_once_the_store_is_back_however_long_it_was_gone() -> None:
    clock, rounds, gate, first = Clock(), Rounds(), Gate(), Tally()
    store = FailingStore(now=clock)
    conversation = await a_conversation(store)

    async with an_engine(store, waiting_at(gate, before=first), rounds) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
        store.runs.failing_commits = 100
        clock.let_leases_run_out()
        gate.open()
        await rounds.look()
        end = await ticket.finished()

    assert (first.count, gate.arrived, len(rounds.short)) == (1, 1, 100)
    assert await all_texts(store, conversation) == ["U", end.messages[0].text]


async def test_run_whose_performer_could_not_read_the_store_goes_on_elsewhere_and_its_caller_is_told() -> (
    None
):
    clock, own, rounds = Clock(), Rounds(), Rounds()
    store = InMemoryStore(now=clock)

    async def perform(_run: ActiveRun) -> Turn:
        raise StoreUnavailable

    async with an_engine(store, Doing(perform), own) as engine, an_engine(store, answering("B"), rounds):
        await own.look()
        ticket = await submit(engine, await a_conversation(store))
        await settled(engine)
        assert not ticket.live.is_ours
        clock.let_leases_run_out()
        await rounds.look()
        end = await ticket.finished()

    assert end.messages[0].text == "B"


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of a fresh database, once for every kind."""
    url: str = request.getfixturevalue(request.param)
    return url


def _unkeepable(why: str) -> Turn:
    """Return a turn that no database can keep."""
    turn = a_turn("\ud800" if why == "text" else "bad")
    [message] = turn.messages
    match why:
        case "author":
            return replace(turn, messages=(replace(message, author="\ud800"),))
        case "tokens":
            return replace(turn, tokens=2**70)
        case "twice":
            return replace(turn, messages=(message, message))
        case _:
            return turn


@pytest.mark.parametrize("why", ["text", "author", "tokens", "twice", "step"])
async def test_turn_that_cannot_be_kept_ends_its_run_and_nothing_else(database_url: str, why: str) -> None:
    store, rounds = open_store(database_url), Rounds()
    await store.open()
    conversation = await a_conversation(store)

    async def perform(run: ActiveRun) -> Turn:
        if run.input.text == "good":
            return a_turn("A")
        await step(run, "turn/1/\ud800" if why == "step" else "turn/1/model/1", Tally())
        return _unkeepable(why)

    async with an_engine(store, Doing(perform), rounds) as engine:
        bad = await submit(engine, conversation, "bad")
        good = await submit(engine, conversation, "good")
        with pytest.raises(RunFailed, match="could not be kept"):
            await bad.finished()
        await good.finished()
    texts, run = await all_texts(store, conversation), await store.runs.get(0, bad.run.id)
    await store.close()

    assert texts == ["bad", "good", "A"]
    assert (run.usage, rounds.short) == (SPENT, [])


async def test_fault_of_the_store_ends_the_run_that_met_it_and_nothing_else() -> None:
    store, gate = FailingStore(now=Clock()), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, waiting_at(gate)) as engine:
        bad = await submit(engine, conversation, "bad")
        good = await submit(engine, conversation, "good")
        await gate.reached()
        store.runs.fault, store.runs.failing_commits = RuntimeError("a secret"), 1
        gate.open()
        with pytest.raises(RunFailed) as raised:
            await bad.finished()
        await good.finished()

    assert "secret" not in str(raised.value)
    assert await all_texts(store, conversation) == ["bad", "good", '"late"']


async def test_caller_is_told_when_not_even_the_failure_of_a_run_can_be_kept() -> None:
    clock, rounds, gate = Clock(), Rounds(), Gate()
    store = FailingStore(now=clock)

    async with an_engine(store, waiting_at(gate)) as engine, an_engine(store, answering("B"), rounds):
        ticket = await submit(engine, await a_conversation(store))
        await gate.reached()
        store.runs.fault, store.runs.failing_commits = RuntimeError(), 2
        gate.open()
        await settled(engine)
        assert not ticket.live.is_ours
        clock.let_leases_run_out()
        await rounds.look()
        end = await ticket.finished()

    assert end.messages[0].text == "B"


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
