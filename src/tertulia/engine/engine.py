"""The engine: takes requests in, and sees to it that every accepted run ends."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Coroutine, Mapping
from typing import Any, Final, TypeVar

from tertulia import ids
from tertulia.conversations import Accepted, Claimant, Lease, Once, Run, RunStatus, Stop, Submission
from tertulia.engine.base import Performer
from tertulia.engine.carrying import Carrier
from tertulia.engine.chores import POLL_SECONDS, Chores
from tertulia.engine.desk import Desk
from tertulia.engine.following import Following
from tertulia.engine.insisting import insist
from tertulia.engine.jobs import Jobs, Worker
from tertulia.engine.journal import VERDICTS, decided, is_repeated
from tertulia.engine.leaving import Leaving
from tertulia.engine.probe import Probe, unobserved
from tertulia.engine.recording import Recorder
from tertulia.engine.resting import Pause
from tertulia.engine.tickets import Ticket
from tertulia.engine.turns import Decision
from tertulia.errors import InvalidInput, NotFound, NotWaiting, OutcomeUnknown, Stopping, StoreUnavailable
from tertulia.events import Numbered
from tertulia.hints.base import EVERYTHING, WORK, Hints
from tertulia.stores import rules
from tertulia.stores.base import Store

T = TypeVar("T")

SETTLING_SECONDS: Final = 2.0
"""How long who cancels a run waits for its end at most."""
CLOSING_SECONDS: Final = 1.0
"""So long before the grace is over those who still follow a run are sent elsewhere."""


class Engine:
    """Carries out the runs of a store, with its performers; the only writer of conversations.

    Every accepted run has a task here or a row that some process will find: requests only listen.
    ``hints`` tell other processes on the same store at once what they would find out by themselves
    within a second; without them there are none, or they can wait.
    """

    def __init__(  # noqa: PLR0913  # a public constructor
        self,
        store: Store,
        *,
        performers: Mapping[str, Performer],
        workers: Mapping[str, Worker] | None = None,
        hints: Hints | None = None,
        lease_seconds: float = 10.0,
        poll_seconds: float = POLL_SECONDS,
        probe: Probe = unobserved,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self.store = store
        self._claimant = Claimant(
            owner=ids.new_id(ids.OWNER),
            performers=frozenset(performers),
            lease_us=int(lease_seconds * 1_000_000),
        )
        self._hints, self._probe, self._leaving = hints, probe, Leaving()
        self._recorder = Recorder(store.runs, told=self._ring, probe=probe)
        self._jobs = Jobs(
            store.jobs,
            self._claimant.owner,
            workers or {},
            leaving=self._leaving,
            poll_seconds=poll_seconds,
            pause=pause,
            probe=probe,
        )
        self._carrier = Carrier(
            self._claimant,
            performers=performers,
            desk=Desk(
                runs=store.runs,
                conversations=store.conversations,
                recorder=self._recorder,
                leaving=self._leaving,
                jobs_made=self._jobs.look,
                probe=probe,
                pause=pause,
            ),
            ring=self._ring,
            freed=self._look_for_work,
            lease_seconds=lease_seconds,
        )
        self._chores = Chores(
            store.runs, self._claimant, self._carrier, poll_seconds=poll_seconds, pause=pause
        )
        self._accepting: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Begin to renew leases and to look for runs that nobody carries out."""
        if self._hints is not None:
            await self._hints.open(self._hear)
        self._carrier.start()
        self._chores.start()
        self._jobs.start()

    def drain(self, *, grace_seconds: float = 0.0) -> None:
        """Begin to take leave: nothing new is taken in or claimed, nothing new begun.

        Runs under way are handed over where their next step would begin. Who follows a run that is
        carried out elsewhere is told to follow it there at once, and everybody shortly before
        ``grace_seconds`` are over. May be called twice.
        """
        if self._leaving.is_draining:
            return
        self._leaving.is_stopping = self._leaving.is_draining = True
        seconds = max(0.0, grace_seconds - CLOSING_SECONDS)
        self._closing = asyncio.get_running_loop().call_later(seconds, self._close)
        self._carrier.wake()

    async def stop(self, *, grace_seconds: float = 0.0) -> None:
        """Take nothing new, give runs under way ``grace_seconds`` to end, and hand the others over."""
        self._leaving.is_stopping = True
        await self._chores.stop()
        await self._jobs.stop()
        if self._accepting:
            await asyncio.wait(self._accepting)
        await self._carrier.stop(grace_seconds=grace_seconds)
        self._leaving.is_draining = True
        if self._closing is not None:
            self._closing.cancel()
        self._close()
        await self._recorder.stop()
        if self._hints is not None:
            self._hints.ring({WORK})
            await self._hints.close()

    @property
    def is_draining(self) -> bool:
        """Whether this process is about to end and takes nothing new."""
        return self._leaving.is_stopping

    @property
    def active(self) -> int:
        """How many runs this process carries out just now."""
        return self._carrier.active

    async def submit(self, submission: Submission) -> Ticket:
        """Take in a request; returns once its message is kept.

        Raises what :meth:`RunStore.accept` raises, and :class:`~tertulia.errors.Stopping`. Cancelling
        the caller does not take back what was accepted.
        """
        accepting = self._accepted(submission)
        return await self._take_in(accepting, how=rules.stop_for(submission.multitask))

    async def retry(self, tenant: int, run_id: str, *, once: Once | None = None) -> Ticket:
        """Begin a new run on the message of a failed one; raises what :meth:`RunStore.retry` raises."""
        new_run_id = ids.new_id(ids.RUN)
        return await self._take_in(
            self.store.runs.retry(tenant, run_id, new_run_id, self._claimant, once=once)
        )

    async def decide(self, tenant: int, run_id: str, decision: Decision) -> Ticket:
        """Let a waiting run go on with a decision.

        The same decision again changes nothing, if it says what it is about and the run does not wait
        there once more; without that, only while the run goes on with it. Raises ``NotFound``,
        :class:`~tertulia.errors.NotWaiting`, also if the run waits for something else, and
        :class:`~tertulia.errors.InvalidInput` for a verdict that this wait does not know.
        """
        run, steps = await self.store.runs.get(tenant, run_id), await self.store.runs.steps(tenant, run_id)
        wait = run.wait
        if run.status is not RunStatus.WAITING or wait is None or decision.path not in {None, wait.path}:
            if is_repeated(decision, steps):
                return await self._ticket(run)
            raise NotWaiting(f"the run does not wait for this decision: it is {run.status}")
        if decision.verdict not in VERDICTS[wait.kind]:
            known = ", ".join(VERDICTS[wait.kind])
            raise InvalidInput(f"a run that waits with {wait.kind} takes one of these verdicts: {known}")
        step = decided(wait, decision, steps=steps, epoch=run.epoch)
        return await self._take_in(self.store.runs.decide(tenant, run_id, step, self._claimant))

    async def cancel(self, tenant: int, run_id: str, *, keep_partial: bool = False) -> Run:
        """Have a run end as cancelled; return it as it stands, ended in all likelihood.

        What it has said so far of the turn under way is kept, marked incomplete, only if that is
        wanted. Raises ``NotFound``. May be called any number of times.
        """
        how = Stop.KEEP if keep_partial else Stop.CANCEL
        run = await self._shielded(self._cancel(tenant, run_id, how))
        if run.status.is_terminal:
            return run
        try:
            async with asyncio.timeout(SETTLING_SECONDS):
                await self._following(run).finished()
        except TimeoutError:
            pass
        return await self.store.runs.get(tenant, run_id)

    async def follow(self, tenant: int, run_id: str, *, after: int = -1) -> AsyncGenerator[Numbered, None]:
        """Return the events of a run with numbers above ``after``, wherever it is carried out.

        Raises ``NotFound``; iterating raises as :meth:`Ticket.events` does.
        """
        return self._following(await self.store.runs.get(tenant, run_id)).events(after=after)

    async def is_told(self, tenant: int, run_id: str, *, after: int) -> bool:
        """Whether a run has ended and has no event above ``after``; raises ``NotFound``."""
        return await self._following(await self.store.runs.get(tenant, run_id)).is_told(after)

    async def _take_in(self, accepting: Coroutine[Any, Any, Accepted], *, how: Stop = Stop.NONE) -> Ticket:
        if self._leaving.is_stopping:
            accepting.close()
            raise Stopping
        return await self._shielded(self._accept(accepting, how))

    async def _shielded(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something to its end, whatever becomes of the caller; the engine's stop waits for it."""
        task = asyncio.create_task(work)
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)
        return await asyncio.shield(task)

    async def _cancel(self, tenant: int, run_id: str, how: Stop) -> Run:
        """Note the wish, and have it heard wherever the run is; begin what waited behind it."""
        claimant = None if self.is_draining else self._claimant
        self._probe("stop.before")
        stopped = await self.store.runs.stop(tenant, run_id, how, claimant)
        self._probe("stop.after")
        if stopped.next is not None:
            self._carrier.begin(stopped.next)
        elif claimant is None:
            self._ring({WORK})
        self._stop(run_id, how)
        return stopped.run

    async def _accept(self, accepting: Coroutine[Any, Any, Accepted], how: Stop) -> Ticket:
        self._probe("accept.before")
        accepted = await accepting
        self._probe("accept.after")
        ticket = Ticket(
            run=accepted.run,
            conversation=accepted.conversation,
            is_new=accepted.is_new,
            following=self._following(accepted.run),
        )
        if accepted.claim is not None:
            self._carrier.begin(accepted.claim)
        elif accepted.run.performer not in self._claimant.performers:
            self._ring({WORK})
        if accepted.stops is not None:
            self._stop(accepted.stops, how)
        elif how:
            self._carrier.wake()  # one that waited may have ended at once
        return ticket

    async def _accepted(self, submission: Submission) -> Accepted:
        """Have the store take a request in; where it was lost on the way, find out whether it has."""
        try:
            return await self.store.runs.accept(submission, self._claimant)
        except OutcomeUnknown as unknown:
            try:
                async with asyncio.timeout(SETTLING_SECONDS):
                    found = await self._found(submission)
            except TimeoutError:
                raise unknown from None
        if found is None:
            raise StoreUnavailable("the database was lost, and nothing was kept; ask again")
        return found

    async def _found(self, submission: Submission) -> Accepted | None:
        """Return what became of a request whose acceptance was not acknowledged; None if it was not kept.

        A run that was given to us without our knowing is given back: it can be claimed at once.
        """

        async def look() -> Accepted:
            run = await self.store.runs.get(submission.tenant, submission.run_id)
            lease = Lease(
                tenant=run.tenant,
                run_id=run.id,
                conversation_id=run.conversation_id,
                epoch=run.epoch,
                owner=self._claimant.owner,
            )
            await self.store.runs.release([lease])
            conversation = await self.store.conversations.get(run.tenant, run.conversation_id)
            return Accepted(run=run, conversation=conversation)

        try:
            found = await insist(look, waiting=lambda: None)
        except NotFound:
            return None
        self._chores.look_for_work()
        return found

    async def _ticket(self, run: Run) -> Ticket:
        """Return the ticket of a run that was accepted before."""
        conversation = await self.store.conversations.get(run.tenant, run.conversation_id)
        return Ticket(run=run, conversation=conversation, is_new=False, following=self._following(run))

    def _following(self, run: Run) -> Following:
        return Following(run, self._carrier.live(run.id), self.store, self._leaving)

    def _stop(self, run_id: str, how: Stop) -> None:
        """Stop a run wherever it is carried out."""
        self._carrier.stop_run(run_id, how)
        self._carrier.wake({run_id})
        self._ring({run_id})

    def _look_for_work(self) -> None:
        self._chores.look_for_work()

    def _close(self) -> None:
        self._leaving.is_closing = True
        self._carrier.wake()

    def _ring(self, topics: Collection[str]) -> None:
        if self._hints is not None:
            self._hints.ring(topics)

    def _hear(self, topics: frozenset[str]) -> None:
        """Look at what other processes say has changed."""
        is_all = EVERYTHING in topics
        self._carrier.wake(None if is_all else topics)
        if is_all or WORK in topics:
            self._chores.look_for_work()
        if is_all or not topics.isdisjoint(self._carrier.run_ids):
            self._chores.look_for_wishes()
