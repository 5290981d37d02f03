"""Who follows a run that goes from one engine to the next sees all that counts, once and in order."""

import asyncio
from itertools import pairwise

import pytest
from typing_extensions import override

from tertulia.conversations import RunStatus
from tertulia.engine import ActiveRun, Turn
from tertulia.errors import StoreBusy
from tertulia.events import (
    EPOCH_SPAN,
    Numbered,
    RunFinished,
    RunStarted,
    StepRestarted,
    TextDelta,
)
from tertulia.messages import Message
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.in_memory.conversations import InMemoryConversations
from tertulia.stores.in_memory.state import State
from tertulia.testing.builders import a_conversation, all_texts
from tests.engine.kit import (
    Clock,
    Doing,
    Gate,
    Noted,
    Rounds,
    a_turn,
    an_engine,
    answering,
    followed,
    say,
    settled,
    submit,
    submit_followed,
    texts,
    told,
    with_runs,
)

pytestmark = pytest.mark.usefixtures("quick")

PIECES = [f"{i} " for i in range(12)]


class Unreadable(InMemoryConversations):
    """Conversations that cannot be read for a while."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.failing = 0

    @override
    async def messages(
        self, tenant: int, conversation_id: str, *, after: int = 0, limit: int = 100
    ) -> list[Message]:
        if self.failing:
            self.failing -= 1
            raise StoreBusy
        return await super().messages(tenant, conversation_id, after=after, limit=limit)


def telling(gate: Gate | None = None) -> Doing:
    """Return a performer that says some pieces, half of them behind its gate; again if it is an heir."""

    async def perform(run: ActiveRun) -> Turn:
        if run.is_resumed:
            run.emit(StepRestarted(path="turn/1/model/1"))
        for i, piece in enumerate(PIECES):
            say(run, piece)
            await asyncio.sleep(0)
            if gate is not None and i == len(PIECES) // 2:
                await gate()
        return a_turn("".join(PIECES))

    return Doing(perform)


def clean(events: list[Numbered]) -> list[Numbered]:
    """Return what is left of events where what a restart voids is forgotten, and so are the signs of it."""
    kept: list[Numbered] = []
    for each in events:
        if isinstance(each.event, StepRestarted):
            kept = [earlier for earlier in kept if not isinstance(earlier.event, TextDelta)]
        elif not isinstance(each.event, RunStarted):
            kept.append(each)
    return kept


def rise(events: list[Numbered]) -> bool:
    return all(one.seq < other.seq for one, other in pairwise(events))


async def test_numbers_go_on_rising_when_another_engine_takes_over() -> None:
    clock, gate, rounds = Clock(), Gate(), Rounds()
    store = InMemoryStore(now=clock)
    runs = with_runs(store, Noted(store.runs._state))

    async with (
        an_engine(store, telling(gate)) as gone,
        an_engine(store, telling(), rounds) as heir,
        an_engine(store, answering()) as there,
    ):
        ticket = await submit_followed(gone, await a_conversation(store))
        followers = [asyncio.create_task(followed(each, ticket.run.id)) for each in (heir, there)]
        await gate.reached()
        await runs.hold(ticket.run.id, events=len(PIECES) // 2 + 2)
        clock.let_leases_run_out()
        await rounds.look()
        seen = [await follower for follower in followers]
        later = await followed(there, ticket.run.id)

    assert seen == [later, later]
    assert rise(later)
    assert [each.event.epoch for each in later if isinstance(each.event, RunStarted)] == [1, 2]
    assert later[-1].seq > EPOCH_SPAN
    assert texts(clean(later)) == PIECES


async def test_follower_on_the_engine_that_lost_the_run_goes_on_with_the_heir() -> None:
    clock, gate, rounds = Clock(), Gate(), Rounds()
    store = InMemoryStore(now=clock)

    async with an_engine(store, telling(gate)) as gone, an_engine(store, telling(), rounds):
        ticket = await submit_followed(gone, await a_conversation(store))
        follower = asyncio.create_task(told(ticket.events()))
        await gate.reached()
        clock.let_leases_run_out()
        await rounds.look()
        gate.open()
        seen = await follower
        later = await followed(gone, ticket.run.id)

    assert rise(seen)
    assert clean(seen) == clean(later)
    assert texts(clean(seen)) == PIECES


async def test_end_tells_what_was_said_before_a_takeover_too() -> None:
    clock, gate, heirs, rounds = Clock(), Gate(), Gate(), Rounds()
    store = InMemoryStore(now=clock)

    async def perform(run: ActiveRun) -> Turn:
        if not run.is_resumed:
            await run.commit_turn(a_turn("A1"))
        await (heirs if run.is_resumed else gate)()
        return a_turn("A2", number=2)

    async with an_engine(store, Doing(perform)) as gone, an_engine(store, Doing(perform), rounds) as heir:
        ticket = await submit(gone, await a_conversation(store))
        await gate.reached()
        clock.let_leases_run_out()
        await rounds.look()
        await heirs.reached()
        events = await heir.follow(0, ticket.run.id)
        while (await anext(events)).seq < EPOCH_SPAN:
            continue
        heirs.open()
        [*_, live] = await told(events)
    async with an_engine(store, answering()) as there:
        [*_, later] = await followed(there, ticket.run.id)

    assert isinstance(live.event, RunFinished)
    assert [message.text for message in live.event.messages] == ["A1", "A2"]
    assert live == later


@pytest.mark.parametrize("times", [1, 3])
async def test_answer_is_kept_although_what_was_said_before_cannot_be_read_just_now(times: int) -> None:
    clock, gate, heirs, rounds = Clock(), Gate(), Gate(), Rounds()
    store = InMemoryStore(now=clock)
    rows = store._conversations = Unreadable(store.runs._state)
    conversation = await a_conversation(store)

    async def perform(run: ActiveRun) -> Turn:
        if not run.is_resumed:
            await run.commit_turn(a_turn("A1"))
        await (heirs if run.is_resumed else gate)()
        return a_turn("A2", number=2)

    async with an_engine(store, Doing(perform)) as gone, an_engine(store, Doing(perform), rounds) as heir:
        ticket = await submit(gone, conversation, "U")
        await gate.reached()
        clock.let_leases_run_out()
        await rounds.look()
        await heirs.reached()
        rows.failing = times
        heirs.open()
        await settled(heir)
        rows.failing = 0
        run = await store.runs.get(0, ticket.run.id)

    assert run.status is RunStatus.COMPLETED
    assert await all_texts(store, conversation) == ["U", "A1", "A2"]
