"""The engine: takes requests in, and sees to it that every accepted run ends."""

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final
from weakref import WeakValueDictionary

from tertulia import ids
from tertulia.conversations import Accepted, Claim, Claimant, Ending, Lease, Run, RunStatus, Submission
from tertulia.engine.active import GRACE_SECONDS, ActiveRun, Pause
from tertulia.engine.base import Performer
from tertulia.engine.chores import POLL_SECONDS, Chores
from tertulia.engine.heartbeat import Heartbeat
from tertulia.engine.live import LiveRun
from tertulia.engine.probe import Probe, unobserved
from tertulia.engine.tickets import Ticket
from tertulia.engine.turns import Turn
from tertulia.errors import LeaseLost, RunFailed, Stopping, StoreError, TertuliaError
from tertulia.events import RunStarted
from tertulia.stores.base import Store

_LOG: Final = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 3
"""Attempts that may crash one after another, with nothing journaled between, before a run is given up."""
ENDING_SECONDS: Final = 10.0
"""How long a run that is just being ended holds up the engine's stop."""


class Engine:
    """Carries out the runs of a store, with its performers; the only writer of conversations.

    Every accepted run has a task here or a row that some process will find: requests only listen.
    """

    def __init__(
        self,
        store: Store,
        *,
        performers: Mapping[str, Performer],
        lease_seconds: float = 10.0,
        poll_seconds: float = POLL_SECONDS,
        probe: Probe = unobserved,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self.store = store
        self._performers = dict(performers)
        self._claimant = Claimant(
            owner=ids.new_id(ids.OWNER),
            performers=frozenset(performers),
            lease_us=int(lease_seconds * 1_000_000),
        )
        self._probe, self._pause = probe, pause
        self._chores = Chores(
            store.runs,
            self._claimant,
            begin=self._begin,
            busy_with=lambda: {run_id for run_id, _ in self._tasks},
            poll_seconds=poll_seconds,
            pause=pause,
        )
        self._heartbeat = Heartbeat(store.runs, lease_seconds=lease_seconds, on_lost=self._lost_elsewhere)
        self._live: WeakValueDictionary[str, LiveRun] = WeakValueDictionary()
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        """By run and epoch: a run that we take over from ourselves has two for a moment."""
        self._forfeited: set[tuple[str, int]] = set()
        """Runs and epochs that are stopped because their lease is gone: there is nothing to hand over."""
        self._accepting: set[asyncio.Task[Ticket]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: set[asyncio.Task[None]] = set()
        """Tasks that write their last commit: stopping one could lose the run that begins with it."""
        self._is_stopping = False

    async def start(self) -> None:
        """Begin to renew leases and to look for runs that nobody carries out."""
        self._loop = asyncio.get_running_loop()
        self._heartbeat.start()
        self._chores.start()

    async def stop(self, *, grace_seconds: float = 0.0) -> None:
        """Take nothing new, give runs under way ``grace_seconds`` to end, and hand the others over."""
        self._is_stopping = True
        await self._chores.stop()
        if self._accepting:
            await asyncio.wait(self._accepting)
        if self._tasks and grace_seconds:
            await asyncio.wait(self._tasks.values(), timeout=grace_seconds)
        while self._tasks:
            tasks = list(self._tasks.values())
            for task in tasks:
                if task not in self._ending:
                    task.cancel()
            _, hanging = await asyncio.wait(tasks, timeout=ENDING_SECONDS)
            self._ending -= hanging
        await self._heartbeat.stop()

    @property
    def active(self) -> int:
        """How many runs this process carries out just now."""
        return len(self._tasks)

    async def submit(self, submission: Submission) -> Ticket:
        """Take in a request; returns once its message is kept.

        Raises what :meth:`RunStore.accept` raises, and :class:`~tertulia.errors.Stopping`. Cancelling
        the caller does not take back what was accepted.
        """
        return await self._take_in(self.store.runs.accept(submission, self._claimant))

    async def retry(self, tenant: int, run_id: str) -> Ticket:
        """Begin a new run on the message of a failed one; raises what :meth:`RunStore.retry` raises."""
        new_run_id = ids.new_id(ids.RUN)
        return await self._take_in(self.store.runs.retry(tenant, run_id, new_run_id, self._claimant))

    async def _take_in(self, accepting: Coroutine[Any, Any, Accepted]) -> Ticket:
        if self._is_stopping:
            accepting.close()
            raise Stopping
        task = asyncio.create_task(self._accept(accepting))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)
        return await asyncio.shield(task)

    async def _accept(self, accepting: Coroutine[Any, Any, Accepted]) -> Ticket:
        self._probe("accept.before")
        accepted = await accepting
        self._probe("accept.after")
        ticket = Ticket(
            run=accepted.run,
            conversation=accepted.conversation,
            is_new=accepted.is_new,
            live=self._expect(accepted.run.id),
            store=self.store,
        )
        if accepted.claim is not None:
            self._begin(accepted.claim)
        return ticket

    def _expect(self, run_id: str) -> LiveRun:
        """Return the events of a run, for as long as anybody holds them."""
        live = self._live.get(run_id)
        if live is None:
            live = self._live[run_id] = LiveRun()
        return live

    def _begin(self, claim: Claim) -> None:
        """Carry a claimed run out, in a task of its own; what held it before has lost its lease."""
        run = claim.run
        for epoch in range(1, run.epoch):
            self._stop_one(run.id, epoch)
        live = self._expect(run.id)
        live.begin(run.epoch)
        task = asyncio.create_task(self._carry_out(claim, live), name=run.id)
        self._tasks[run.id, run.epoch] = task
        task.add_done_callback(lambda _: self._tasks.pop((run.id, run.epoch), None))

    async def _carry_out(self, claim: Claim, live: LiveRun) -> None:
        self._heartbeat.hold(claim.lease, for_seconds=GRACE_SECONDS)
        following = None
        try:
            following = await self._finish(self._active(claim, live))
        except LeaseLost:
            _LOG.warning("run %s goes on in another process", claim.run.id)
            live.lose(claim.run.epoch)
        except StoreError as error:
            _LOG.error("run %s could not be kept and will be carried out again: %s", claim.run.id, error)
            live.lose(claim.run.epoch)
        except asyncio.CancelledError:
            live.lose(claim.run.epoch)
            if (claim.run.id, claim.run.epoch) not in self._forfeited:
                await self._hand_over(claim)
        except Exception:  # noqa: BLE001  # the last resort: whoever waits must be told, whatever has happened
            _LOG.exception("run %s could not be ended and will be carried out again", claim.run.id)
            live.lose(claim.run.epoch)
        finally:
            self._heartbeat.drop(claim.lease)
            self._forfeited.discard((claim.run.id, claim.run.epoch))
        if following is not None:
            self._begin(following)

    async def _finish(self, active: ActiveRun) -> Claim | None:
        """Have a run carried out and end it, without its last turn if that cannot be kept."""
        turn, ending = await self._perform(active)
        try:
            return await self._end(active, turn, ending)
        except LeaseLost:
            raise
        except Exception:  # noqa: BLE001  # what cannot be kept must end the run, not be tried for ever
            _LOG.exception("run %s could not be kept", active.run.id)
            active.forget()
            failure = RunFailed("what the run has made could not be kept").failure()
            return await self._end(active, None, Ending(status=RunStatus.FAILED, failure=failure))

    async def _end(self, active: ActiveRun, turn: Turn | None, ending: Ending) -> Claim | None:
        """End a run; return the one that waited behind it, unless we are about to stop."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("runs are carried out in tasks")
        self._ending.add(task)
        try:
            return await active.end(turn, ending, None if self._is_stopping else self._claimant)
        finally:
            self._ending.discard(task)

    def _active(self, claim: Claim, live: LiveRun) -> ActiveRun:
        return ActiveRun(
            claim,
            live,
            self.store.runs,
            hold=lambda seconds: self._heartbeat.hold(claim.lease, for_seconds=seconds),
            probe=self._probe,
            pause=self._pause,
        )

    async def _perform(self, active: ActiveRun) -> tuple[Turn | None, Ending]:
        """Let the performer do its work; return the last turn and how the run ends."""
        run = active.run
        self._probe("takeover.begin" if active.is_resumed else "run.begin")
        active.emit(
            RunStarted(
                run_id=run.id,
                conversation_id=run.conversation_id,
                input_number=run.input_number,
                epoch=run.epoch,
            )
        )
        try:
            _give_up(run)
            turn = await self._performers[run.performer].perform(active)
        except (LeaseLost, StoreError):
            raise
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            return None, Ending(status=RunStatus.FAILED, failure=RunFailed().failure())
        except TertuliaError as error:
            return None, Ending(status=RunStatus.FAILED, failure=error.failure())
        except Exception:  # noqa: BLE001  # the last resort: a performer's own fault ends its run, nothing else
            _LOG.exception("run %s failed", run.id)
            return None, Ending(status=RunStatus.FAILED, failure=RunFailed().failure())
        return turn, Ending(status=RunStatus.COMPLETED)

    async def _hand_over(self, claim: Claim) -> None:
        """Let another process go on with a run at once; the store may be gone already."""
        try:
            await self.store.runs.release([claim.lease])
        except StoreError as error:
            _LOG.warning("run %s could not be handed over: %s", claim.run.id, error)

    def _lost_elsewhere(self, leases: Sequence[Lease]) -> None:
        """Stop runs that another process has taken over; called in the heartbeat's thread."""
        if self._loop is not None and not self._loop.is_closed():
            for lease in leases:
                self._loop.call_soon_threadsafe(self._stop_one, lease.run_id, lease.epoch)

    def _stop_one(self, run_id: str, epoch: int) -> None:
        """Stop a run whose lease is gone; one that is just being ended finds that out by itself."""
        task = self._tasks.get((run_id, epoch))
        if task is not None and task not in self._ending:
            self._forfeited.add((run_id, epoch))
            task.cancel()


def _give_up(run: Run) -> None:
    """Raise if a run has crashed its process too often to be tried again."""
    if run.attempt > MAX_ATTEMPTS:
        raise RunFailed(f"given up: {MAX_ATTEMPTS} attempts crashed before anything was kept")


def _is_cancelled() -> bool:
    """Whether somebody wants this task to end, rather than something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
