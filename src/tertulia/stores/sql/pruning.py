"""Letting go of bookkeeping that nobody will ask for any more."""

from collections.abc import AsyncIterator
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, literal_column, select, tuple_

from tertulia.stores.sql.schema import FRAMES, IDEMPOTENCY, RUNS
from tertulia.stores.sql.statements import Connection, Statement

_F: Final = FRAMES.c
_OLD: Final = FRAMES.alias("old")
_I: Final = IDEMPOTENCY.c

_NEXT_TENANT: Final = Statement(select(func.min(_F.tenant)).where(_F.tenant > bindparam("tenant")))
# One look into the index for each run: the events of those that are kept are not gone through.
_NEXT_RUN: Final = Statement(
    select(_F.run_id, RUNS.c.ended_at)
    .join(RUNS, (RUNS.c.tenant == _F.tenant) & (RUNS.c.id == _F.run_id))
    .where(
        _F.tenant == bindparam("tenant"),
        _F.run_id > bindparam("seen"),
        _F.run_id < bindparam("begun_before"),
    )
    .order_by(_F.run_id)
    .limit(literal_column("1"))
)
_OF_RUN: Final = (_F.tenant == bindparam("tenant"), _F.run_id == bindparam("run"))
_DROP_FRAMES: Final = Statement(
    delete(FRAMES)
    .where(
        *_OF_RUN,
        _F.first_seq.in_(
            select(_OLD.c.first_seq)
            .where(_OLD.c.tenant == bindparam("tenant"), _OLD.c.run_id == bindparam("run"))
            .limit(bindparam("limit"))
        ),
    )
    .returning(_F.first_seq)
)
_OLD_KEYS: Final = (
    select(_I.tenant, _I.scope, _I.key).where(_I.expires < bindparam("now")).limit(bindparam("limit"))
)
_DROP_KEYS: Final = Statement(
    delete(IDEMPOTENCY).where(tuple_(_I.tenant, _I.scope, _I.key).in_(_OLD_KEYS)).returning(_I.tenant)
)


async def prune(db: Connection, *, before: int, now: int, limit: int) -> int:
    """Do what :meth:`RunStore.prune` promises.

    Events are found by the ids of their runs, which tell when those were made: an index of the
    events' own times would have to be written with every one of them.
    """
    gone = len(await db.all(_DROP_KEYS, {"now": now, "limit": limit}))
    left = limit
    async for tenant in _tenants(db):
        left -= await _frames(db, tenant, before=before, limit=left)
    return gone + limit - left


async def _frames(db: Connection, tenant: int, *, before: int, limit: int) -> int:
    """Let go of events of runs that have ended before a time; return how many."""
    params: dict[str, Any] = {"tenant": tenant, "begun_before": _first_id(before)}
    gone, seen = 0, bytes(16)
    while gone < limit:
        row = await db.one(_NEXT_RUN, {**params, "seen": seen})
        if row is None:
            break
        seen = bytes(row[0])
        if row[1] is not None and row[1] < before:
            gone += len(await db.all(_DROP_FRAMES, {"tenant": tenant, "run": seen, "limit": limit - gone}))
    return gone


async def _tenants(db: Connection) -> AsyncIterator[int]:
    """Yield every tenant that has events, at the price of one look into the index for each."""
    row = await db.one(_NEXT_TENANT, {"tenant": -1})
    while row is not None and row[0] is not None:
        yield row[0]
        row = await db.one(_NEXT_TENANT, {"tenant": row[0]})


def _first_id(microseconds: int) -> bytes:
    """Return the least UUIDv7 of a time."""
    return (microseconds // 1000).to_bytes(6, "big") + bytes(10)
