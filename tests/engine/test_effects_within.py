"""A step may belong to the work of one with an effect: it waits for nothing then, and leaves with it."""

import asyncio

import pytest

from tertulia.conversations import Multitask, RunStatus, Stop
from tertulia.engine import ActiveRun, StepResult, Turn
from tertulia.errors import RunCancelled
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import a_conversation, a_submission, all_texts, an_agent
from tests.engine.kit import (
    Doing,
    Gate,
    Rounds,
    Tally,
    a_turn,
    act,
    an_engine,
    settled,
    step,
    submit,
)

pytestmark = pytest.mark.usefixtures("quick")

MAIL = "turn/1/tool/mail"
DRAFT = f"{MAIL}/model/1"
STAMP = f"{MAIL}/tool/stamp"
AFTER = "turn/1/model/2"


class Mailing:
    """Sends a mail in a step with an effect, to which a model's draft belongs, and maybe a stamp."""

    def __init__(self, *, is_stamped: bool) -> None:
        self._is_stamped = is_stamped
        self.gate, self.stamp, self.after = Gate(), Tally(), Tally()
        self.sent = list[str]()
        self.cut = False
        self.performer = Doing(self._perform)

    async def _perform(self, run: ActiveRun) -> Turn:
        if run.input.text != "U1":
            return a_turn(f"to {run.input.text}")

        async def send() -> StepResult:
            try:
                await self.gate()
                drafted = await step(run, DRAFT, Tally('"a draft"'))
                if self._is_stamped:
                    await act(run, STAMP, self.stamp)
            except asyncio.CancelledError:
                self.cut = True
                raise
            self.sent.append(drafted.output)
            return drafted

        await act(run, MAIL, send)
        await step(run, AFTER, self.after)
        return a_turn("mailed")


@pytest.mark.parametrize("is_stamped", [False, True])
@pytest.mark.parametrize("multitask", ["interrupt", "rollback"])
async def test_what_belongs_to_an_effect_is_done_before_room_is_made(
    multitask: Multitask, is_stamped: bool
) -> None:
    store, mailing = InMemoryStore(), Mailing(is_stamped=is_stamped)
    conversation = await a_conversation(store)

    async with an_engine(store, mailing.performer) as engine:
        first = await submit(engine, conversation, "U1")
        await mailing.gate.reached()
        second = await engine.submit(a_submission(conversation, "U2", multitask=multitask))
        mailing.gate.open()
        async with asyncio.timeout(10):
            await second.finished()
        with pytest.raises(RunCancelled):
            await first.finished()
        journaled = {each.path for each in await store.runs.steps(0, first.run.id) if each.ended_at}

    assert (mailing.sent, mailing.stamp.count, mailing.after.count) == (['"a draft"'], is_stamped, 0)
    assert journaled == {MAIL, DRAFT} | ({STAMP} if is_stamped else set())
    assert (await all_texts(store, conversation))[-1] == "to U2"


async def test_what_belongs_to_an_effect_is_done_before_its_run_is_handed_over() -> None:
    store, mailing, rounds = InMemoryStore(), Mailing(is_stamped=True), Rounds()
    conversation = await a_conversation(store)

    async with an_engine(store, mailing.performer) as engine:
        ticket = await submit(engine, conversation, "U1")
        await mailing.gate.reached()
        engine.drain(grace_seconds=3600)
        mailing.gate.open()
        async with asyncio.timeout(10):
            await settled(engine)
        before = mailing.after.count
    async with an_engine(store, mailing.performer, rounds) as heir:
        await rounds.look()
        await settled(heir)

    assert (before, mailing.after.count) == (0, 1)
    assert (mailing.sent, mailing.stamp.count) == (['"a draft"'], 1)
    assert (await store.runs.get(0, ticket.run.id)).status is RunStatus.COMPLETED


async def test_effect_is_cut_short_with_what_belongs_to_it_when_its_run_is_cancelled() -> None:
    store, mailing = InMemoryStore(), Mailing(is_stamped=True)

    async with an_engine(store, mailing.performer) as engine:
        ticket = await submit(engine, await a_conversation(store), "U1")
        await mailing.gate.reached()
        async with asyncio.timeout(10):
            run = await engine.cancel(0, ticket.run.id)

    assert (run.status, mailing.cut, mailing.sent) == (RunStatus.CANCELLED, True, [])


async def test_what_belongs_to_an_effect_is_not_begun_once_its_run_is_cancelled() -> None:
    store, draft = InMemoryStore(), Tally()

    async def perform(run: ActiveRun) -> Turn:
        async def send() -> StepResult:
            run.ask_to_stop(Stop.CANCEL)
            return await step(run, DRAFT, draft)

        await act(run, MAIL, send)
        return a_turn()

    async with an_engine(store, Doing(perform)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        with pytest.raises(RunCancelled):
            await ticket.finished()

    assert draft.count == 0


async def test_run_that_begins_within_an_effect_of_another_does_not_belong_to_it() -> None:
    store, gate, after = InMemoryStore(), Gate(), Tally()
    agent = await an_agent(store)
    first, second = [await a_conversation(store, agent) for _ in range(2)]

    async def perform(run: ActiveRun) -> Turn:
        async def ask_somebody() -> StepResult:
            await submit(engine, second, "U2")
            return StepResult(output="null")

        if run.input.text == "U1":
            await act(run, MAIL, ask_somebody)
        else:
            await step(run, DRAFT, gate)
            await step(run, AFTER, after)
        return a_turn()

    async with an_engine(store, Doing(perform)) as engine:
        await (await submit(engine, first, "U1")).finished()
        await gate.reached()
        engine.drain(grace_seconds=3600)
        gate.open()
        await settled(engine)

    assert after.count == 0
