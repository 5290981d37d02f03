"""The ledger of runs in SQL."""

import logging
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import bindparam, select
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
    Run,
    Step,
    Submission,
)
from tertulia.errors import NotFound
from tertulia.messages import now_us
from tertulia.stores.base import RunStore
from tertulia.stores.sql import accepting, claiming, committing, pruning
from tertulia.stores.sql.database import Database, SeesOwners, Unit
from tertulia.stores.sql.placing import GET_RUN, STEPS_OF_RUN
from tertulia.stores.sql.rows import run_of, step_of
from tertulia.stores.sql.schema import FRAMES
from tertulia.stores.sql.statements import Connection, Row, Statement

_LOG: Final = logging.getLogger(__name__)

_FRAMES: Final = Statement(
    select(FRAMES.c.first_seq, FRAMES.c.last_seq, FRAMES.c.data)
    .where(
        FRAMES.c.tenant == bindparam("tenant"),
        FRAMES.c.run_id == bindparam("run"),
        FRAMES.c.last_seq > bindparam("after"),
    )
    .order_by(FRAMES.c.first_seq)
)


class SqlRuns(RunStore):
    """The ledger in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sees = database if isinstance(database, SeesOwners) else None

    @override
    async def accept(self, submission: Submission, claimant: Claimant | None) -> Accepted:
        self._hold(claimant)

        async def unit(db: Connection) -> Accepted:
            return await accepting.accept(db, submission, claimant)

        return await self._database.write(unit)

    @override
    async def retry(self, tenant: int, run_id: str, new_run_id: str, claimant: Claimant) -> Accepted:
        self._hold(claimant)

        async def unit(db: Connection) -> Accepted:
            return await accepting.retry(db, tenant, (run_id, new_run_id), claimant)

        return await self._database.write(unit)

    @override
    async def claim(self, claimant: Claimant, *, limit: int, busy_with: Collection[str] = ()) -> list[Claim]:
        if not claimant.performers:
            return []
        self._hold(claimant)
        await self._void_leases_of_the_dead()
        look = partial(claiming.candidates, claimant=claimant, limit=limit + len(busy_with))
        expired, orphaned = await self._database.read(look)
        expired = [run for run in expired if ids.from_bytes(ids.RUN, run[2]) not in busy_with]
        tries = [partial(claiming.take_over, claimant=claimant, candidate=run) for run in expired]
        tries += [partial(claiming.start, claimant=claimant, candidate=run) for run in orphaned]
        claims = [await self._one(each) for each in tries[:limit]]
        return [claim for claim in claims if claim is not None]

    async def _one(self, unit: Unit[Claim | None]) -> Claim | None:
        """Claim one run; a row that cannot be read does not keep the others waiting."""
        try:
            return await self._database.write(unit)
        except (LookupError, ValueError):
            _LOG.exception("a run cannot be claimed: its rows cannot be read")
            return None

    @override
    async def renew(self, leases: Sequence[Lease], *, lease_us: int) -> set[str]:
        if not leases:
            return set()
        return await self._database.write(partial(claiming.renew, leases=leases, lease_us=lease_us))

    @override
    async def release(self, leases: Sequence[Lease]) -> None:
        if leases:
            await self._database.write(partial(claiming.release, leases=leases))

    @override
    async def commit(self, lease: Lease, commit: Commit, claimant: Claimant | None) -> Committed:
        self._hold(claimant)

        async def unit(db: Connection) -> Committed:
            return await committing.commit(db, lease, commit, claimant)

        return await self._database.write(unit)

    @override
    async def get(self, tenant: int, run_id: str) -> Run:
        rows = await self._all(GET_RUN, tenant, run_id)
        if not rows:
            raise NotFound("there is no such run")
        return run_of(rows[0])

    @override
    async def steps(self, tenant: int, run_id: str) -> list[Step]:
        return [step_of(row) for row in await self._all(STEPS_OF_RUN, tenant, run_id)]

    @override
    async def frames(self, tenant: int, run_id: str, *, after: int = -1) -> list[Frame]:
        rows = await self._all(_FRAMES, tenant, run_id, after=after)
        return [Frame(first_seq=first, last_seq=last, data=data) for first, last, data in rows]

    @override
    async def prune(self, *, before: int, limit: int) -> int:
        return await self._database.write(partial(pruning.prune, before=before, now=now_us(), limit=limit))

    def _hold(self, claimant: Claimant | None) -> None:
        if self._sees is not None and claimant is not None:
            self._sees.hold(claimant.owner)

    async def _void_leases_of_the_dead(self) -> None:
        """Let the leases of owners that are certain to be dead run out at once."""
        if self._sees is None:
            return
        for owner in await self._database.read(claiming.owners):
            if self._sees.is_gone(owner):
                await self._database.write(partial(claiming.void, owner=owner))

    async def _all(self, statement: Statement, tenant: int, run_id: str, **more: Any) -> Sequence[Row]:
        params = {"tenant": tenant, "run": ids.sought(run_id), **more}

        async def unit(db: Connection) -> Sequence[Row]:
            return await db.all(statement, params)

        return await self._database.read(unit)
