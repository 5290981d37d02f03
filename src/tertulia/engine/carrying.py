"""Carrying runs out: all that this process has claimed, and those that somebody here follows."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final
from weakref import WeakValueDictionary

from tertulia.conversations import Claim, Claimant, Lease, Stop
from tertulia.engine.base import Performer
from tertulia.engine.carried import CarriedRun, Office
from tertulia.engine.desk import Desk
from tertulia.engine.heartbeat import Heartbeat
from tertulia.engine.live import LiveRun

ENDING_SECONDS: Final = 4.0
"""How long a run that is just being ended holds up the engine's stop."""


class Carrier:
    """Carries out the runs that this process has claimed.

    ``ring`` tells other processes about them, ``freed`` that a run which may end its process has not.
    """

    def __init__(
        self,
        claimant: Claimant,
        *,
        performers: Mapping[str, Performer],
        desk: Desk,
        ring: Callable[[Collection[str]], None],
        freed: Callable[[], None],
        lease_seconds: float,
    ) -> None:
        self._freed = freed
        self.heartbeat = Heartbeat(desk.runs, lease_seconds=lease_seconds, on_lost=self._lost_elsewhere)
        self._office = Office(
            claimant=claimant,
            performers=dict(performers),
            desk=desk,
            heartbeat=self.heartbeat,
            ring=ring,
        )
        self._live: WeakValueDictionary[str, LiveRun] = WeakValueDictionary()
        self._carried: dict[tuple[str, int], CarriedRun] = {}
        """By run and epoch: a run that we take over from ourselves has two for a moment."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to renew leases."""
        self._loop = asyncio.get_running_loop()
        self.heartbeat.start()

    async def stop(self, *, grace_seconds: float) -> None:
        """Give runs under way ``grace_seconds`` to end, and hand the others over."""
        if self._carried and grace_seconds:
            await asyncio.wait(self._tasks(), timeout=grace_seconds)
        await asyncio.sleep(0)  # those that were begun just now begin
        for at_once in (False, True, True):
            for carried in self._carried.values():
                carried.hand_over(at_once=at_once)
            if self._carried:
                await asyncio.wait(self._tasks(), timeout=ENDING_SECONDS)
                await asyncio.sleep(0)
        for carried in list(self._carried.values()):
            await carried.abandon()
        await self.heartbeat.stop()

    @property
    def active(self) -> int:
        """How many runs are carried out here just now."""
        return len(self._carried)

    @property
    def is_leaving(self) -> bool:
        """Whether this process is about to end, and begins nothing."""
        return self._office.desk.leaving.is_stopping

    @property
    def has_suspect(self) -> bool:
        """Whether one of them may be what ends its processes."""
        return any(carried.is_suspect for carried in self._carried.values())

    @property
    def run_ids(self) -> set[str]:
        """Ids of the runs that are carried out here."""
        return {run_id for run_id, _ in self._carried}

    @property
    def leases(self) -> list[Lease]:
        """Their leases."""
        return [carried.lease for carried in self._carried.values()]

    def live(self, run_id: str) -> LiveRun:
        """Return the events of a run, for as long as anybody holds them."""
        live = self._live.get(run_id)
        if live is None:
            live = self._live[run_id] = LiveRun()
        return live

    def wake(self, run_ids: Collection[str] | None = None) -> None:
        """Have those who follow these runs, or any, look again."""
        found = list(self._live.values()) if run_ids is None else [self._live.get(each) for each in run_ids]
        for live in found:
            if live is not None:
                live.wake()

    def begin(self, claim: Claim) -> None:
        """Carry a claimed run out; what held it before has lost its lease."""
        for carried in self._of(claim.run.id):
            carried.forfeit()
        carried = CarriedRun(claim, self.live(claim.run.id), self._office)
        self._carried[claim.run.id, claim.run.epoch] = carried
        carried.task.add_done_callback(lambda _: self._done(carried))

    def stop_run(self, run_id: str, how: Stop) -> None:
        """Stop a run that somebody wants to end; does nothing about one that is not carried out here."""
        for carried in self._of(run_id):
            carried.stop(how)

    def _of(self, run_id: str) -> list[CarriedRun]:
        return [carried for (ident, _), carried in self._carried.items() if ident == run_id]

    def _done(self, carried: CarriedRun) -> None:
        run_id = carried.lease.run_id
        del self._carried[run_id, carried.lease.epoch]
        live = self._live.get(run_id)
        if live is not None and live.finished is not None:
            # What has ended is read from the store, where it may have been erased since.
            del self._live[run_id]
        if carried.following is not None:
            self.begin(carried.following)
        if carried.is_suspect:
            self._freed()

    def _lost_elsewhere(self, leases: Sequence[Lease]) -> None:
        """Leave runs that another process has taken over; called in the heartbeat's thread."""
        if self._loop is not None and not self._loop.is_closed():
            for lease in leases:
                self._loop.call_soon_threadsafe(self._lost, lease)

    def _lost(self, lease: Lease) -> None:
        carried = self._carried.get((lease.run_id, lease.epoch))
        if carried is not None:
            carried.forfeit()

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [carried.task for carried in self._carried.values()]
