"""A run while it is carried out: what its performer may do with it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import chain, repeat
from typing import Final, TypeAlias

import orjson

from tertulia.conversations import (
    Claim,
    Claimant,
    Commit,
    Committed,
    Conversation,
    Ending,
    Frame,
    Run,
)
from tertulia.engine.journal import Journal
from tertulia.engine.live import LiveRun
from tertulia.engine.probe import Probe, unobserved
from tertulia.engine.turns import StepResult, Turn
from tertulia.errors import StoreBusy, StoreUnavailable
from tertulia.events import Event, RunFinished, RunStarted, TurnFinished, TurnStarted
from tertulia.messages import Message
from tertulia.stores.base import RunStore

Pause: TypeAlias = Callable[[float], Awaitable[None]]
Hold: TypeAlias = Callable[[float], None]
"""Told for how many seconds from now the run may be silent before it counts as hanging."""

GRACE_SECONDS: Final = 30.0
"""How much longer than its own limit a step may take, and how long it may take between steps."""

_PAUSES: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between attempts to write what the store could not take; the last one goes on."""


class ActiveRun:
    """A run that this process holds.

    ``step`` is the only way to do what costs money or has effects; ``emit`` tells those who follow;
    ``commit_turn`` keeps a turn that is not the last.
    """

    def __init__(
        self,
        claim: Claim,
        live: LiveRun,
        runs: RunStore,
        *,
        hold: Hold,
        probe: Probe = unobserved,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._claim, self._live, self._runs = claim, live, runs
        self._hold, self._probe, self._pause = hold, probe, pause
        self._journal = Journal(claim, probe)
        self._conversation = claim.conversation
        self._said: list[Message] = []
        self._told: list[list[object]] = []
        self._first_seq = live.next_seq
        self._on_kept: Callable[[tuple[Message, ...]], None] | None = None

    @property
    def run(self) -> Run:
        """The run as it was when this process claimed it."""
        return self._claim.run

    @property
    def conversation(self) -> Conversation:
        """Its conversation, as this run has changed it so far."""
        return self._conversation

    @property
    def input(self) -> Message:
        """The message that the run answers."""
        return self._claim.input

    @property
    def is_resumed(self) -> bool:
        """Whether another process, or this one before, has carried it out in part."""
        return self._claim.run.epoch > 1

    def emit(self, event: Event) -> None:
        """Tell those who follow the run."""
        coarse = _coarse(event)
        if coarse is not None:
            self._told.append([self._live.next_seq, *coarse])
        self._live.emit(event)

    def pass_point(self, point: str) -> None:
        """Tell the probe that a point was passed."""
        self._probe(point)

    def when_kept(self, told: Callable[[tuple[Message, ...]], None]) -> None:
        """Have the messages of the turn under way told, numbered, as soon as they are kept."""
        self._on_kept = told

    async def step(
        self,
        path: str,
        work: Callable[[], Awaitable[StepResult]],
        *,
        kind: str,
        identity: bytes,
        within_seconds: float,
    ) -> StepResult:
        """Do something that costs money or has effects, once.

        A step that is journaled under this path gives its result at once. ``identity`` is a digest
        of what must be the same for that result to stand. ``work`` keeps its own time limit and
        says it here: a run that is silent for much longer is given to another process.

        Raises what ``work`` raises, which leaves no trace, :class:`~tertulia.errors.LeaseLost` and
        :class:`~tertulia.errors.NeedsAttention`.
        """
        known = self._journal.recall(path, identity=identity)
        if known is not None:
            return known
        if self._journal.unwritten:
            self._probe("journal.before")
            await self._write(Commit(steps=self._journal.unwritten))
            self._journal.written()
            self._probe("journal.after")
        self._hold(within_seconds + GRACE_SECONDS)
        result = await self._journal.carry_out(path, work, kind=kind, identity=identity)
        self._hold(GRACE_SECONDS)
        return result

    async def commit_turn(self, turn: Turn) -> tuple[Message, ...]:
        """Keep a turn that is not the last of the run; return its messages, numbered."""
        self._probe("commit.before")
        committed = await self._write(self._commit(turn))
        self._journal.written()
        self._probe("commit.after")
        messages = self._kept(turn, committed.head)
        self._said += messages
        self._conversation = replace(
            self._conversation,
            head=committed.head,
            tokens=self._conversation.tokens + turn.tokens,
            state=self._conversation.state if turn.state is None else turn.state,
        )
        for message in messages:
            self.emit(TurnFinished(turn=message.turn, message=message))
        return messages

    def forget(self) -> None:
        """Let go of all that is told and done but not stored, because it cannot be; what it cost stays."""
        self._journal.written()
        self._told.clear()

    async def end(self, turn: Turn | None, ending: Ending, claimant: Claimant | None) -> Claim | None:
        """End the run, with its last turn if there is one, and tell; return the run that waited behind it."""
        self._probe("end.before")
        commit = replace(self._commit(turn), ending=ending, frames=(self._frame(turn, ending),))
        committed = await self._write(commit, claimant)
        self._probe("end.after")
        # The next run may have been numbered in the same transaction: count from where we were.
        messages = () if turn is None else self._kept(turn, self._conversation.head + len(turn.messages))
        for message in messages:
            self._live.emit(TurnFinished(turn=message.turn, message=message))
        self._live.emit(
            RunFinished(
                run_id=self.run.id,
                conversation_id=self.run.conversation_id,
                status=ending.status,
                messages=(*self._said, *messages),
                usage=self._journal.usage,
                failure=ending.failure,
            )
        )
        return committed.next

    def _commit(self, turn: Turn | None) -> Commit:
        if turn is None:
            return Commit(steps=self._journal.unwritten, usage=self._journal.usage)
        return Commit(
            steps=self._journal.unwritten,
            messages=turn.messages,
            tokens=turn.tokens,
            state=turn.state,
            usage=self._journal.usage,
            jobs=turn.jobs,
        )

    def _kept(self, turn: Turn, head: int) -> tuple[Message, ...]:
        """Return the messages of a turn that was just kept, numbered up to the new head."""
        first = head - len(turn.messages) + 1
        messages = tuple(
            replace(message, number=number, run_id=self.run.id)
            for number, message in enumerate(turn.messages, start=first)
        )
        if self._on_kept is not None:
            self._on_kept(messages)
            self._on_kept = None
        return messages

    def _frame(self, turn: Turn | None, ending: Ending) -> Frame:
        """Return the run's coarse events in one row, those of the end foretold."""
        told, seq = list(self._told), self._live.next_seq
        for message in () if turn is None else turn.messages:
            told.append([seq, TurnFinished.kind, message.turn, message.id])
            seq += 1
        told.append([seq, RunFinished.kind, ending.status])
        return Frame(first_seq=self._first_seq, last_seq=seq, data=orjson.dumps(told).decode())

    async def _write(self, commit: Commit, claimant: Claimant | None = None) -> Committed:
        """Commit; what the store cannot take now is offered until it can, since it cannot happen twice.

        It ends when another process has taken the run over, or when this one is stopped. What the
        store refuses for any other reason it would refuse for ever: that is raised.
        """
        for seconds in chain(_PAUSES, repeat(_PAUSES[-1])):
            try:
                return await self._runs.commit(self._claim.lease, commit, claimant)
            except (StoreBusy, StoreUnavailable):
                self._hold(GRACE_SECONDS)
                await self._pause(seconds)
        raise AssertionError("not reached")


def _coarse(event: Event) -> list[object] | None:
    """Return what is stored of an event; ``None`` for what is told only while it happens."""
    match event:
        case RunStarted():
            return [event.kind, event.epoch]
        case TurnStarted():
            return [event.kind, event.turn, event.author, event.reason]
        case TurnFinished():
            return [event.kind, event.turn, event.message.id]
        case _:
            return None
