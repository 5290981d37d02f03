"""What is to be done after commits, in memory."""

from collections.abc import Collection
from dataclasses import replace
from operator import attrgetter

from typing_extensions import override

from tertulia.conversations import JobStatus, StoredJob
from tertulia.errors import NotFound
from tertulia.stores.base import JobStore
from tertulia.stores.in_memory.state import JobEntry, State


class InMemoryJobs(JobStore):
    """Jobs, for as long as the process lives.

    Whoever claims a job changes it, if only by its ``attempt``: so it is still whose it was as long
    as it stands as it was claimed.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    @override
    async def claim(
        self, owner: str, kinds: Collection[str], *, limit: int, lease_us: int
    ) -> list[StoredJob]:
        with self._state.lock:
            now = self._state.now()
            entries = (entry for room in self._state.rooms.values() for entry in room.jobs.values())
            due = [entry for entry in entries if entry.is_due(now) and entry.stored.job.kind in kinds]
            due.sort(key=attrgetter("stored.due_at", "stored.job.id"))
            for entry in due[:limit]:
                attempt = entry.stored.attempt + 1
                entry.stored = replace(entry.stored, status=JobStatus.RUNNING, attempt=attempt)
                entry.lease_until = now + lease_us
            return [entry.stored for entry in due[:limit]]

    @override
    async def finish(self, claimed: StoredJob) -> None:
        with self._state.lock:
            if self._held(claimed) is not None:
                del self._state.rooms[claimed.tenant].jobs[claimed.job.id]

    @override
    async def postpone(self, claimed: StoredJob, *, due_at: int, error: str) -> None:
        with self._state.lock:
            if (entry := self._held(claimed)) is not None:
                entry.stored = replace(claimed, status=JobStatus.QUEUED, due_at=due_at, error=error)

    @override
    async def bury(self, claimed: StoredJob, *, error: str) -> None:
        with self._state.lock:
            if (entry := self._held(claimed)) is not None:
                entry.stored = replace(claimed, status=JobStatus.DEAD, error=error)

    @override
    async def revive(self, tenant: int, job_id: str) -> StoredJob:
        with self._state.lock:
            entry = self._known(tenant, job_id)
            if entry.stored.status is JobStatus.DEAD:
                due_at = self._state.now()
                entry.stored = replace(entry.stored, status=JobStatus.QUEUED, attempt=0, due_at=due_at)
            return entry.stored

    @override
    async def get(self, tenant: int, job_id: str) -> StoredJob:
        with self._state.lock:
            return self._known(tenant, job_id).stored

    @override
    async def page(
        self, tenant: int, *, status: JobStatus | None = None, after: str | None = None, limit: int = 100
    ) -> list[StoredJob]:
        with self._state.lock:
            jobs = sorted(self._state.rooms[tenant].jobs.items())
            unseen = [entry.stored for job_id, entry in jobs if after is None or job_id > after]
            return [stored for stored in unseen if status in (None, stored.status)][:limit]

    def _known(self, tenant: int, job_id: str) -> JobEntry:
        entry = self._state.rooms[tenant].jobs.get(job_id)
        if entry is None:
            raise NotFound("there is no such job")
        return entry

    def _held(self, claimed: StoredJob) -> JobEntry | None:
        """Return a job that nobody has claimed since."""
        entry = self._state.rooms[claimed.tenant].jobs.get(claimed.job.id)
        is_held = entry is not None and entry.stored == claimed and claimed.status is JobStatus.RUNNING
        return entry if is_held else None
