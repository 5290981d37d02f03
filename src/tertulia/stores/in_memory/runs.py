"""The ledger of runs, in memory."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
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
    Run,
    Step,
    Submission,
)
from tertulia.errors import LeaseLost, NotFound
from tertulia.stores import rules
from tertulia.stores.base import RunStore
from tertulia.stores.in_memory import ledger
from tertulia.stores.in_memory.conversations import find, make
from tertulia.stores.in_memory.state import Entry, KnownKey, Log, Room, State


class InMemoryRuns(RunStore):
    """The ledger of runs, for as long as the process lives."""

    def __init__(self, state: State) -> None:
        self._state = state

    @override
    async def accept(self, submission: Submission, claimant: Claimant | None) -> Accepted:
        with self._state.lock:
            room = self._state.rooms[submission.tenant]
            return _accept(room, submission, claimant, now=self._state.now())

    @override
    async def retry(self, tenant: int, run_id: str, new_run_id: str, claimant: Claimant) -> Accepted:
        with self._state.lock:
            room = self._state.rooms[tenant]
            earlier = _known(room, run_id)
            log = room.logs[earlier.run.conversation_id]
            rules.check_repeatable(earlier.run, log.standing())
            run = ledger.asked_again(earlier.run, new_run_id, now=self._state.now())
            return _again(room, log, run, earlier=earlier, claimant=claimant)

    @override
    async def claim(self, claimant: Claimant, *, limit: int, busy_with: Collection[str] = ()) -> list[Claim]:
        with self._state.lock:
            now = self._state.now()
            free = [
                log
                for log in _free(self._state.rooms.values(), claimant, now=now)
                if log.unfinished[0].run.id not in busy_with
            ]
            return [ledger.begin(log, log.unfinished[0], claimant, now=now) for log in free[:limit]]

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
                return Committed(head=room.logs[entry.run.conversation_id].row.head)
            if (entry := self._held(lease)) is None:
                raise LeaseLost().in_run(lease.run_id)
            return _commit(room, entry, commit, claimant, now=self._state.now())

    @override
    async def get(self, tenant: int, run_id: str) -> Run:
        with self._state.lock:
            return _known(self._state.rooms[tenant], run_id).run

    @override
    async def steps(self, tenant: int, run_id: str) -> list[Step]:
        with self._state.lock:
            entry = self._state.rooms[tenant].runs.get(run_id)
            return list(entry.steps.values()) if entry else []

    @override
    async def frames(self, tenant: int, run_id: str, *, after: int = -1) -> list[Frame]:
        with self._state.lock:
            entry = self._state.rooms[tenant].runs.get(run_id)
            stored = sorted(entry.frames, key=attrgetter("first_seq")) if entry else []
            return [frame for frame in stored if frame.last_seq > after]

    @override
    async def prune(self, *, before: int, limit: int) -> int:
        with self._state.lock:
            gone = sum(_forget_keys(room, now=self._state.now()) for room in self._state.rooms.values())
            entries = (entry for room in self._state.rooms.values() for entry in room.runs.values())
            old = [e for e in entries if e.frames and (e.run.ended_at or before) < before][:limit]
            for entry in old:
                gone += len(entry.frames)
                entry.frames.clear()
            return gone

    def _held(self, lease: Lease) -> Entry | None:
        """Return the run that this lease still holds and that was not given back."""
        entry = self._state.rooms[lease.tenant].runs.get(lease.run_id)
        if entry is None or entry.owner != lease.owner:
            return None
        held = rules.is_held(lease, status=entry.run.status, epoch=entry.run.epoch)
        return entry if held else None


def _known(room: Room, run_id: str) -> Entry:
    entry = room.runs.get(run_id)
    if entry is None:
        raise NotFound("there is no such run")
    return entry


def _commit(room: Room, entry: Entry, commit: Commit, claimant: Claimant | None, *, now: int) -> Committed:
    log = room.logs[entry.run.conversation_id]
    ledger.write(room, log, entry, commit, now=now)
    if commit.ending is None:
        return Committed(head=log.row.head)
    ledger.end(room, log, entry, commit.ending, now=now)
    following = _begin_next(log, claimant, now=now)
    return Committed(head=log.row.head, next=following)


def _has_happened(room: Room, entry: Entry, lease: Lease, commit: Commit) -> bool:
    return rules.is_repeated(
        commit,
        lease,
        status=entry.run.status,
        epoch=entry.run.epoch,
        is_written=bool(commit.messages) and commit.messages[-1].id in room.written,
    )


def _accept(room: Room, submission: Submission, claimant: Claimant | None, *, now: int) -> Accepted:
    found = find(room, submission.conversation)
    existing = found if isinstance(found, Log) else None
    scopes = rules.key_scopes(submission.conversation, existing=existing.row.id if existing else None)
    known = _known_key(room, scopes[0], submission.key, now=now)
    if known is not None:
        return _repeat(room, submission, known, claimant, now=now)
    standing = existing.standing() if existing else rules.Standing()
    place = rules.admit(standing, multitask=submission.multitask, expected_head=submission.expected_head)
    log = found if isinstance(found, Log) else make(room, found, tenant=submission.tenant, now=now)
    _remember_key(room, scopes, submission, now=now)
    message = ledger.said(submission, now=now)
    run = ledger.asked(submission, now=now)
    entry = ledger.enter(room, log, run, message=message, tokens=submission.tokens)
    claim = _begin_next(log, claimant, now=now) if place == "claim" else None
    return Accepted(run=entry.run, conversation=log.row, claim=claim)


def _repeat(
    room: Room, submission: Submission, known: KnownKey, claimant: Claimant | None, *, now: int
) -> Accepted:
    first = room.runs[known.run_id].run
    log = room.logs[first.conversation_id]
    earlier = log.newest_on(first.input_message_id)
    outcome = rules.repeat(
        earlier.run,
        log.standing(),
        request_hash=submission.request_hash,
        stored_hash=known.request_hash,
    )
    if outcome == "join":
        return Accepted(run=earlier.run, conversation=log.row, is_new=False)
    run = replace(
        ledger.asked(submission, now=now),
        input_message_id=earlier.run.input_message_id,
        input_number=earlier.run.input_number,
    )
    return _again(room, log, run, earlier=earlier, claimant=claimant)


def _again(room: Room, log: Log, run: Run, *, earlier: Entry, claimant: Claimant | None) -> Accepted:
    entry = ledger.enter(room, log, run, message=earlier.input, tokens=earlier.tokens)
    claim = _begin_next(log, claimant, now=run.created_at)
    return Accepted(run=entry.run, conversation=log.row, claim=claim)


def _begin_next(log: Log, claimant: Claimant | None, *, now: int) -> Claim | None:
    """Give the first queued run, if there is one, to the claimant, if it can perform it."""
    entry = log.unfinished[0] if log.unfinished else None
    if entry is None or claimant is None or not rules.can_perform(claimant, entry.run.performer):
        return None
    return ledger.begin(log, entry, claimant, now=now)


def _free(rooms: Iterable[Room], claimant: Claimant, *, now: int) -> Iterator[Log]:
    """Yield the conversations whose first unfinished run this claimant may have."""
    for room in rooms:
        for log in room.busy.values():
            first = log.unfinished[0]
            if first.may_begin(now) and rules.can_perform(claimant, first.run.performer):
                yield log


def _known_key(room: Room, scope: str, key: str | None, *, now: int) -> KnownKey | None:
    if key is None:
        return None
    known = room.keys.get((scope, key))
    return known if known is not None and known.expires > now else None


def _remember_key(room: Room, scopes: tuple[str, ...], submission: Submission, *, now: int) -> None:
    if submission.key is None:
        return
    _forget_keys(room, now=now)
    for scope in scopes:
        room.keys[scope, submission.key] = KnownKey(
            request_hash=submission.request_hash, run_id=submission.run_id, expires=now + rules.KEY_LIFE_US
        )


def _forget_keys(room: Room, *, now: int) -> int:
    """Drop what has expired and say how many that were; the oldest stand first."""
    known = len(room.keys)
    while room.keys and (oldest := next(iter(room.keys.items())))[1].expires <= now:
        del room.keys[oldest[0]]
    return known - len(room.keys)
