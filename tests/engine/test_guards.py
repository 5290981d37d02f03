"""Every promise has a guard, and the checker sees when it is taken away.

Each row of the table is a promise: a scenario that puts it to the test, the guard that keeps it, how
that guard is taken out, and the violation that the history then shows. With the guard there is none.
What no history shows, because it was told to somebody, is in a table of its own.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import pytest
from typing_extensions import override

from tertulia.conversations import Claimant, Commit, Committed, Conversation, Frame, Lease, RunStatus, Stop
from tertulia.engine import ActiveRun, Turn
from tertulia.engine.chores import Chores
from tertulia.engine.journal import Journal
from tertulia.engine.recording import Tape
from tertulia.errors import TertuliaError
from tertulia.events import Event
from tertulia.messages import Message
from tertulia.stores import Store, open_store, rules
from tertulia.stores.sql import committing, standing
from tertulia.stores.sql.runs import SqlRuns
from tertulia.stores.sql.standing import Underway
from tertulia.stores.sql.statements import Connection
from tertulia.testing.builders import (
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_submission,
    all_texts,
)
from tertulia.testing.history import Said, Witness, check
from tertulia.testing.reading import read_history
from tests.engine.kit import (
    POLL_SECONDS,
    Doing,
    Gate,
    Rounds,
    Tally,
    a_turn,
    an_engine,
    answering,
    followed,
    kinds,
    say,
    settled,
    step,
    submit,
    told,
    waiting_at,
)


@dataclass(frozen=True)
class Stage:
    """Where a scenario is played."""

    store: Store
    url: str

    def execute(self, statement: str) -> None:
        """Change the database from outside."""
        with sqlite3.connect(self.url.removeprefix("sqlite:///")) as raw:
            raw.execute(statement)
        raw.close()

    def let_leases_run_out(self) -> None:
        self.execute("UPDATE runs SET lease_until = 0 WHERE status = 'running'")


def _said(conversation: Conversation, *texts: str) -> list[Said]:
    hexed = conversation.id.removeprefix("conv_")
    return [Said(conversation_id=hexed, text=text, is_acknowledged=True) for text in texts]


async def _one_is_acknowledged(stage: Stage) -> Witness:
    conversation = await a_conversation(stage.store)
    async with an_engine(stage.store, answering()) as engine:
        Forgetful.forgets = True
        ticket = await submit(engine, conversation, "U")
        Forgetful.forgets = False
        with suppress(TertuliaError):
            await ticket.finished()
    return Witness(said=_said(conversation, "U"))


async def _one_key_comes_twice(stage: Stage) -> Witness:
    conversation = await a_conversation(stage.store)
    async with an_engine(stage.store, answering()) as engine:
        for _ in range(2):
            await (await engine.submit(a_submission(conversation, "U", key="k"))).finished()
    return Witness(said=_said(conversation, "U"))


async def _owner_dies_at_the_end(stage: Stage) -> Witness:
    conversation, rounds = await a_conversation(stage.store), Rounds()
    async with an_engine(stage.store, answering(), rounds) as engine:
        await submit(engine, conversation, "U")
        await settled(engine)
        await rounds.look()
        await engine.stop(grace_seconds=10)
    return Witness(is_quiet=True)


async def _one_is_answered(stage: Stage) -> Witness:
    conversation = await a_conversation(stage.store)
    async with an_engine(stage.store, answering()) as engine:
        await (await submit(engine, conversation, "U")).finished()
    return Witness(said=_said(conversation, "U"), is_quiet=True)


async def _two_come_at_once(stage: Stage) -> Witness:
    conversation, gate = await a_conversation(stage.store), Gate()
    async with an_engine(stage.store, waiting_at(gate)) as engine:
        tickets = [await submit(engine, conversation, text) for text in ("U1", "U2")]
        gate.open()
        for ticket in tickets:
            await ticket.finished()
    return Witness()


async def _somebody_dies(stage: Stage) -> Witness:
    conversation, rounds = await a_conversation(stage.store), Rounds()
    gone = a_claimant(lease_us=OVER_AT_ONCE)
    await a_claimed_run(stage.store, a_submission(conversation, "U"), claimant=gone)
    async with an_engine(stage.store, answering(), rounds) as engine:
        await rounds.look()
        await engine.stop(grace_seconds=10)
    return Witness(is_quiet=True)


async def _somebody_sleeps(stage: Stage, *, first: Tally | None = None) -> Witness:
    """Have a run taken over from an owner that then wakes up, and tries to go on."""
    conversation, gate, rounds = await a_conversation(stage.store), Gate(), Rounds()
    first = first or Tally()

    async def resume(run: ActiveRun) -> Turn:
        await step(run, "turn/1/model/1", first)
        return a_turn("of the heir")

    sleeper = an_engine(stage.store, waiting_at(gate, before=first))
    async with sleeper as slow, an_engine(stage.store, Doing(resume), rounds) as heir:
        await submit(slow, conversation, "U")
        await gate.reached()
        stage.let_leases_run_out()
        await rounds.look()
        await heir.stop(grace_seconds=10)
        gate.open()
        await slow.stop(grace_seconds=10)
    return Witness(calls={"U": first.count}, is_quiet=True)


class Forgetful(sqlite3.Connection):
    """A connection that can be made to forget what it was told to commit."""

    forgets = False

    @override
    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        if sql == "COMMIT" and self.forgets:
            sql = "ROLLBACK"
        return super().execute(sql, *parameters)  # type: ignore[arg-type]  # passed on as they came


def _without_commit(patch: pytest.MonkeyPatch, _stage: Stage) -> None:
    patch.setattr("sqlite3.connect", partial(sqlite3.connect, factory=Forgetful))


def _without_keys(patch: pytest.MonkeyPatch, _stage: Stage) -> None:
    patch.setattr(rules, "key_scopes", lambda *_, **__: ())


def _without_atomic_ends(patch: pytest.MonkeyPatch, _stage: Stage) -> None:
    whole, deaths = SqlRuns.commit, iter([True])

    async def in_two(self: SqlRuns, lease: Lease, commit: Commit, claimant: Claimant | None) -> Committed:
        if commit.ending is not None and next(deaths, False):
            await whole(self, lease, replace(commit, ending=None), claimant)
            raise asyncio.CancelledError
        return await whole(self, lease, commit, claimant)

    patch.setattr(SqlRuns, "commit", in_two)


def _without_the_head(patch: pytest.MonkeyPatch, _stage: Stage) -> None:
    numbered = committing._numbered

    def from_elsewhere(*facts: object, at: int) -> list[Message]:
        found: list[Message] = numbered(*facts, at=at)  # type: ignore[arg-type]  # passed on as they came
        return [replace(message, number=message.number + 1) for message in found]

    patch.setattr(committing, "_numbered", from_elsewhere)


def _without_holder(patch: pytest.MonkeyPatch, stage: Stage) -> None:
    stage.execute("DROP INDEX uq_runs_holder")
    patch.setattr(rules.Standing, "is_free", property(lambda _: True))


def _without_poll(patch: pytest.MonkeyPatch, _stage: Stage) -> None:
    async def find_nothing(_: Chores) -> float:
        return POLL_SECONDS

    patch.setattr(Chores, "_claim", find_nothing)


def _without_journal(patch: pytest.MonkeyPatch, _stage: Stage) -> None:
    patch.setattr(Journal, "recall", lambda *_, **__: None)


def _without_fence(patch: pytest.MonkeyPatch, _stage: Stage) -> None:
    fenced = standing.underway

    async def unfenced(db: Connection, lease: Lease, *, wait: bool = True) -> Underway | None:
        found = await fenced(db, lease, wait=wait)
        if found is None or not lease.epoch:
            return found
        return replace(found, status=RunStatus.RUNNING, epoch=lease.epoch, owner=lease.owner)

    patch.setattr(standing, "underway", unfenced)


@dataclass(frozen=True)
class Guard:
    """A promise and what keeps it."""

    promise: str
    scenario: Callable[[Stage], Awaitable[Witness]]
    take_out: Callable[[pytest.MonkeyPatch, Stage], None]
    violation: str


GUARDS = [
    Guard("I1 acknowledged after the commit", _one_is_acknowledged, _without_commit, "kept"),
    Guard("I2 keys are noted", _one_key_comes_twice, _without_keys, "once"),
    Guard("I3 turn and end in one transaction", _owner_dies_at_the_end, _without_atomic_ends, "once"),
    Guard("I4 numbers follow the locked head", _one_is_answered, _without_the_head, "numbers"),
    Guard("I5 one holder", _two_come_at_once, _without_holder, "order"),
    Guard("I6 orphans are looked for", _somebody_dies, _without_poll, "end"),
    Guard("I7 journaled steps are recalled", _somebody_sleeps, _without_journal, "paid"),
    Guard("I8 writes are fenced", _somebody_sleeps, _without_fence, "once"),
]


@pytest.mark.parametrize("is_out", [False, True], ids=["kept", "taken out"])
@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.promise)
async def test_history_shows_when_a_guard_is_taken_out(
    guard: Guard, is_out: bool, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(open_store(sqlite_url), sqlite_url)
    if is_out and guard.take_out is _without_commit:
        guard.take_out(monkeypatch, stage)
    await stage.store.open()
    if is_out:
        guard.take_out(monkeypatch, stage)

    witness = await guard.scenario(stage)
    history = await read_history(sqlite_url)
    await stage.store.close()

    found = {each.rule for each in check(history, witness)}
    assert guard.violation in found if is_out else not found


async def _cancel_is_final(stage: Stage) -> bool:
    """Have somebody cancel a run that its owner then ends; whether it is cancelled."""
    conversation, gate = await a_conversation(stage.store), Gate()
    async with an_engine(stage.store, waiting_at(gate)) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
        await stage.store.runs.stop(0, ticket.run.id, Stop.CANCEL, None)
        gate.open()
        await settled(engine)
        run = await stage.store.runs.get(0, ticket.run.id)
    return run.status is RunStatus.CANCELLED and await all_texts(stage.store, conversation) == ["U"]


async def _replay_is_what_was_live(stage: Stage) -> bool:
    """Follow a run while it happens, and again when it has ended; whether both tell the same."""
    conversation, gate, hold = await a_conversation(stage.store), Gate(), Gate()

    async def perform(run: ActiveRun) -> Turn:
        await gate()
        say(run, "A1")
        await run.commit_turn(a_turn("A1"))
        await hold()
        say(run, "A2")
        return a_turn("A2", number=2)

    async with an_engine(stage.store, Doing(perform)) as engine, an_engine(stage.store, answering()) as there:
        ticket = await submit(engine, conversation, "U")
        following = asyncio.create_task(told(ticket.events()))
        await gate.reached()
        gate.open()
        await hold.reached()
        hold.open()
        return await following == await followed(there, ticket.run.id)


async def _numbers_rise_over_a_takeover(stage: Stage) -> bool:
    """Have a run taken over; whether who comes back after the first owner's events sees all that came."""
    conversation, gate, heirs, rounds = await a_conversation(stage.store), Gate(), Gate(), Rounds()

    async def perform(run: ActiveRun) -> Turn:
        if run.is_resumed:
            await heirs()
            say(run, "A")
            return a_turn("A")
        say(run, "lost")
        await gate()
        raise AssertionError("not reached")

    performer = Doing(perform)
    async with an_engine(stage.store, performer) as gone, an_engine(stage.store, performer, rounds) as heir:
        ticket = await submit(gone, conversation, "U")
        await gate.reached()
        seen = ticket.live.since(-1)[-1].seq
        stage.let_leases_run_out()
        await rounds.look()
        await heirs.reached()
        following = asyncio.create_task(followed(heir, ticket.run.id, after=seen))
        await asyncio.sleep(0)
        heirs.open()
        return kinds(await following) == ["run.started", "text.delta", "turn.finished", "run.finished"]


def _without_stops(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rules, "check_stop", lambda *_: None)


def _without_the_tape(patch: pytest.MonkeyPatch) -> None:
    frame = Tape.frame

    def of_what_is_to_come(self: Tape, *foretold: Event) -> Frame | None:
        self.erase()
        return frame(self, *foretold)

    patch.setattr(Tape, "frame", of_what_is_to_come)


def _without_spans(patch: pytest.MonkeyPatch) -> None:
    for module in ("live", "active"):
        patch.setattr(f"tertulia.engine.{module}.first_seq", lambda _epoch: 0)


@dataclass(frozen=True)
class ToldGuard:
    """A promise about what somebody is told, and what keeps it."""

    promise: str
    scenario: Callable[[Stage], Awaitable[bool]]
    take_out: Callable[[pytest.MonkeyPatch], None]


TOLD_GUARDS = [
    ToldGuard("I9 nothing but its end is written of a cancelled run", _cancel_is_final, _without_stops),
    ToldGuard("I10 a commit takes along what was told", _replay_is_what_was_live, _without_the_tape),
    ToldGuard("I10 every owner has numbers of its own", _numbers_rise_over_a_takeover, _without_spans),
]


@pytest.mark.parametrize("is_out", [False, True], ids=["kept", "taken out"])
@pytest.mark.parametrize("guard", TOLD_GUARDS, ids=lambda guard: guard.promise)
async def test_somebody_is_told_otherwise_when_a_guard_is_taken_out(
    guard: ToldGuard, is_out: bool, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(open_store(sqlite_url), sqlite_url)
    await stage.store.open()
    if is_out:
        guard.take_out(monkeypatch)

    is_kept = await asyncio.wait_for(guard.scenario(stage), 10)
    await stage.store.close()

    assert is_kept is not is_out
