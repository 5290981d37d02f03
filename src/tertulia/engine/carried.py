"""One claimed run in its task: from its claim to its end, or to whoever goes on with it."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from tertulia.conversations import Claim, Claimant, Ending, Lease, Run, RunStatus, Stop, Wait
from tertulia.engine.active import ActiveRun, HandedOver
from tertulia.engine.base import Performer
from tertulia.engine.desk import Desk
from tertulia.engine.heartbeat import Heartbeat
from tertulia.engine.journal import Suspended
from tertulia.engine.live import LiveRun
from tertulia.engine.silence import GRACE_SECONDS
from tertulia.engine.turns import Turn
from tertulia.errors import (
    LeaseLost,
    NeedsAttention,
    RunCancelled,
    RunFailed,
    RunGivenUp,
    StopRequested,
    StoreError,
    TertuliaError,
)
from tertulia.events import RunStarted
from tertulia.hints.base import WORK
from tertulia.stores.rules import SUSPECT_ATTEMPTS

_LOG: Final = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 3
"""Attempts that may crash one after another, with nothing journaled between, before a run is given up."""

_TOLD: Final[Mapping[Stop, str]] = {
    Stop.INTERRUPT: "The run was interrupted by a newer message.",
    Stop.ROLLBACK: "The run was rolled back for a newer message.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """What carrying runs out takes, the same for all of a process."""

    claimant: Claimant
    performers: Mapping[str, Performer]
    desk: Desk
    heartbeat: Heartbeat
    ring: Callable[[Collection[str]], None]
    """Tells other processes about runs."""


class CarriedRun:
    """A run that this process has claimed and carries out, in a task of its own."""

    def __init__(self, claim: Claim, live: LiveRun, office: Office) -> None:
        self.claim, self._live, self._office = claim, live, office
        self.following: Claim | None = None
        """The run that waited behind it, once it has ended: it is ours to carry out as well."""
        self._runs = office.desk.runs
        self._active = ActiveRun(
            claim,
            live,
            office.desk,
            hold=lambda seconds: office.heartbeat.hold(claim.lease, for_seconds=seconds),
            confirm=self._confirm,
        )
        self._has_begun = self._is_ending = self._is_forfeited = self._is_stopped = False
        live.begin(claim.run.epoch)
        self.task = asyncio.create_task(self._carry_out(), name=claim.run.id)

    @property
    def lease(self) -> Lease:
        """The right to write for it."""
        return self.claim.lease

    @property
    def is_suspect(self) -> bool:
        """Whether it may be what ends its processes."""
        return self.claim.run.attempt > SUSPECT_ATTEMPTS

    def stop(self, how: Stop) -> None:
        """End it as cancelled, soon; what it does is cut short where it may be."""
        may_cut = self._active.ask_to_stop(how)
        if may_cut and self._may_be_cancelled and not self._is_stopped:
            self._is_stopped = True
            self.task.cancel()

    def forfeit(self) -> None:
        """Leave it: its lease is gone, and there is nothing to hand over."""
        if self._may_be_cancelled:
            self._is_forfeited = True
            self.task.cancel()

    def hand_over(self, *, at_once: bool) -> None:
        """Leave it to another process; not while its end is written, unless it has to be ``at_once``."""
        if at_once:
            self._is_ending = False
        if not self._is_ending:
            self.task.cancel()

    async def abandon(self) -> None:
        """Let another process go on with it although its performer does not come to an end here."""
        _LOG.error("run %s does not let itself be stopped, and is left behind", self.lease.run_id)
        self._office.heartbeat.drop(self.lease)
        self._active.leave()
        await self._release()

    @property
    def _may_be_cancelled(self) -> bool:
        """Whether cancelling the task does what is wanted.

        One that has not begun would do nothing at all then, and one that writes its end could lose
        the run that begins with it: both find out by themselves.
        """
        return self._has_begun and not self._is_ending

    async def _carry_out(self) -> None:
        self._has_begun = True
        self._office.heartbeat.hold(self.lease, for_seconds=GRACE_SECONDS)
        try:
            self.following = await self._finish_or_leave()
        finally:
            self._office.heartbeat.drop(self.lease)
            self._active.leave()
            self._live.lose(self.lease.epoch)
        if self._active.was_told or self.lease.epoch > 1:
            self._office.ring({self.lease.run_id})
        if self._office.desk.leaving.is_stopping:  # what waits behind it is for others
            self._office.ring({WORK})

    async def _finish_or_leave(self) -> Claim | None:
        """Have it carried out to its end, or let another process go on with it."""
        run_id = self.lease.run_id
        try:
            return await self._finish()
        except LeaseLost:
            _LOG.warning("run %s goes on in another process", run_id)
        except StoreError as error:
            _LOG.error("run %s could not be kept and will be carried out again: %s", run_id, error)
        except HandedOver:
            await self._release()
        except asyncio.CancelledError:
            if not self._is_forfeited:
                await self._release()
        except Exception:  # noqa: BLE001  # the last resort: whoever waits must be told, whatever has happened
            _LOG.exception("run %s could not be ended and will be carried out again", run_id)
        return None

    async def _finish(self) -> Claim | None:
        """Have it carried out and end it, without its last turn if that cannot be kept."""
        try:
            turn, ending = await self._perform()
        except Suspended as suspended:
            if await self._suspend(suspended.wait):
                return None
            turn, ending = await self._stopped()
        has_forgotten = False
        while True:
            try:
                return await self._end(turn, ending)
            except LeaseLost:
                raise
            except StopRequested:
                turn, ending = await self._stopped()
            except Exception:
                if has_forgotten:
                    raise
                _LOG.exception("run %s could not be kept", self.lease.run_id)
                self._active.forget()
                has_forgotten = True
                turn, ending = None, _unkept(self._active.stop)

    async def _suspend(self, wait: Wait) -> bool:
        """Have it wait for a decision; return whether it does, and is not to stop instead."""
        _LOG.info("run %s waits for a decision (%s at %s)", self.lease.run_id, wait.kind, wait.path)
        try:
            await self._active.suspend(wait)
        except StopRequested:
            return False
        self._office.ring({self.lease.run_id})
        return True

    async def _stopped(self) -> tuple[Turn | None, Ending]:
        """Return how it ends, the store having told us that it is to stop."""
        self._is_stopped = True
        asked = await self._runs.asked([self.lease])
        self._active.ask_to_stop(asked.get(self.lease.run_id, Stop.CANCEL))
        return self._active.remains(), _cancelled(self._active.stop)

    async def _end(self, turn: Turn | None, ending: Ending) -> Claim | None:
        """End it; return the run that waited behind it, unless we are about to stop."""
        self._is_ending = True
        try:
            is_stopping = self._office.desk.leaving.is_stopping
            return await self._active.end(turn, ending, None if is_stopping else self._office.claimant)
        finally:
            self._is_ending = False

    async def _perform(self) -> tuple[Turn | None, Ending]:
        """Let the performer do its work; return the last turn and how the run ends."""
        run, active = self.claim.run, self._active
        active.pass_point("takeover.begin" if active.is_resumed else "run.begin")
        if active.stop and not active.is_resumed:
            return None, _cancelled(active.stop)
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
            turn = await self._performed()
        except (LeaseLost, StoreError, Suspended, HandedOver):
            raise
        except StopRequested:
            return await self._stopped()
        except asyncio.CancelledError:
            return self._interrupted()
        except Exception as error:  # noqa: BLE001  # the last resort: a performer's fault ends its run, nothing else
            if not isinstance(error, TertuliaError):
                _LOG.exception("run %s failed", run.id)
            await active.effects_over()
            failure = (error if isinstance(error, TertuliaError) else RunFailed()).failure()
            return active.remains(), Ending(status=RunStatus.FAILED, failure=failure)
        return turn, Ending(status=RunStatus.COMPLETED)

    async def _performed(self) -> Turn | None:
        """Have the performer do its work; of several errors at once the weightiest is raised."""
        try:
            return await self._office.performers[self.claim.run.performer].perform(self._active)
        except ExceptionGroup as group:
            raise self._in_time(_weightiest(group)) from None
        except Suspended as suspended:
            raise self._in_time(suspended) from None

    def _in_time(self, error: Exception) -> Exception:
        """Return an error, but for a wait whose time is over: then the run has come to it once more."""
        if not isinstance(error, Suspended) or self.claim.run.wait is None:
            return error
        return NeedsAttention(f"nobody has decided in time: {error.wait.message}")

    def _interrupted(self) -> tuple[Turn | None, Ending]:
        """Return how it ends, having been cut short; raises again if it is to go on elsewhere."""
        task = asyncio.current_task()
        if task is None or not task.cancelling():  # something that it waited for was cancelled, not the run
            return self._active.remains(), Ending(status=RunStatus.FAILED, failure=RunFailed().failure())
        if self._is_stopped and not self._is_forfeited:
            task.uncancel()
            if not task.cancelling():
                return self._active.remains(), _cancelled(self._active.stop)
        raise asyncio.CancelledError

    async def _confirm(self) -> None:
        """Raise ``LeaseLost`` if another process has taken it over while this one stood still."""
        if self._office.heartbeat.is_fresh(self.lease):
            return
        with suppress(StoreError):  # whether it is still ours is found out at the next commit, then
            if not await self._runs.renew([self.lease], lease_us=self._office.claimant.lease_us):
                raise LeaseLost

    async def _release(self) -> None:
        """Let another process go on with it at once; the store may be gone already."""
        self._active.pass_point("handover.before")
        try:
            await self._runs.release([self.lease])
        except StoreError as error:
            _LOG.warning("run %s could not be handed over: %s", self.lease.run_id, error)
        self._active.pass_point("handover.after")
        self._office.ring({WORK})


_WEIGHTS: Final = (LeaseLost, StoreError, Suspended, StopRequested, HandedOver, TertuliaError, Exception)
"""What a performer's tasks may raise together, the weightiest first."""


def _weightiest(group: ExceptionGroup[Exception]) -> Exception:
    """Return the exception of a group, or of groups within it, that says what becomes of the run."""
    found = [_weightiest(each) if isinstance(each, ExceptionGroup) else each for each in group.exceptions]
    return min(found, key=lambda each: next(i for i, kind in enumerate(_WEIGHTS) if isinstance(each, kind)))


def _give_up(run: Run) -> None:
    """Raise if there is no use in carrying a run out again."""
    if run.attempt > MAX_ATTEMPTS:
        raise RunGivenUp(
            f"given up: {MAX_ATTEMPTS} attempts ended their processes before anything was kept; "
            "retry it when you know why"
        )


def _unkept(stop: Stop) -> Ending:
    if stop:
        return _cancelled(stop)
    failure = RunFailed("what the run has made could not be kept").failure()
    return Ending(status=RunStatus.FAILED, failure=failure)


def _cancelled(stop: Stop) -> Ending:
    failure = RunCancelled(_TOLD.get(stop, "The run was cancelled.")).failure()
    return Ending(status=RunStatus.CANCELLED, failure=failure)
