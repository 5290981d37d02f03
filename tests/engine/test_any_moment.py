"""Whenever somebody cancels, interrupts, decides or leaves: runs end as they must, and all see the same."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from tertulia.conversations import (
    Accepted,
    Claimant,
    Commit,
    Committed,
    Conversation,
    Frame,
    Lease,
    Run,
    RunStatus,
    Stop,
    Stopped,
    Submission,
)
from tertulia.engine import ActiveRun, Decision, Engine, Turn
from tertulia.errors import NotWaiting, Stopping
from tertulia.events import Event, Numbered, RunFinished, RunStarted, StepRestarted, TextDelta, TurnFinished
from tertulia.hints import open_hints
from tertulia.messages import Flag, Message
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.in_memory.runs import InMemoryRuns
from tertulia.stores.in_memory.state import State
from tertulia.testing.builders import a_conversation, a_submission
from tests.engine.kit import Doing, Rounds, Tally, a_turn, act, an_engine, followed, say, step, with_runs

pytestmark = pytest.mark.usefixtures("quick")

ASKED = "turn/2/ask"
WISHES = ("cancel", "keep", "interrupt", "rollback", "enqueue", "decide", "drain")


@dataclass(frozen=True)
class Move:
    """What somebody does, how long after the move before it, and through which engine."""

    ticks: int
    wish: str
    through: int


MOVES = st.lists(
    st.builds(Move, ticks=st.integers(0, 30), wish=st.sampled_from(WISHES), through=st.integers(0, 1)),
    min_size=1,
    max_size=4,
)


class Slow(InMemoryRuns):
    """A ledger that takes some turns of the loop before and after everything."""

    def __init__(self, state: State, *, ticks: Sequence[int]) -> None:
        super().__init__(state)
        self._ticks, self._calls = ticks, 0

    async def _tick(self) -> None:
        self._calls += 1
        for _ in range(self._ticks[self._calls % len(self._ticks)]):
            await asyncio.sleep(0)

    @override
    async def accept(self, submission: Submission, claimant: Claimant | None) -> Accepted:
        await self._tick()
        accepted = await super().accept(submission, claimant)
        await self._tick()
        return accepted

    @override
    async def stop(self, tenant: int, run_id: str, how: Stop, claimant: Claimant | None) -> Stopped:
        await self._tick()
        stopped = await super().stop(tenant, run_id, how, claimant)
        await self._tick()
        return stopped

    @override
    async def asked(self, leases: Sequence[Lease]) -> dict[str, Stop]:
        await self._tick()
        asked = await super().asked(leases)
        await self._tick()
        return asked

    @override
    async def commit(self, lease: Lease, commit: Commit, claimant: Claimant | None) -> Committed:
        await self._tick()
        committed = await super().commit(lease, commit, claimant)
        await self._tick()
        return committed

    @override
    async def record(self, told: Sequence[tuple[Lease, Frame]]) -> set[str]:
        await self._tick()
        recorded = await super().record(told)
        await self._tick()
        return recorded


async def perform(run: ActiveRun) -> Turn:
    """Say three turns, one of them with an effect, and one that somebody has to allow."""
    _restart(run)
    if run.conversation.head == run.input.number:
        await step(run, "turn/1/model/1", Tally())
        await _speak(run, "A1")
        await run.commit_turn(a_turn("A1"))
    if run.conversation.head == run.input.number + 1:
        if run.input.text == "ask":
            run.ask(ASKED, kind="approval", message="May I?")
        await act(run, "turn/2/tool/1", Tally())
        await run.commit_turn(a_turn("A2", number=2))
    await _speak(run, "A3")
    return a_turn("A3", number=3)


def _restart(run: ActiveRun) -> None:
    if run.is_resumed:
        run.emit(StepRestarted(path="turn"))


async def _speak(run: ActiveRun, text: str) -> None:
    run.when_stopped(lambda: a_turn(f"part of {text}"))
    for piece in text:
        say(run, piece)
        await asyncio.sleep(0)


def clean(events: Sequence[Numbered]) -> list[Numbered]:
    """Return what is left where what a restart voids is forgotten, and the signs of restarts.

    Whether messages were withdrawn since is forgotten as well.
    """
    kept: list[Numbered] = []
    for each in events:
        if isinstance(each.event, StepRestarted):
            while kept and isinstance(kept[-1].event, TextDelta):
                kept.pop()
        elif not isinstance(each.event, RunStarted):
            kept.append(Numbered(each.seq, _unmarked(each.event)))
    return kept


def _unmarked(event: Event) -> Event:
    match event:
        case TurnFinished():
            return replace(event, message=replace(event.message, flags=Flag.NONE))
        case RunFinished():
            return replace(event, messages=tuple(replace(each, flags=Flag.NONE) for each in event.messages))
        case _:
            return event


class _Often(Rounds):
    """A pause for an engine that looks at the store all the time."""

    @override
    async def __call__(self, seconds: float) -> None:
        await asyncio.sleep(0.002)


@dataclass(frozen=True)
class Outcome:
    """What came of it all."""

    runs: list[Run]
    log: list[Message]
    answers: list[Run]
    """What those who cancelled were told."""
    seen: list[list[Numbered]]
    """What was seen of the first run by those who followed from its beginning."""
    replay: list[Numbered]


@settings(max_examples=150)
@given(moves=MOVES, ticks=st.lists(st.integers(0, 4), min_size=1, max_size=5), asks=st.booleans())
def test_every_run_ends_as_it_must_whatever_happens_when(
    moves: list[Move], ticks: list[int], asks: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("recording.SOON_SECONDS", "recording.LATER_SECONDS"):
            patch.setattr(f"tertulia.engine.{name}", 0)
        patch.setattr("tertulia.engine.following._PATIENCE", (0,))
        outcome = asyncio.run(_played(moves, ticks, text="ask" if asks else "hello"))

    for run in outcome.runs:
        assert run.status.is_terminal
        assert run.status is not RunStatus.FAILED
        assert (run.status is RunStatus.CANCELLED) is bool(run.stop)
        assert [m.number for m in outcome.log if m.run_id == run.id] == _numbers(run)
        is_withdrawn = {bool(m.flags & Flag.WITHDRAWN) for m in outcome.log if m.run_id == run.id}
        assert is_withdrawn <= {run.stop is Stop.ROLLBACK}
    by_id = {run.id: run for run in outcome.runs}
    assert all(by_id[told.id] == told for told in outcome.answers if told.status.is_terminal)
    assert [message.number for message in outcome.log] == list(range(1, len(outcome.log) + 1))
    for events in (*outcome.seen, outcome.replay):
        assert all(one.seq < other.seq for one, other in pairwise(events))
        assert clean(events) == clean(outcome.replay)
        assert isinstance(events[-1].event, RunFinished)


def _numbers(run: Run) -> list[int]:
    if not run.input_number:
        return []
    return list(range(run.input_number, max(run.input_number, run.last_number) + 1))


async def _played(moves: list[Move], ticks: list[int], *, text: str) -> Outcome:
    store, answers = InMemoryStore(), list[Run]()
    conversation = await a_conversation(store)
    runs = with_runs(store, Slow(store.runs._state, ticks=ticks))
    hints = [open_hints("memory://any-moment") for _ in range(3)]
    async with (
        an_engine(store, Doing(perform), hints=hints[0]) as one,
        an_engine(store, Doing(perform), hints=hints[1]) as other,
        an_engine(store, Doing(perform), _Often(), hints=hints[2]) as last,
    ):
        ticket = await one.submit(a_submission(conversation, text))
        engines = [one, other]
        followers = [asyncio.create_task(followed(each, ticket.run.id)) for each in (one, last)]
        for move in moves:
            for _ in range(move.ticks):
                await asyncio.sleep(0)
            answers += await _make(move, engines[move.through], conversation, ticket.run.id)
        await _let_end(last, conversation)
        seen = await asyncio.wait_for(asyncio.gather(*map(_or_sent_away, followers)), 10)
        replay = await followed(last, ticket.run.id)
        return Outcome(
            runs=await runs.page(0, conversation.id),
            log=await store.conversations.messages(0, conversation.id),
            answers=answers,
            seen=[events for events in seen if events],
            replay=replay,
        )


async def _or_sent_away(follower: asyncio.Task[list[Numbered]]) -> list[Numbered]:
    """Return what somebody has seen to the end; nothing if the process took its leave before it."""
    try:
        return await follower
    except Stopping:
        return []


async def _make(move: Move, engine: Engine, conversation: Conversation, run_id: str) -> list[Run]:
    """Do what somebody does; return the run as who cancels is told it stands."""
    try:
        match move.wish:
            case "cancel" | "keep":
                return [await engine.cancel(0, run_id, keep_partial=move.wish == "keep")]
            case "decide":
                await engine.decide(0, run_id, Decision(verdict="approve"))
            case "drain":
                engine.drain(grace_seconds=1_000)
            case "interrupt" | "rollback" | "enqueue" as multitask:
                await engine.submit(a_submission(conversation, multitask, multitask=multitask))
    except (Stopping, NotWaiting):
        pass
    return []


async def _let_end(engine: Engine, conversation: Conversation) -> None:
    """Return when every run of a conversation has ended, having allowed what is asked."""
    async with asyncio.timeout(10):
        for run in await engine.store.runs.page(0, conversation.id):
            async for numbered in await engine.follow(0, run.id):
                if numbered.event.kind == "run.waiting":
                    await _allow(engine, run.id)


async def _allow(engine: Engine, run_id: str) -> None:
    try:
        await engine.decide(0, run_id, Decision(verdict="approve"))
    except NotWaiting:
        return
