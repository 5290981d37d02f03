"""The ledger of runs, in memory."""

from collections.abc import Collection, Iterator, Sequence
from operator import attrgetter

from typing_extensions import override

from tertulia.conversations import (
    Accepted,
    Claim,
    Claimant,
    Commit,
    Committed,
    Frame,
    Lease,
    Once,
    Run,
    RunStatus,
    Step,
    Stop,
    Stopped,
    Submission,
)
from tertulia.errors import LeaseLost
from tertulia.stores import rules
from tertulia.stores.base import RunStore
from tertulia.stores.in_memory import accepting, ledger, stopping
from tertulia.stores.in_memory.once import forget
from tertulia.stores.in_memory.state import Entry, Log, Room, State


class InMemoryRuns(RunStore):
    """The ledger of runs, for as long as the process lives."""

    def __init__(self, state: State) -> None:
        self._state = state

    @override
    async def accept(self, submission: Submission, claimant: Claimant | None) -> Accepted:
        with self._state.lock:
            room = self._state.rooms[submission.tenant]
            return accepting.accept(room, submission, claimant, now=self._state.now())

    @override
    async def retry(
        self, tenant: int, run_id: str, new_run_id: str, claimant: Claimant, *, once: Once | None = None
    ) -> Accepted:
        with self._state.lock:
            room, now = self._state.rooms[tenant], self._state.now()
            return accepting.retry(room, (run_id, new_run_id), claimant, once=once, now=now)

    @override
    async def stop(self, tenant: int, run_id: str, how: Stop, claimant: Claimant | None) -> Stopped:
        with self._state.lock:
            room = self._state.rooms[tenant]
            entry = room.entry(run_id)
            following = stopping.stop(room, entry, how, claimant, now=self._state.now())
            return Stopped(run=entry.run, next=following)

    @override
    async def asked(self, leases: Sequence[Lease]) -> dict[str, Stop]:
        with self._state.lock:
            held = [entry for lease in leases if (entry := self._held(lease)) is not None]
            return {entry.run.id: entry.run.stop for entry in held if entry.run.stop}

    @override
    async def decide(self, tenant: int, run_id: str, decision: Step, claimant: Claimant) -> Accepted:
        with self._state.lock:
            room = self._state.rooms[tenant]
            return stopping.decide(room, room.entry(run_id), decision, claimant, now=self._state.now())

    @override
    async def claim(
        self,
        claimant: Claimant,
        *,
        limit: int,
        busy_with: Collection[str] = (),
        suspects: bool = False,
    ) -> list[Claim]:
        with self._state.lock:
            now = self._state.now()
            free = [
                (log, entry)
                for log, entry in self._free(claimant, now=now)
                if entry.run.id not in busy_with and entry.is_suspect == suspects
            ]
            return [ledger.begin(log, entry, claimant, now=now) for log, entry in free[:limit]]

    @override
    async def renew(self, leases: Sequence[Lease], *, lease_us: int) -> set[str]:
        with self._state.lock:
            until, held = self._state.now() + lease_us, set()
            for lease in leases:
                if (entry := self._held(lease)) is not None:
                    entry.lease_until = until
                    held.add(lease.run_id)
            return held

    @override
    async def release(self, leases: Sequence[Lease]) -> None:
        with self._state.lock:
            for lease in leases:
                if (entry := self._held(lease)) is not None:
                    ledger.give_back(entry)

    @override
    async def commit(self, lease: Lease, commit: Commit, claimant: Claimant | None) -> Committed:
        with self._state.lock:
            room = self._state.rooms[lease.tenant]
            entry = room.runs.get(lease.run_id)
            if entry is not None and _has_happened(room, entry, lease, commit):
                return Committed(head=room.log_of(entry).row.head)
            if (entry := self._held(lease)) is None:
                raise LeaseLost().in_run(lease.run_id)
            rules.check_stop(entry.run.stop, commit)
            return _commit(room, entry, commit, claimant, now=self._state.now())

    @override
    async def record(self, told: Sequence[tuple[Lease, Frame]]) -> set[str]:
        with self._state.lock:
            now, stored = self._state.now(), set()
            for lease, frame in told:
                if (entry := self._held(lease)) is not None:
                    ledger.tell(entry, frame, now=now)
                    stored.add(lease.run_id)
            return stored

    @override
    async def get(self, tenant: int, run_id: str) -> Run:
        with self._state.lock:
            return self._state.rooms[tenant].entry(run_id).run

    @override
    async def steps(self, tenant: int, run_id: str) -> list[Step]:
        with self._state.lock:
            entry = self._state.rooms[tenant].runs.get(run_id)
            return list(entry.journal) if entry else []

    @override
    async def page(self, tenant: int, conversation_id: str, *, after: int = 0, limit: int = 100) -> list[Run]:
        with self._state.lock:
            log = self._state.rooms[tenant].logs.get(conversation_id)
            return [entry.run for entry in log.entries[max(0, after) :][:limit]] if log else []

    @override
    async def waiting(self, tenant: int, *, after: str | None = None, limit: int = 100) -> list[Run]:
        with self._state.lock:
            holders = [log.holder for log in self._state.rooms[tenant].busy.values()]
            runs = [entry.run for entry in holders if entry and entry.run.status is RunStatus.WAITING]
            chosen = [run for run in runs if after is None or run.id > after]
            return sorted(chosen, key=attrgetter("id"))[:limit]

    @override
    async def frames(self, tenant: int, run_id: str, *, after: int = -1, limit: int = 100) -> list[Frame]:
        with self._state.lock:
            entry = self._state.rooms[tenant].runs.get(run_id)
            told = [kept.frame for kept in entry.frames.values()] if entry else []
            unseen = [frame for frame in told if frame.last_seq > after]
            return sorted(unseen, key=attrgetter("first_seq"))[:limit]

    @override
    async def prune(self, *, before: int, limit: int) -> int:
        with self._state.lock:
            now, rooms = self._state.now(), self._state.rooms.values()
            keys = sum(forget(room, now=now, limit=limit) for room in rooms)
            entries = (e for room in rooms for e in room.runs.values() if e.has_ended_before(before))
            old = [(e, seq) for e in entries for seq, kept in e.frames.items() if kept.stored_at < before]
            for entry, seq in old[:limit]:
                del entry.frames[seq]
            return keys + len(old[:limit])

    def _held(self, lease: Lease) -> Entry | None:
        """Return the run that this lease still holds and that was not given back."""
        entry = self._state.rooms[lease.tenant].runs.get(lease.run_id)
        if entry is None or entry.owner != lease.owner:
            return None
        held = rules.is_held(lease, status=entry.run.status, epoch=entry.run.epoch)
        return entry if held else None

    def _free(self, claimant: Claimant, *, now: int) -> Iterator[tuple[Log, Entry]]:
        """Yield the conversations whose first unfinished run this claimant may have, and that run."""
        for room in self._state.rooms.values():
            for log in room.busy.values():
                first = log.unfinished[0]
                if first.may_begin(now) and rules.can_perform(claimant, first.run.performer):
                    yield log, first


def _commit(room: Room, entry: Entry, commit: Commit, claimant: Claimant | None, *, now: int) -> Committed:
    log = room.log_of(entry)
    ledger.write(room, log, entry, commit, now=now)
    if commit.ending is not None:
        ledger.end(room, log, entry, commit.ending, now=now)
        following = ledger.begin_next(log, claimant, now=now)
        return Committed(head=log.row.head, next=following)
    if commit.wait is not None:
        ledger.wait(entry, commit.wait)
    return Committed(head=log.row.head)


def _has_happened(room: Room, entry: Entry, lease: Lease, commit: Commit) -> bool:
    return rules.is_repeated(
        commit,
        lease,
        status=entry.run.status,
        epoch=entry.run.epoch,
        is_written=bool(commit.messages) and commit.messages[-1].id in room.written,
    )
