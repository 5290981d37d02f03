"""Whoever follows a run sees all of it, once, in order, from wherever and whenever."""

import asyncio
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from tertulia.conversations import Frame, RunStatus
from tertulia.engine import ActiveRun, Engine, Turn
from tertulia.errors import NotFound, RunCancelled
from tertulia.events import (
    Numbered,
    RunFinished,
    RunStarted,
    StepRestarted,
    TurnFinished,
)
from tertulia.stores import open_store
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.in_memory.state import State
from tertulia.testing.builders import LATER_US, a_conversation, a_submission, all_texts
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
    kinds,
    say,
    submit,
    submit_followed,
    texts,
    told,
    with_runs,
)

pytestmark = pytest.mark.usefixtures("quick")

PIECES = [f"{i} " for i in range(12)]


class LateReader(Noted):
    """A ledger that reads events, and gives them when it is let."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.is_late = False
        self.read, self.let = asyncio.Event(), asyncio.Event()

    @override
    async def frames(self, tenant: int, run_id: str, *, after: int = -1, limit: int = 100) -> list[Frame]:
        found = await super().frames(tenant, run_id, after=after, limit=limit)
        if self.is_late:
            self.is_late = False
            self.read.set()
            await self.let.wait()
        return found


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


@pytest.mark.parametrize("url", ["memory://", "sqlite"])
async def test_run_is_followed_from_another_engine_while_it_goes_on(url: str, sqlite_url: str) -> None:
    store, gate = open_store(sqlite_url if url == "sqlite" else url), Gate()
    await store.open()

    async with an_engine(store, telling(gate)) as here, an_engine(store, answering()) as there:
        ticket = await submit_followed(here, await a_conversation(store))
        elsewhere = await there.follow(0, ticket.run.id)
        early = [await anext(elsewhere) for _ in range(3)]
        gate.open()
        seen = early + [each async for each in elsewhere]
        own = await told(ticket.events())
    await store.close()

    assert texts(own) == PIECES
    assert seen == own
    assert kinds(own)[0] == RunStarted.kind
    assert kinds(own)[-2:] == [TurnFinished.kind, RunFinished.kind]


@pytest.mark.parametrize("url", ["memory://", "sqlite"])
async def test_whoever_comes_back_after_any_event_sees_the_rest(url: str, sqlite_url: str) -> None:
    store, gate = open_store(sqlite_url if url == "sqlite" else url), Gate()
    await store.open()

    async with an_engine(store, telling(gate)) as here, an_engine(store, answering()) as there:
        ticket = await submit_followed(here, await a_conversation(store))
        cuts = [asyncio.create_task(told(ticket.events(after=k))) for k in range(-1, len(PIECES) + 2)]
        gate.open()
        whole, *live = await asyncio.gather(*cuts)
        rest = [whole[i + 1 :] for i in range(len(whole) - 1)]
        later = [
            await followed(engine, ticket.run.id, after=k.seq) for engine in (here, there) for k in whole[:-1]
        ]
    await store.close()

    assert [each.seq for each in whole] == list(range(len(whole)))
    assert live == rest
    assert later == rest + rest


async def test_who_has_seen_the_end_and_asks_for_more_is_told_nothing_again() -> None:
    store = InMemoryStore()

    async with an_engine(store, telling()) as engine:
        ticket = await submit(engine, await a_conversation(store))
        *_, end = await told(ticket.events())
        again = await followed(engine, ticket.run.id, after=end.seq)

    assert again == []


async def test_events_that_are_gone_end_with_the_end() -> None:
    store = InMemoryStore()

    async with an_engine(store, telling()) as here, an_engine(store, answering()) as there:
        ticket = await submit(here, await a_conversation(store))
        *_, end = await told(ticket.events())
        await store.runs.prune(before=LATER_US, limit=1_000)
        for after in (-1, 3, end.seq):
            [only] = await followed(there, ticket.run.id, after=after)
            assert only.event == end.event
            assert only.seq > max(after, end.seq)


async def test_run_that_nobody_follows_is_stored_before_its_end() -> None:
    store, gate = InMemoryStore(), Gate()
    runs = with_runs(store, Noted(store.runs._state))

    async with an_engine(store, telling(gate)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await gate.reached()
        await runs.hold(ticket.run.id, events=len(PIECES) // 2 + 2)
        gate.open()
        await ticket.finished()

    assert runs.batches


async def test_run_that_ends_at_once_is_stored_with_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tertulia.engine.recording.LATER_SECONDS", 3600)
    store = InMemoryStore()
    runs = with_runs(store, Noted(store.runs._state))

    async with an_engine(store, telling()) as here, an_engine(store, answering()) as there:
        ticket = await submit(here, await a_conversation(store))
        await ticket.finished()
        [frame] = await runs.frames(0, ticket.run.id)
        seen = await followed(there, ticket.run.id)

    assert runs.batches == []
    assert (frame.first_seq, frame.last_seq) == (0, len(PIECES) + 2)
    assert texts(seen) == PIECES


async def test_who_comes_late_reads_what_is_no_longer_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tertulia.engine.live.KEPT", 4)
    store, gate = InMemoryStore(), Gate()
    runs = with_runs(store, Noted(store.runs._state))

    async with an_engine(store, telling(gate)) as engine:
        ticket = await submit_followed(engine, await a_conversation(store))
        await gate.reached()
        await runs.hold(ticket.run.id, events=len(PIECES) // 2 + 2)
        await asyncio.sleep(0)
        first = ticket.live.first
        late = asyncio.create_task(told(ticket.events()))
        gate.open()
        seen = await late

    assert first > 0
    assert texts(seen) == PIECES
    assert [each.seq for each in seen] == list(range(len(seen)))


async def test_who_reads_slowly_while_much_is_told_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tertulia.engine.live.KEPT", 4)
    clock, gate, heirs, last, rounds = Clock(), Gate(), Gate(), Gate(), Rounds()
    store = InMemoryStore(now=clock)
    runs = with_runs(store, LateReader(store.runs._state))

    async def perform(run: ActiveRun) -> Turn:
        await (heirs if run.is_resumed else gate)()
        for piece in PIECES:
            say(run, piece)
        await last()
        return a_turn()

    async with an_engine(store, Doing(perform)) as gone, an_engine(store, Doing(perform), rounds) as heir:
        ticket = await submit_followed(gone, await a_conversation(store))
        await gate.reached()
        clock.let_leases_run_out()
        await rounds.look()
        await heirs.reached()
        runs.is_late = True
        follower = asyncio.create_task(followed(heir, ticket.run.id))
        await runs.read.wait()
        heirs.open()
        await last.reached()
        await runs.hold(ticket.run.id, events=len(PIECES) + 1)
        runs.let.set()
        last.open()
        seen = await follower

    assert texts(seen) == PIECES


async def test_many_follow_one_run_and_all_see_the_same() -> None:
    store, gate = InMemoryStore(), Gate()

    async with an_engine(store, telling(gate)) as here, an_engine(store, answering()) as there:
        ticket = await submit_followed(here, await a_conversation(store))
        followers = [asyncio.create_task(told(ticket.events())) for _ in range(180)]
        followers += [asyncio.create_task(followed(there, ticket.run.id)) for _ in range(20)]
        await gate.reached()
        gate.open()
        seen = await asyncio.gather(*followers)

    assert texts(seen[0]) == PIECES
    assert all(each == seen[0] for each in seen)


async def test_who_stops_following_stops_nothing() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, telling(gate)) as engine:
        ticket = await submit(engine, conversation, "U")
        async with aclosing(ticket.events()) as events:
            await anext(events)
        gate.open()
        await ticket.finished()

    assert await all_texts(store, conversation) == ["U", "".join(PIECES)]


async def test_run_that_is_not_there_cannot_be_followed() -> None:
    store = InMemoryStore()

    async with an_engine(store, answering()) as engine:
        with pytest.raises(NotFound):
            await engine.follow(0, a_submission("conv").run_id)
        ticket = await submit(engine, await a_conversation(store))
        with pytest.raises(NotFound):
            await engine.follow(1, ticket.run.id)


async def test_queued_run_is_followed_from_before_it_begins() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, telling(gate)) as engine, an_engine(store, answering()) as there:
        await submit(engine, conversation)
        second = await submit(engine, conversation)
        followers = [asyncio.create_task(followed(each, second.run.id)) for each in (engine, there)]
        await gate.reached()
        gate.open()
        here, elsewhere = await asyncio.gather(*followers)

    assert texts(here) == PIECES
    assert here == elsewhere


async def test_run_that_was_cancelled_in_the_queue_is_followed_to_its_end() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, telling(gate)) as engine, an_engine(store, answering()) as there:
        await submit(engine, conversation)
        second = await submit(engine, conversation)
        followers = [asyncio.create_task(followed(each, second.run.id)) for each in (engine, there)]
        await gate.reached()
        await engine.cancel(0, second.run.id)
        ends = await asyncio.gather(*followers)
        with pytest.raises(RunCancelled):
            await second.finished()

    assert [[each.event.status for each in end if isinstance(each.event, RunFinished)] for end in ends] == [
        [RunStatus.CANCELLED]
    ] * 2


@settings(max_examples=40)
@given(cuts=st.lists(st.integers(1, 6), max_size=6), is_there_first=st.booleans())
def test_follower_that_is_cut_off_and_goes_on_elsewhere_misses_nothing(
    cuts: list[int], is_there_first: bool
) -> None:
    seen, whole = asyncio.run(_followed_in_pieces(cuts, is_there_first=is_there_first))

    assert seen == whole
    assert texts(whole) == PIECES


async def _followed_in_pieces(
    cuts: list[int], *, is_there_first: bool
) -> tuple[list[Numbered], list[Numbered]]:
    store, seen = InMemoryStore(), list[Numbered]()
    async with an_engine(store, telling()) as here, an_engine(store, answering()) as there:
        ticket = await submit_followed(here, await a_conversation(store))
        engines = [there, here] if is_there_first else [here, there]
        for place, count in enumerate(cuts):
            seen += await _some(engines[place % 2], ticket.run.id, seen, count=count)
        if not seen or not isinstance(seen[-1].event, RunFinished):
            seen += await followed(engines[len(cuts) % 2], ticket.run.id, after=_last(seen))
        return seen, await followed(there, ticket.run.id)


async def _some(engine: Engine, run_id: str, seen: list[Numbered], *, count: int) -> list[Numbered]:
    """Follow a run for some events more, unless its end has been seen."""
    found: list[Numbered] = []
    if seen and isinstance(seen[-1].event, RunFinished):
        return found
    async for numbered in await engine.follow(0, run_id, after=_last(seen)):
        found.append(numbered)
        if len(found) == count:
            break
    return found


def _last(seen: list[Numbered]) -> int:
    return seen[-1].seq if seen else -1
