"""A request whose acceptance was lost on the way is told what became of it, or that nobody knows."""

import asyncio
from collections.abc import Sequence

import pytest
from typing_extensions import override

from tertulia.conversations import Accepted, Claimant, Lease, Run, RunStatus, Submission
from tertulia.errors import OutcomeUnknown, StoreUnavailable
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.in_memory.runs import InMemoryRuns
from tertulia.stores.in_memory.state import State
from tertulia.testing.builders import a_conversation, all_texts
from tests.engine.kit import Gate, Rounds, an_engine, answering, settled, submit, waiting_at, with_runs

pytestmark = pytest.mark.usefixtures("quick")


class Losing(InMemoryRuns):
    """A ledger that is lost while it takes a request in, and is away for some looks then."""

    def __init__(self, state: State, *, is_kept: bool, away: float = 0) -> None:
        super().__init__(state)
        self._is_kept, self._away, self._is_lost = is_kept, away, False
        self.submission: Submission | None = None

    @override
    async def accept(self, submission: Submission, claimant: Claimant | None) -> Accepted:
        self.submission = submission
        if self._is_kept:
            await super().accept(submission, claimant)
        self._is_lost = True
        raise OutcomeUnknown("lost")

    @override
    async def get(self, tenant: int, run_id: str) -> Run:
        if self._is_lost and self._away:
            self._away -= 1
            raise StoreUnavailable("away")
        return await super().get(tenant, run_id)


class Unreleasing(Losing):
    """A ledger that is lost once more when it is asked to take a run back."""

    @override
    async def release(self, leases: Sequence[Lease]) -> None:
        raise StoreUnavailable("away")


@pytest.mark.parametrize("away", [0, 1])
async def test_request_that_was_kept_although_nobody_said_so_is_answered_once(away: int) -> None:
    store, performer = InMemoryStore(), answering("A")
    runs = with_runs(store, Losing(store.runs._state, is_kept=True, away=away))
    conversation = await a_conversation(store)

    async with an_engine(store, performer, rounds := Rounds()) as engine:
        ticket = await submit(engine, conversation, "U")
        looking = asyncio.create_task(rounds.look())
        end = await ticket.finished()
        await looking

    assert runs.submission is not None
    assert (ticket.run.id, end.run_id) == (runs.submission.run_id, runs.submission.run_id)
    assert (end.status, ticket.is_new, len(performer.runs)) == (RunStatus.COMPLETED, True, 1)
    assert await all_texts(store, conversation) == ["U", "A"]


async def test_request_that_was_queued_although_nobody_said_so_is_answered_in_its_turn() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, waiting_at(gate)) as engine:
        await submit(engine, conversation, "U1")
        await gate.reached()
        with_runs(store, Losing(store.runs._state, is_kept=True))
        second = await submit(engine, conversation, "U2")
        gate.open()
        await second.finished()
        await settled(engine)

    assert await all_texts(store, conversation) == ["U1", '"late"', "U2", '"late"']


async def test_request_that_was_not_kept_can_be_sent_again() -> None:
    store = InMemoryStore()
    with_runs(store, Losing(store.runs._state, is_kept=False))
    conversation = await a_conversation(store)

    async with an_engine(store, answering()) as engine:
        with pytest.raises(StoreUnavailable, match="nothing was kept") as raised:
            await submit(engine, conversation, "U")

    assert not isinstance(raised.value, OutcomeUnknown)
    assert await all_texts(store, conversation) == []


@pytest.mark.parametrize("is_kept", [False, True])
async def test_caller_is_told_that_nobody_knows_when_the_store_stays_away(is_kept: bool) -> None:
    store = InMemoryStore()
    with_runs(store, Losing(store.runs._state, is_kept=is_kept, away=float("inf")))
    conversation = await a_conversation(store)

    async with an_engine(store, answering()) as engine:
        with pytest.raises(OutcomeUnknown):
            await submit(engine, conversation, "U")


async def test_caller_is_told_that_nobody_knows_when_the_store_is_lost_again() -> None:
    store = InMemoryStore()
    with_runs(store, Unreleasing(store.runs._state, is_kept=True))
    conversation = await a_conversation(store)

    async with an_engine(store, answering()) as engine:
        with pytest.raises(OutcomeUnknown):
            await submit(engine, conversation, "U")
