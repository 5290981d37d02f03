"""What an engine does beside its runs: it looks for what concerns it in the store, and prunes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol

from tertulia.conversations import Claim, Claimant, Lease, Stop
from tertulia.engine.resting import Pause, rest
from tertulia.errors import StoreError
from tertulia.messages import now_us
from tertulia.stores.base import RunStore

_LOG: Final = logging.getLogger(__name__)

POLL_SECONDS: Final = 1.0
CLAIM_LIMIT: Final = 16
SUSPECT_LOOKS: Final = 3
"""So many looks a run that may end its process waits for this one to carry out nothing else."""
PRUNE_SECONDS: Final = 600.0
PRUNE_LIMIT: Final = 5_000
EVENTS_KEPT_US: Final = 24 * 60 * 60 * 1_000_000
"""How long the events of an ended run can be replayed."""


class Crew(Protocol):
    """Who carries out the runs of this process."""

    @property
    def active(self) -> int:
        """How many runs are carried out just now."""
        ...

    @property
    def is_leaving(self) -> bool:
        """Whether this process is about to end, and begins nothing."""
        ...

    @property
    def has_suspect(self) -> bool:
        """Whether one of them may be what ends its processes."""
        ...

    @property
    def run_ids(self) -> set[str]:
        """Ids of the runs that are carried out: those are not taken from ourselves."""
        ...

    @property
    def leases(self) -> list[Lease]:
        """Their leases."""
        ...

    def begin(self, claim: Claim) -> None:
        """Carry a claimed run out."""
        ...

    def stop_run(self, run_id: str, how: Stop) -> None:
        """Stop a run that somebody wants to end."""
        ...


class Chores:
    """Endless tasks; none ends because of anything that goes wrong."""

    def __init__(
        self,
        runs: RunStore,
        claimant: Claimant,
        crew: Crew,
        *,
        poll_seconds: float = POLL_SECONDS,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._runs, self._claimant, self._crew = runs, claimant, crew
        self._poll_seconds, self._pause = poll_seconds, pause
        self._tasks: list[asyncio.Task[None]] = []
        self._work, self._wishes = asyncio.Event(), asyncio.Event()
        self._looks = 0
        self._trouble = ""

    def start(self) -> None:
        """Begin, in the running event loop."""
        chores = {
            "claim": self._for_ever(self._claim, self._work),
            "ask": self._for_ever(self._ask, self._wishes),
            "prune": self._for_ever(self._prune, asyncio.Event()),
        }
        self._tasks = [asyncio.create_task(chore, name=f"tertulia-{name}") for name, chore in chores.items()]

    async def stop(self) -> None:
        """End all; may be called twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def look_for_work(self) -> None:
        """Look for runs now, not only when it is time."""
        self._work.set()

    def look_for_wishes(self) -> None:
        """Look now whether somebody wants a run of ours to stop."""
        self._wishes.set()

    async def _for_ever(self, chore: Callable[[], Awaitable[float]], bell: asyncio.Event) -> None:
        while True:
            bell.clear()
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
                await rest(self._pause, seconds, bell)

    async def _claim(self) -> float:
        """Ask for runs that nobody carries out.

        While one that may end the process is under way nothing else is taken over, so that others do
        not come to harm beside it; and it is taken only by a process that carries out nothing else,
        if there comes to be one soon.
        """
        if self._crew.has_suspect or self._crew.is_leaving:
            return self._poll_seconds
        self._looks += 1
        is_their_turn = not self._crew.active or self._looks % SUSPECT_LOOKS == 0
        if is_their_turn and await self._take(1, suspects=True):
            return self._poll_seconds
        claims = await self._take(CLAIM_LIMIT, suspects=False)
        return 0 if claims == CLAIM_LIMIT else self._poll_seconds

    async def _take(self, limit: int, *, suspects: bool) -> int:
        """Claim runs and begin them; what comes when we are stopped meanwhile is given back."""
        claiming = asyncio.ensure_future(
            self._runs.claim(self._claimant, limit=limit, busy_with=self._crew.run_ids, suspects=suspects)
        )
        try:
            claims = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            with suppress(StoreError):
                await self._runs.release([claim.lease for claim in await claiming])
            raise
        for claim in claims:
            self._crew.begin(claim)
        return len(claims)

    async def _ask(self) -> float:
        """Find out which of our runs somebody wants to stop."""
        leases = self._crew.leases
        for run_id, how in (await self._runs.asked(leases)).items() if leases else ():
            self._crew.stop_run(run_id, how)
        return self._poll_seconds

    async def _prune(self) -> float:
        """Let go of old bookkeeping, a little at a time."""
        gone = await self._runs.prune(before=now_us() - EVENTS_KEPT_US, limit=PRUNE_LIMIT)
        return self._poll_seconds if gone >= PRUNE_LIMIT else PRUNE_SECONDS

    def _complain(self, trouble: str) -> None:
        """Log what is wrong, once for as long as it lasts."""
        if trouble != self._trouble:
            _LOG.warning("the store could not be asked for runs: %s", trouble)
        self._trouble = trouble
