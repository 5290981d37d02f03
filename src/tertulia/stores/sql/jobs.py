"""Jobs in SQL: claimed by one, kept until they are done."""

from collections.abc import Collection, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    and_,
    bindparam,
    delete,
    literal_column,
    null,
    or_,
    select,
    text,
    update,
)
from typing_extensions import override

from tertulia import ids
from tertulia.conversations import Job, JobStatus, StoredJob
from tertulia.errors import NotFound
from tertulia.messages import now_us
from tertulia.stores.base import JobStore
from tertulia.stores.sql.database import Database
from tertulia.stores.sql.dead import OF_JOBS, Watch
from tertulia.stores.sql.schema import JOBS
from tertulia.stores.sql.statements import (
    Connection,
    LeaseClock,
    Row,
    Statement,
    listed,
    places,
    size_for,
)

_J: Final = JOBS.c
_COLUMNS: Final[tuple[Column[Any], ...]] = (
    _J.tenant,
    _J.id,
    _J.kind,
    _J.payload,
    _J.status,
    _J.conversation_id,
    _J.run_id,
    _J.attempt,
    _J.due_at,
    _J.error,
    _J.created_at,
)
_QUEUED: Final[ColumnElement[str]] = literal_column("'queued'")
_RUNNING: Final[ColumnElement[str]] = literal_column("'running'")
_DEAD: Final[ColumnElement[str]] = literal_column("'dead'")
_MAY_BE_DUE: Final = text("status IN ('queued', 'running')")
"""As the index of what is due says it."""

_KEY: Final = (_J.tenant == bindparam("tenant"), _J.id == bindparam("job"))
# Attempts are counted anew when a job is revived, but then it is due at another time.
_CLAIMED: Final = (
    *_KEY,
    _J.status == _RUNNING,
    _J.attempt == bindparam("claimed_attempt"),
    _J.due_at == bindparam("claimed_due_at"),
)
_LET_GO: Final[dict[str, Any]] = {"owner": null(), "lease_until": null()}
_FINISH: Final = Statement(delete(JOBS).where(*_CLAIMED))
_POSTPONE: Final = Statement(
    update(JOBS)
    .where(*_CLAIMED)
    .values(**_LET_GO, status=_QUEUED, due_at=bindparam("new_due_at"), error=bindparam("new_error"))
)
_BURY: Final = Statement(
    update(JOBS).where(*_CLAIMED).values(**_LET_GO, status=_DEAD, error=bindparam("new_error"))
)
_REVIVE: Final = Statement(
    update(JOBS)
    .where(*_KEY, _J.status == _DEAD)
    .values(status=_QUEUED, attempt=literal_column("0"), due_at=bindparam("new_due_at"))
)
_GET: Final = Statement(select(*_COLUMNS).where(*_KEY))
_PAGE: Final = (
    select(*_COLUMNS)
    .where(_J.tenant == bindparam("tenant"), _J.id > bindparam("after"))
    .order_by(_J.id)
    .limit(bindparam("limit"))
)
_LIST: Final = Statement(_PAGE)
_LIST_OF: Final = Statement(_PAGE.where(_J.status == bindparam("wanted")))


@cache
def _claim(size: int) -> Statement:
    """Return the statement that takes jobs of up to ``size`` kinds, passing over those locked just now."""
    clock = select(LeaseClock()).scalar_subquery()  # asked once: PostgreSQL's own moves on with every row
    due = (
        select(_J.tenant, _J.id)
        .where(
            _MAY_BE_DUE,
            _J.due_at <= bindparam("at"),
            or_(_J.status == _QUEUED, and_(_J.status == _RUNNING, _J.lease_until <= clock)),
            _J.kind.in_(places(size, prefix="kind")),
        )
        .order_by(_J.due_at, _J.id)
        .limit(bindparam("limit"))
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    return Statement(
        update(JOBS)
        .where(_J.tenant == due.c.tenant, _J.id == due.c.id)
        .values(
            status=_RUNNING,
            owner=bindparam("new_owner"),
            lease_until=LeaseClock() + bindparam("lease_us"),
            attempt=_J.attempt + literal_column("1"),
        )
        .returning(*_COLUMNS)
    )


class SqlJobs(JobStore):
    """Jobs in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watch = Watch(database)

    @override
    async def claim(
        self, owner: str, kinds: Collection[str], *, limit: int, lease_us: int
    ) -> list[StoredJob]:
        if not kinds or limit <= 0:
            return []
        self._watch.hold(owner)
        await self._watch.void(OF_JOBS)
        size = size_for(len(kinds))
        params = {
            **listed(sorted(kinds), prefix="kind", size=size),
            "at": now_us(),
            "limit": limit,
            "new_owner": ids.to_bytes(owner),
            "lease_us": lease_us,
        }

        async def unit(db: Connection) -> Sequence[Row]:
            return await db.all(_claim(size), params)

        claimed = [_job_of(row) for row in await self._database.write(unit, tenant=None)]
        return sorted(claimed, key=attrgetter("due_at", "job.id"))

    @override
    async def finish(self, claimed: StoredJob) -> None:
        await self._write(_FINISH, claimed)

    @override
    async def postpone(self, claimed: StoredJob, *, due_at: int, error: str) -> None:
        await self._write(_POSTPONE, claimed, new_due_at=due_at, new_error=error)

    @override
    async def bury(self, claimed: StoredJob, *, error: str) -> None:
        await self._write(_BURY, claimed, new_error=error)

    @override
    async def revive(self, tenant: int, job_id: str) -> StoredJob:
        key = {"tenant": tenant, "job": ids.sought(job_id)}

        async def unit(db: Connection) -> Row | None:
            await db.run(_REVIVE, {**key, "new_due_at": now_us()})
            return await db.one(_GET, key)

        return _there(await self._database.write(unit, tenant=tenant))

    @override
    async def get(self, tenant: int, job_id: str) -> StoredJob:
        async def unit(db: Connection) -> Row | None:
            return await db.one(_GET, {"tenant": tenant, "job": ids.sought(job_id)})

        return _there(await self._database.read(unit, tenant=tenant))

    @override
    async def page(
        self, tenant: int, *, status: JobStatus | None = None, after: str | None = None, limit: int = 100
    ) -> list[StoredJob]:
        statement = _LIST if status is None else _LIST_OF
        params = {"tenant": tenant, "after": ids.to_bytes(after) if after else bytes(16), "limit": limit}

        async def unit(db: Connection) -> Sequence[Row]:
            return await db.all(statement, {**params, "wanted": None if status is None else str(status)})

        return [_job_of(row) for row in await self._database.read(unit, tenant=tenant)]

    async def _write(self, statement: Statement, claimed: StoredJob, **change: object) -> None:
        """Change a job, unless somebody else has claimed it since."""
        params = {
            "tenant": claimed.tenant,
            "job": ids.to_bytes(claimed.job.id),
            "claimed_attempt": claimed.attempt,
            "claimed_due_at": claimed.due_at,
            **change,
        }

        async def unit(db: Connection) -> None:
            await db.run(statement, params)

        await self._database.write(unit, tenant=claimed.tenant)


def _there(row: Row | None) -> StoredJob:
    if row is None:
        raise NotFound("there is no such job")
    return _job_of(row)


def _job_of(row: Row) -> StoredJob:
    tenant, ident, kind, payload, status, conversation, run, attempt, due_at, error, created_at = row
    return StoredJob(
        tenant=tenant,
        job=Job(id=ids.from_bytes(ids.JOB, ident), kind=kind, payload=payload),
        status=JobStatus(status),
        conversation_id=None if conversation is None else ids.from_bytes(ids.CONVERSATION, conversation),
        run_id=None if run is None else ids.from_bytes(ids.RUN, run),
        attempt=attempt,
        due_at=due_at,
        error=error,
        created_at=created_at,
    )
