"""A run while it is carried out: what its performer may do with it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TypeVar

from tertulia.conversations import (
    Claim,
    Claimant,
    Commit,
    Committed,
    Conversation,
    Ending,
    Lease,
    Run,
    Stop,
    Wait,
    WaitKind,
)
from tertulia.engine.desk import Desk
from tertulia.engine.effects import Effects
from tertulia.engine.insisting import insist
from tertulia.engine.journal import WAIT_US, Journal, Suspended
from tertulia.engine.live import LiveRun
from tertulia.engine.recording import Tape
from tertulia.engine.silence import Hold, Silence
from tertulia.engine.turns import Decision, Plan, StepResult, Turn, with_turn
from tertulia.errors import LeaseLost, StopRequested
from tertulia.events import Event, RunFinished, RunWaiting, TurnFinished, first_seq
from tertulia.messages import Message, now_us

T = TypeVar("T")


class HandedOver(Exception):  # not an error: the run goes on in another process
    """This process is about to end, and the run has come to where its next step would begin."""


class ActiveRun:
    """A run that this process holds.

    ``step`` is the only way to do what costs money or has effects; ``emit`` tells those who follow;
    ``commit_turn`` keeps a turn that is not the last.
    """

    def __init__(
        self,
        claim: Claim,
        live: LiveRun,
        desk: Desk,
        *,
        hold: Hold,
        confirm: Callable[[], Awaitable[None]],
    ) -> None:
        self._claim, self._live, self._desk = claim, live, desk
        self._silence, self._confirm = Silence(hold), confirm
        self._journal = Journal(claim, desk.probe)
        self._tape = Tape(claim.lease, live, is_followed=bool(claim.run.options.get("deltas")))
        self._conversation = claim.conversation
        self._said, self._finish_reason = list[Message](), ""
        # Why a turn of this run has closed the conversation, if one has.
        self._closed = claim.conversation.closed if claim.run.last_number else None
        self._late: list[Event] | None = None
        """What is told while a commit foretells the next numbers."""
        self._effects, self._writes = Effects(), 0
        self._stop = claim.run.stop
        self._cuts_effects = self._is_over = False
        self._on_kept: Callable[[tuple[Message, ...]], None] | None = None
        self._on_break: Mapping[bool, Callable[[], Turn | None]] | None = None

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

    @property
    def stop(self) -> Stop:
        """What it was asked for that is to stop it, as far as this process knows."""
        return self._stop

    @property
    def lease(self) -> Lease:
        """The right to write for it."""
        return self._claim.lease

    @property
    def was_told(self) -> bool:
        """Whether other processes may have read of it before its end."""
        return self._tape.was_stored

    def emit(self, event: Event) -> None:
        """Tell those who follow the run; nothing any more once it has ended here, or begun anew."""
        if self._is_over or self._live.begun != first_seq(self.run.epoch):
            return
        if self._late is not None:
            self._late.append(event)
            return
        self._tape.add(self._live.emit(event))
        self._desk.recorder.add(self._tape)

    def pass_point(self, point: str) -> None:
        """Tell the probe that a point was passed."""
        self._desk.probe(point)

    def when_kept(self, told: Callable[[tuple[Message, ...]], None]) -> None:
        """Have the messages of the turn under way told, numbered, as soon as they are kept."""
        self._on_kept = told

    def when_stopped(
        self, said: Callable[[], Turn | None], *, done: Callable[[], Turn | None] = lambda: None
    ) -> None:
        """Say what there is of the turn under way if it does not come to its end.

        All that was ``said`` is kept for whoever stops the run and wants that; what was ``done``, and
        so cannot be undone, in any case.
        """
        self._on_break = {True: said, False: done}

    async def step(self, path: str, work: Callable[[], Awaitable[StepResult]], plan: Plan) -> StepResult:
        """Do something that costs money or has effects, once.

        A step that is journaled under this path gives its result at once. ``work`` keeps the time
        limit of its plan: a run that is silent for much longer is given to another process.

        Raises what ``work`` raises, which leaves no trace but the intent of a step with an effect;
        :class:`~tertulia.errors.LeaseLost`; and what performers let pass: the wish to stop, to hand
        over, or to wait for a decision.
        """
        known = self._journal.recall(path, plan)
        if known is not None:
            return known
        await self._pass_boundary(path, plan)
        with (
            self._silence.within(plan.within_seconds),
            self._effects.one() if plan.has_effect else nullcontext(),
        ):
            result = await self._journal.carry_out(path, work, plan)
            if plan.has_effect:
                await self._write_journal()
        await self._check_stop()
        return result

    def silent_for(self, seconds: float) -> AbstractContextManager[None]:
        """Have something under way beside the steps, that takes so long at most."""
        return self._silence.within(seconds)

    async def note(self, path: str, plan: Plan, *, external_id: str) -> None:
        """Journal by which id the work of a step under way can be found where it is done."""
        self._journal.note(path, plan, external_id=external_id)
        await self._write_journal()
        await self._check_stop()

    @property
    def journal(self) -> Journal:
        """What was done so far, to be looked at."""
        return self._journal

    def ask(
        self,
        path: str,
        *,
        kind: WaitKind,
        message: str,
        subject: str = "",
        within_seconds: float = WAIT_US / 1_000_000,
    ) -> Decision:
        """Return what somebody has decided under this path; until then, let the run wait for it."""
        decision = self._journal.decision(path)
        if decision is None:
            until = now_us() + int(within_seconds * 1_000_000)
            raise Suspended(Wait(kind=kind, path=path, message=message, until=until, subject=subject))
        return decision

    async def commit_turn(self, turn: Turn) -> tuple[Message, ...]:
        """Keep a turn that is not the last of the run; return its messages, numbered."""
        self._desk.probe("commit.before")
        messages = self._numbered(turn)
        told = tuple(TurnFinished(turn=message.turn, message=message) for message in messages)
        await self._tell_with(self._commit(turn), told)
        self._desk.probe("commit.after")
        self._said += messages
        self._finish_reason = turn.finish_reason
        self._conversation = with_turn(self._conversation, turn)
        self._closed = self._closed if turn.closes is None else turn.closes
        self._keep(messages)
        await self._check_stop()
        return messages

    def ask_to_stop(self, stop: Stop) -> bool:
        """Take note of the wish to stop; return whether to cut short what is under way.

        A commit is never cut short, nor, by who only wants room made, an effect.
        """
        self._stop = max(self._stop, stop)
        self._cuts_effects |= stop in {Stop.CANCEL, Stop.KEEP}
        return not self._writes and (not self._effects.are_under_way or self._cuts_effects)

    def remains(self) -> Turn | None:
        """Return what is to be kept of the turn under way, which does not come to its end."""
        told = None if self._on_break is None else self._on_break[self._stop is Stop.KEEP]
        return None if told is None else told()

    def leave(self) -> None:
        """Tell nothing any more: this process is done with the run."""
        self._is_over = True
        self._desk.recorder.drop(self._tape)
        # Whoever still holds this run holds nothing else by it.
        self._silence.end()
        self._confirm = _refuse
        self._on_kept = self._on_break = None

    async def effects_over(self) -> None:
        """Wait until no step with an effect is under way: what it has done is to be known."""
        await self._effects.over()

    def forget(self) -> None:
        """Let go of all that is told and done but not stored, because it cannot be; what it cost stays."""
        self._journal.written(self._journal.unwritten)
        self._tape.erase()
        self._on_break = None

    async def suspend(self, wait: Wait) -> None:
        """Have the run wait for a decision; this process holds it no more then."""
        self._desk.probe("wait.before")
        told = RunWaiting(run_id=self.run.id, conversation_id=self.run.conversation_id, wait=wait)
        await self._tell_with(replace(self._commit(None), wait=wait), (told,))
        self._desk.probe("wait.after")

    async def end(self, turn: Turn | None, ending: Ending, claimant: Claimant | None) -> Claim | None:
        """End the run, with its last turn if there is one, and tell; return the run that waited behind it."""
        self._desk.probe("end.before")
        messages = () if turn is None else self._numbered(turn)
        end = RunFinished(
            run_id=self.run.id,
            conversation_id=self.run.conversation_id,
            status=ending.status,
            messages=(*await self._said_by_others(), *self._said, *messages),
            usage=self._journal.usage,
            failure=ending.failure,
            closed=self._closed if turn is None or turn.closes is None else turn.closes,
            finish_reason=self._finish_reason if turn is None else turn.finish_reason,
        )
        turns = [TurnFinished(turn=message.turn, message=message) for message in messages]
        told: tuple[Event, ...] = (*turns, end)
        kept = replace(self._commit(turn), ending=ending)
        committed = await self._tell_with(kept, told, claimant=claimant, then=lambda: self._keep(messages))
        self._desk.probe("end.after")
        return committed.next

    async def _said_by_others(self) -> Sequence[Message]:
        """Return what earlier owners of this run have kept of it."""
        run = self.run
        if not run.last_number:
            return ()
        said = await self._insist(
            lambda: self._desk.conversations.messages(
                run.tenant,
                run.conversation_id,
                after=run.input_number,
                limit=run.last_number - run.input_number,
            )
        )
        return [message for message in said if message.run_id == run.id]

    def _commit(self, turn: Turn | None) -> Commit:
        if turn is None:
            return Commit(steps=self._journal.unwritten, usage=self._journal.usage)
        return Commit(
            steps=self._journal.unwritten,
            messages=turn.messages,
            tokens=turn.tokens,
            state=turn.state,
            closes=turn.closes,
            usage=self._journal.usage,
            jobs=turn.jobs,
        )

    def _numbered(self, turn: Turn) -> tuple[Message, ...]:
        """Return the messages of a turn with the numbers that they will have: nobody else writes here."""
        first = self._conversation.head + 1
        return tuple(
            replace(message, number=number, run_id=self.run.id)
            for number, message in enumerate(turn.messages, start=first)
        )

    def _keep(self, messages: tuple[Message, ...]) -> None:
        told, self._on_kept, self._on_break = self._on_kept, None, None
        if told is not None:
            told(messages)

    async def _pass_boundary(self, path: str, plan: Plan) -> None:
        """Write what has to be written before the next step, unless there is to be none here."""
        await self._check_stop()
        if self._desk.leaving.is_draining and not self._effects.are_around_us:
            await self._effects.over()
            await self._write_journal()
            raise HandedOver
        await self._confirm()
        if plan.has_effect:
            self._desk.probe("intent.before")
            self._journal.note(path, plan)
        await self._write_journal()
        if plan.has_effect:
            self._desk.probe("intent.after")
        await self._check_stop()

    async def _check_stop(self) -> None:
        """Raise if the run is to stop, once an effect that is under way beside us has come to its end.

        What belongs to an effect goes on until the effect is over, unless that is to be cut short.
        """
        if not self._stop or (self._effects.are_around_us and not self._cuts_effects):
            return
        if not self._cuts_effects:
            await self._effects.over()
        raise StopRequested

    async def _learn_of_stop(self) -> None:
        """Find out which wish to stop it was that the store has told us of."""
        asked = await self._insist(lambda: self._desk.runs.asked([self._claim.lease]))
        self.ask_to_stop(asked.get(self.run.id, Stop.CANCEL))

    async def _write_journal(self) -> None:
        steps = self._journal.unwritten
        if not steps:
            return
        self._desk.probe("journal.before")
        try:
            await self._write(Commit(steps=steps, usage=self._journal.usage))
        except StopRequested:
            await self._learn_of_stop()
            if not self._effects.are_around_us or self._cuts_effects:
                raise
            return  # an effect comes to its end first; this is kept with the run's
        self._journal.written(steps)
        self._desk.probe("journal.after")

    async def _tell_with(
        self,
        commit: Commit,
        told: tuple[Event, ...],
        *,
        claimant: Claimant | None = None,
        then: Callable[[], None] = lambda: None,
    ) -> Committed:
        """Commit, with the events that follow from it in the same transaction; tell them after it."""
        frame, last = self._tape.frame(*told), self._live.next_seq + len(told) - 1
        frames = () if frame is None else (frame,)
        self._late = []
        try:
            committed = await self._write(replace(commit, frames=frames), claimant)
        except BaseException:
            self._tell_late()
            raise
        self._journal.written(commit.steps)
        self._tape.confirm(last)
        if commit.jobs:
            self._desk.jobs_made()
        then()
        for event in told:
            self._live.emit(event)
        self._is_over = commit.ending is not None or commit.wait is not None
        self._tell_late()
        return committed

    def _tell_late(self) -> None:
        late, self._late = self._late, None
        for event in late or ():
            self.emit(event)

    async def _write(self, commit: Commit, claimant: Claimant | None = None) -> Committed:
        """Commit; what the store cannot take now is offered until it can, since it cannot happen twice."""
        self._writes += 1
        try:
            return await self._insist(lambda: self._desk.runs.commit(self._claim.lease, commit, claimant))
        finally:
            self._writes -= 1

    async def _insist(self, work: Callable[[], Awaitable[T]]) -> T:
        return await insist(work, waiting=self._silence.go_on, pause=self._desk.pause)


async def _refuse() -> None:
    raise LeaseLost
