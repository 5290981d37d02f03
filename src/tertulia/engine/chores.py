"""What an engine does beside its runs: it looks for those that nobody carries out, and prunes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Final

from tertulia.conversations import Claim, Claimant
from tertulia.engine.active import Pause
from tertulia.errors import StoreError
from tertulia.messages import now_us
from tertulia.stores.base import RunStore

_LOG: Final = logging.getLogger(__name__)

POLL_SECONDS: Final = 1.0
CLAIM_LIMIT: Final = 16
PRUNE_SECONDS: Final = 600.0
PRUNE_LIMIT: Final = 5_000
EVENTS_KEPT_US: Final = 24 * 60 * 60 * 1_000_000
"""How long the events of an ended run can be replayed."""


class Chores:
    """Two endless tasks; neither ends because of anything that goes wrong.

    ``begin`` is given every run that was claimed; ``busy_with`` tells those under way, which are not
    taken from ourselves when the store was away for longer than a lease.
    """

    def __init__(
        self,
        runs: RunStore,
        claimant: Claimant,
        *,
        begin: Callable[[Claim], None],
        busy_with: Callable[[], Collection[str]] = tuple,
        poll_seconds: float = POLL_SECONDS,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._runs, self._claimant = runs, claimant
        self._begin, self._busy_with = begin, busy_with
        self._poll_seconds, self._pause = poll_seconds, pause
        self._tasks: list[asyncio.Task[None]] = []
        self._trouble = ""

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._tasks = [
            asyncio.create_task(self._for_ever(self._claim), name="tertulia-claim"),
            asyncio.create_task(self._for_ever(self._prune), name="tertulia-prune"),
        ]

    async def stop(self) -> None:
        """End both; may be called twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _for_ever(self, chore: Callable[[], Awaitable[float]]) -> None:
        while True:
            try:
                seconds = await chore()
                self._trouble = ""
            except StoreError as error:
                self._complain(str(error))
                seconds = self._poll_seconds
            except Exception as error:  # noqa: BLE001  # the job loop: what one row does, others must not pay for
                self._complain(f"{type(error).__name__}: {error}")
                seconds = self._poll_seconds
            if seconds:
                await self._pause(seconds)

    async def _claim(self) -> float:
        """Ask for runs that nobody carries out; what comes when we are stopped meanwhile is given back."""
        claiming = asyncio.ensure_future(
            self._runs.claim(self._claimant, limit=CLAIM_LIMIT, busy_with=self._busy_with())
        )
        try:
            claims = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            with suppress(StoreError):
                await self._runs.release([claim.lease for claim in await claiming])
            raise
        for claim in claims:
            self._begin(claim)
        return 0 if len(claims) == CLAIM_LIMIT else self._poll_seconds

    async def _prune(self) -> float:
        """Let go of old bookkeeping, a little at a time."""
        gone = await self._runs.prune(before=now_us() - EVENTS_KEPT_US, limit=PRUNE_LIMIT)
        return self._poll_seconds if gone >= PRUNE_LIMIT else PRUNE_SECONDS

    def _complain(self, trouble: str) -> None:
        """Log what is wrong, once for as long as it lasts."""
        if trouble != self._trouble:
            _LOG.warning("the store could not be asked for runs: %s", trouble)
        self._trouble = trouble
