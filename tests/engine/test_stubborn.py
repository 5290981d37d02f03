"""A performer that does not let itself be stopped holds nobody up, and keeps nothing from others."""

import asyncio

import pytest
from typing_extensions import override

from tertulia.conversations import RunStatus
from tertulia.engine import ActiveRun, Performer, Turn
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import a_claimant, a_conversation, all_texts
from tests.engine.kit import Rounds, Tally, a_turn, an_engine, answering, settled, step, submit

pytestmark = pytest.mark.usefixtures("quick", "impatient")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an engine wait hardly at all for what is about to end."""
    monkeypatch.setattr("tertulia.engine.carrying.ENDING_SECONDS", 0.01)


class Stubborn(Performer):
    """Goes on although it is cancelled, so many times; takes a step and answers when it is let."""

    def __init__(self, times: int) -> None:
        self.begun, self.let, self.late = asyncio.Event(), asyncio.Event(), Tally()
        self._times = times

    @override
    async def perform(self, run: ActiveRun) -> Turn:
        self.begun.set()
        while not self.let.is_set():
            try:
                await self.let.wait()
            except asyncio.CancelledError:
                if not self._times:
                    raise
                self._times -= 1
        await step(run, "turn/1/model/1", self.late)
        return a_turn("too late")


@pytest.mark.parametrize("times", [1, 2])
async def test_performer_that_has_to_be_told_more_than_once_is_stopped(times: int) -> None:
    store, stubborn = InMemoryStore(), Stubborn(times)

    async with an_engine(store, stubborn) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await stubborn.begun.wait()
        async with asyncio.timeout(10):
            await engine.stop()
        left = engine.active
    [claim] = await store.runs.claim(a_claimant(), limit=9)

    assert (left, claim.run.id, claim.run.epoch) == (0, ticket.run.id, 2)


async def test_run_of_a_performer_that_never_lets_itself_be_stopped_goes_on_elsewhere() -> None:
    store, stubborn, rounds = InMemoryStore(), Stubborn(1_000), Rounds()
    conversation = await a_conversation(store)

    async with an_engine(store, stubborn) as engine:
        ticket = await submit(engine, conversation, "U")
        await stubborn.begun.wait()
        async with asyncio.timeout(10):
            await engine.stop()
        held = list(engine._carrier.heartbeat._held)
        async with an_engine(store, answering("A"), rounds) as heir:
            await rounds.look()
            await settled(heir)
        stubborn.let.set()
        await settled(engine)

    run = await store.runs.get(0, ticket.run.id)
    assert held == []
    assert (run.status, run.epoch) == (RunStatus.COMPLETED, 2)
    assert await all_texts(store, conversation) == ["U", "A"]


async def test_performer_that_was_left_behind_begins_nothing_and_keeps_nothing() -> None:
    store, stubborn = InMemoryStore(), Stubborn(1_000)
    conversation = await a_conversation(store)

    async with an_engine(store, stubborn) as engine:
        ticket = await submit(engine, conversation, "U")
        await stubborn.begun.wait()
        await engine.stop()
        stubborn.let.set()
        await settled(engine)

    run = await store.runs.get(0, ticket.run.id)
    assert (stubborn.late.count, run.status) == (0, RunStatus.RUNNING)
    assert await all_texts(store, conversation) == ["U"]
