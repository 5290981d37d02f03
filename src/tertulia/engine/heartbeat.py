"""Renewing leases, from a thread that a busy event loop cannot starve."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tertulia.conversations import Lease
from tertulia.errors import StoreError
from tertulia.stores.base import RunStore

_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Holding:
    lease: Lease
    until: float
    """When this process stops renewing it, whatever happens (monotonic seconds)."""
    renewed_at: float = field(default_factory=time.monotonic)


class Heartbeat:
    """Renews the leases that it is told of, each when a third of it has passed.

    ``on_lost`` is called, in the heartbeat's own thread, with leases that turned out to be lost, and
    once with each whose holder was silent for longer than it said.
    """

    def __init__(
        self, runs: RunStore, *, lease_seconds: float, on_lost: Callable[[Sequence[Lease]], None]
    ) -> None:
        self._runs, self._lease_seconds, self._on_lost = runs, lease_seconds, on_lost
        self._held: dict[Lease, _Holding] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to renew."""
        self._thread = threading.Thread(target=self._beat, name="tertulia-heartbeat", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Stop renewing; may be called twice."""
        self._stopped.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    def hold(self, lease: Lease, *, for_seconds: float) -> None:
        """Renew this lease from now on, but no longer than ``for_seconds``: then its holder hangs."""
        until = time.monotonic() + for_seconds
        holding = self._held.get(lease)
        if holding is not None:
            holding.until = until
        else:
            self._held[lease] = _Holding(lease, until=until)

    def is_fresh(self, lease: Lease) -> bool:
        """Whether a lease was renewed so lately that nobody else can have the run.

        It was not if this process has stood still: whoever asks then had better ask the store.
        """
        holding = self._held.get(lease)
        return holding is not None and time.monotonic() - holding.renewed_at < self._lease_seconds

    def drop(self, lease: Lease) -> None:
        """Renew this lease no more."""
        self._held.pop(lease, None)

    def _beat(self) -> None:
        with asyncio.Runner() as runner:
            while not self._stopped.wait(self._lease_seconds / 6):
                try:
                    self._give_up_hanging()
                    due = self._due()
                    if due:
                        runner.run(self._renew(due))
                except Exception:  # noqa: BLE001  # the heart must go on: all runs of this process depend on it
                    _LOG.exception("leases could not be renewed")

    def _give_up_hanging(self) -> None:
        now = time.monotonic()
        hanging = [holding.lease for holding in list(self._held.values()) if now >= holding.until]
        for lease in hanging:
            _LOG.error("run %s hangs and is given up by this process", lease.run_id)
            self.drop(lease)
        if hanging:
            self._on_lost(hanging)

    def _due(self) -> list[_Holding]:
        now, third = time.monotonic(), self._lease_seconds / 3
        return [holding for holding in list(self._held.values()) if now - holding.renewed_at >= third]

    async def _renew(self, due: Sequence[_Holding]) -> None:
        begun = time.monotonic()
        leases = [holding.lease for holding in due]
        try:
            held = await self._runs.renew(leases, lease_us=int(self._lease_seconds * 1_000_000))
        except StoreError as error:
            _LOG.warning("leases could not be renewed: %s", error)
            return
        for holding in due:
            holding.renewed_at = begun
        lost = [lease for lease in leases if lease.run_id not in held]
        if lost:
            self._on_lost(lost)
