"""The ledger of runs in SQL."""

import logging
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import bindparam, literal_column, select
from typing_extensions import override

from tertulia import ids
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
    Step,
    Stop,
    Stopped,
    Submission,
)
from tertulia.errors import StoreBusy, StoreUnavailable
from tertulia.messages import now_us
from tertulia.stores.base import RunStore
from tertulia.stores.sql import (
    accepting,
    claiming,
    committing,
    deciding,
    journal,
    pruning,
    recording,
    standing,
    stopping,
)
from tertulia.stores.sql.claiming import Candidate
from tertulia.stores.sql.database import Database, Unit
from tertulia.stores.sql.dead import OF_RUNS, Watch
from tertulia.stores.sql.rows import RUN_COLUMNS, run_of
from tertulia.stores.sql.schema import HOLDS, RUNS
from tertulia.stores.sql.statements import Connection, Row, Statement

_LOG: Final = logging.getLogger(__name__)

_SPARE: Final = 50
"""How many runs more than wanted are looked at: some cannot be read, or somebody else is quicker."""

_R: Final = RUNS.c
_PAGE: Final = Statement(
    select(*RUN_COLUMNS)
    .where(
        _R.tenant == bindparam("tenant"),
        _R.conversation_id == bindparam("conversation"),
        _R.n > bindparam("after"),
    )
    .order_by(_R.n)
    .limit(bindparam("limit"))
)
_HOLDER: Final = RUNS.alias("holder")
# Found by the index of runs that hold a conversation. The sum is there to hide the tenant from
# SQLite, which would rather go through all runs of a tenant by their key.
_WAITS: Final = select(_HOLDER.c.id).where(
    HOLDS,
    _HOLDER.c.tenant + literal_column("0") == bindparam("tenant"),
    _HOLDER.c.status == literal_column("'waiting'"),
    _HOLDER.c.id > bindparam("after"),
)
_WAITING: Final = Statement(
    select(*RUN_COLUMNS)
    .where(_R.tenant == bindparam("tenant"), _R.id.in_(_WAITS))
    .order_by(_R.id)
    .limit(bindparam("limit"))
)


class SqlRuns(RunStore):
    """The ledger in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watch = Watch(database)

    @override
    async def accept(self, submission: Submission, claimant: Claimant | None) -> Accepted:
        await self._database.check_room()
        self._hold(claimant)

        async def unit(db: Connection) -> Accepted:
            return await accepting.accept(db, submission, claimant)

        return await self._database.write(unit, tenant=submission.tenant)

    @override
    async def retry(
        self, tenant: int, run_id: str, new_run_id: str, claimant: Claimant, *, once: Once | None = None
    ) -> Accepted:
        await self._database.check_room()
        self._hold(claimant)

        async def unit(db: Connection) -> Accepted:
            return await accepting.retry(db, tenant, (run_id, new_run_id), claimant, key=once)

        return await self._database.write(unit, tenant=tenant)

    @override
    async def stop(self, tenant: int, run_id: str, how: Stop, claimant: Claimant | None) -> Stopped:
        self._hold(claimant)

        async def unit(db: Connection) -> Stopped:
            _, stopped = await stopping.stop(db, tenant, run_id, how, claimant)
            return stopped

        return await self._database.write(unit, tenant=tenant)

    @override
    async def asked(self, leases: Sequence[Lease]) -> dict[str, Stop]:
        if not leases:
            return {}
        return await self._database.read(partial(stopping.asked, leases=leases), tenant=None)

    @override
    async def decide(self, tenant: int, run_id: str, decision: Step, claimant: Claimant) -> Accepted:
        self._hold(claimant)

        async def unit(db: Connection) -> Accepted:
            return await deciding.decide(db, tenant, run_id, decision, claimant)

        return await self._database.write(unit, tenant=tenant)

    @override
    async def claim(
        self,
        claimant: Claimant,
        *,
        limit: int,
        busy_with: Collection[str] = (),
        suspects: bool = False,
    ) -> list[Claim]:
        if not claimant.performers or limit <= 0:
            return []
        self._hold(claimant)
        await self._watch.void(OF_RUNS)
        most = limit + _SPARE

        async def look(db: Connection) -> tuple[list[Candidate], list[Candidate]]:
            expired = await claiming.expired(db, claimant, limit=most + len(busy_with), suspects=suspects)
            return expired, [] if suspects else await claiming.orphaned(db, claimant, limit=most)

        expired, orphaned = await self._database.read(look, tenant=None)
        free = [run for run in expired if run.run_id not in busy_with]
        tries = [partial(claiming.take_over, claimant=claimant, candidate=run) for run in free]
        tries += [partial(claiming.start, claimant=claimant, candidate=run) for run in orphaned]
        return await self._first(tries, limit=limit)

    async def _first(self, tries: Sequence[Unit[Claim | None]], *, limit: int) -> list[Claim]:
        """Claim one after another until there are enough; those that cannot be had do not count."""
        claims: list[Claim] = []
        for each in tries:
            if len(claims) == limit:
                break
            claim = await self._one(each)
            if claim is not None:
                claims.append(claim)
        return claims

    async def _one(self, unit: Unit[Claim | None]) -> Claim | None:
        """Claim one run; a row that cannot be read does not keep the others waiting."""
        try:
            return await self._database.write(unit, tenant=None)
        except (LookupError, ValueError):
            _LOG.exception("a run cannot be claimed: its rows cannot be read")
            return None

    @override
    async def renew(self, leases: Sequence[Lease], *, lease_us: int) -> set[str]:
        if not leases:
            return set()
        renew_free = partial(claiming.renew_free, leases=leases, lease_us=lease_us)
        renewed, passed_over = await self._database.write(renew_free, tenant=None)
        if not passed_over:
            return renewed
        # Whoever has locked them may stand still for longer than they last.
        renew = partial(claiming.renew, leases=passed_over, lease_us=lease_us)
        try:
            return renewed | await self._database.write(renew, tenant=None)
        except (StoreBusy, StoreUnavailable):
            return renewed | {lease.run_id for lease in passed_over}

    @override
    async def release(self, leases: Sequence[Lease]) -> None:
        if leases:
            await self._database.write(partial(claiming.release, leases=leases), tenant=None)

    @override
    async def commit(self, lease: Lease, commit: Commit, claimant: Claimant | None) -> Committed:
        self._hold(claimant)

        async def unit(db: Connection) -> Committed:
            return await committing.commit(db, lease, commit, claimant)

        return await self._database.write(unit, tenant=lease.tenant)

    @override
    async def record(self, told: Sequence[tuple[Lease, Frame]]) -> set[str]:
        if not told:
            return set()
        return await self._database.write(partial(recording.record, told=told), tenant=None)

    @override
    async def get(self, tenant: int, run_id: str) -> Run:
        unit = partial(standing.run_found, tenant=tenant, raw=ids.sought(run_id))
        return await self._database.read(unit, tenant=tenant)

    @override
    async def steps(self, tenant: int, run_id: str) -> list[Step]:
        unit = partial(journal.steps, tenant=tenant, run=ids.sought(run_id))
        return await self._database.read(unit, tenant=tenant)

    @override
    async def page(self, tenant: int, conversation_id: str, *, after: int = 0, limit: int = 100) -> list[Run]:
        rows = await self._all(
            _PAGE, tenant, conversation=ids.sought(conversation_id), after=after, limit=limit
        )
        return [run_of(row) for row in rows]

    @override
    async def waiting(self, tenant: int, *, after: str | None = None, limit: int = 100) -> list[Run]:
        seen = ids.to_bytes(after) if after else bytes(16)
        return [run_of(row) for row in await self._all(_WAITING, tenant, after=seen, limit=limit)]

    @override
    async def frames(self, tenant: int, run_id: str, *, after: int = -1, limit: int = 100) -> list[Frame]:
        rows = await self._all(
            recording.FRAMES_AFTER, tenant, run=ids.sought(run_id), after=after, limit=limit
        )
        return [Frame(first_seq=first, last_seq=last, data=data) for first, last, data in rows]

    @override
    async def prune(self, *, before: int, limit: int) -> int:
        unit = partial(pruning.prune, before=before, now=now_us(), limit=limit)
        return await self._database.write(unit, tenant=None)

    def _hold(self, claimant: Claimant | None) -> None:
        if claimant is not None:
            self._watch.hold(claimant.owner)

    async def _all(self, statement: Statement, tenant: int, **more: Any) -> Sequence[Row]:
        async def unit(db: Connection) -> Sequence[Row]:
            return await db.all(statement, {"tenant": tenant, **more})

        return await self._database.read(unit, tenant=tenant)
