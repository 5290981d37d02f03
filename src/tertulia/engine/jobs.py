"""Jobs: what commits want to have done after them, each at least once."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Protocol

from tertulia.conversations import StoredJob
from tertulia.engine.leaving import Leaving
from tertulia.engine.probe import Probe, unobserved
from tertulia.engine.resting import Pause, rest
from tertulia.errors import InvalidInput, StoreError, TertuliaError
from tertulia.messages import now_us
from tertulia.stores.base import JobStore

_LOG: Final = logging.getLogger(__name__)

AT_ONCE: Final = 4
"""Jobs under way in one process at most."""
JOB_SECONDS: Final = 300.0
"""Time that a job may take."""
LEASE_SECONDS: Final = JOB_SECONDS + 60
"""Time after which a job of a process that went silent is done again."""
MAX_ATTEMPTS: Final = 10
"""After so many a job that fails is given up."""
FIRST_SECONDS: Final = 1.0
MOST_SECONDS: Final = 3600.0
"""Between the attempts; the time doubles, from the first to the most."""


class Worker(Protocol):
    """Does the jobs of one kind.

    Laws: a job may come twice, even at the same time; what it raises has it done again later, but
    for :class:`~tertulia.errors.InvalidInput`: that job is given up at once.
    """

    async def do(self, job: StoredJob) -> None:
        """Do a job; within five minutes, or it is cancelled and done again."""
        ...


class Jobs:
    """Takes due jobs from the store and has them done, some at a time."""

    def __init__(  # noqa: PLR0913  # a public constructor
        self,
        store: JobStore,
        owner: str,
        workers: Mapping[str, Worker],
        *,
        leaving: Leaving,
        poll_seconds: float,
        pause: Pause = asyncio.sleep,
        probe: Probe = unobserved,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._store, self._owner, self._workers = store, owner, dict(workers)
        self._leaving = leaving
        self._poll_seconds, self._pause, self._probe, self._dice = poll_seconds, pause, probe, dice
        self._bell = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin, in the running event loop; without workers there is nothing to begin."""
        if self._workers:
            self._looking = asyncio.create_task(self._for_ever(), name="tertulia-jobs")

    async def stop(self) -> None:
        """End; jobs under way are cut short, and done again elsewhere."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
            self._looking = None
        await asyncio.sleep(0)  # those that were begun just now begin: else they would give nothing back
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def look(self) -> None:
        """Look for due jobs now, not only when it is time."""
        self._bell.set()

    async def _for_ever(self) -> None:
        while True:
            self._bell.clear()
            try:
                await self._take()
            except StoreError as error:
                _LOG.warning("the store could not be asked for jobs: %s", error)
            except Exception:  # noqa: BLE001  # the job loop must go on
                _LOG.exception("jobs could not be begun")
            await rest(self._pause, self._poll_seconds, self._bell)

    async def _take(self) -> None:
        free = AT_ONCE - len(self._under_way)
        if free <= 0 or self._leaving.is_stopping:
            return
        lease_us = int(LEASE_SECONDS * 1_000_000)
        claiming = asyncio.ensure_future(
            self._store.claim(self._owner, self._workers.keys(), limit=free, lease_us=lease_us)
        )
        try:
            claimed = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            for job in await claiming:
                await self._give_back(job)
            raise
        for job in claimed:
            task = asyncio.create_task(self._do(job), name=job.job.id)
            self._under_way.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self.look()

    async def _do(self, job: StoredJob) -> None:
        self._probe("job.before")
        if job.attempt > MAX_ATTEMPTS:  # none of them came to its end: it ends its processes
            await self._give_up(job, "its processes ended before it did")
            return
        try:
            async with asyncio.timeout(JOB_SECONDS):
                await self._workers[job.job.kind].do(job)
            self._probe("job.after")
            await self._store.finish(job)
        except asyncio.CancelledError:
            await self._give_back(job)
            raise
        except InvalidInput as error:
            await self._give_up(job, str(error))
        except TertuliaError as error:
            await self._postpone(job, str(error))
        except Exception as error:  # noqa: BLE001  # the job loop: one job's fault is not the others'
            _LOG.exception("job %s failed", job.job.id)
            await self._postpone(job, type(error).__name__)

    async def _give_back(self, job: StoredJob) -> None:
        """Let another process do a job at once."""
        with suppress(StoreError):
            await self._store.postpone(job, due_at=now_us(), error="its process was stopped")

    async def _postpone(self, job: StoredJob, told: str) -> None:
        if job.attempt >= MAX_ATTEMPTS:
            await self._give_up(job, told)
            return
        seconds = min(FIRST_SECONDS * 2 ** (job.attempt - 1), MOST_SECONDS) * (0.5 + self._dice() / 2)
        try:
            await self._store.postpone(job, due_at=now_us() + int(seconds * 1_000_000), error=told)
        except StoreError as error:
            _LOG.warning("job %s is done again when its lease is over: %s", job.job.id, error)

    async def _give_up(self, job: StoredJob, told: str) -> None:
        _LOG.error(
            "job %s (%s) is given up after %d attempts: %s", job.job.id, job.job.kind, job.attempt, told
        )
        try:
            await self._store.bury(job, error=told)
        except StoreError as error:
            _LOG.warning("job %s is done again when its lease is over: %s", job.job.id, error)
