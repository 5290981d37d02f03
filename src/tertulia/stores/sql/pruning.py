"""Letting go of bookkeeping that nobody will ask for any more."""

from collections.abc import AsyncIterator
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, select, tuple_

from tertulia.stores.sql.schema import FRAMES, IDEMPOTENCY
from tertulia.stores.sql.statements import Connection, Statement

_F: Final = FRAMES.c
_I: Final = IDEMPOTENCY.c

_NEXT_TENANT: Final = Statement(select(func.min(_F.tenant)).where(_F.tenant > bindparam("tenant")))
_OLD_FRAMES: Final = (
    select(_F.tenant, _F.run_id, _F.first_seq)
    .where(
        _F.tenant == bindparam("tenant"),
        _F.run_id < bindparam("begun_before"),
        _F.created_at < bindparam("written_before"),
    )
    .limit(bindparam("limit"))
)
_DROP_FRAMES: Final = Statement(
    delete(FRAMES).where(tuple_(_F.tenant, _F.run_id, _F.first_seq).in_(_OLD_FRAMES)).returning(_F.tenant)
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
    async for tenant in _tenants(db):
        params: dict[str, Any] = {"tenant": tenant, "begun_before": _first_id(before)}
        gone += len(await db.all(_DROP_FRAMES, {**params, "written_before": before, "limit": limit}))
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
