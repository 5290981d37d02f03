"""Finding runs that nobody carries out: those of dead owners, and those left in a queue."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, bindparam, case, exists, literal_column, null, select, update

from tertulia import ids
from tertulia.conversations import Claim, Claimant, Lease, RunStatus
from tertulia.stores import rules
from tertulia.stores.sql import placing, standing
from tertulia.stores.sql.rows import run_of
from tertulia.stores.sql.schema import CONVERSATIONS, HOLDS, RUNS
from tertulia.stores.sql.statements import Connection, LeaseClock, Statement, listed, places, size_for

_R: Final = RUNS.c
_C: Final = CONVERSATIONS.c
_RUN_KEY: Final = (_R.tenant == bindparam("tenant"), _R.id == bindparam("run"))
_HELD: Final = (
    *_RUN_KEY,
    _R.epoch == bindparam("held_epoch"),
    _R.owner == bindparam("held_by"),
    _R.status == literal_column("'running'"),
)

_FREE: Final = RUNS.alias("free")
_RENEW: Final = Statement(
    update(RUNS)
    .where(
        *_HELD,
        _R.id.in_(
            select(_FREE.c.id)
            .where(_FREE.c.tenant == bindparam("tenant"), _FREE.c.id == bindparam("run"))
            .with_for_update(skip_locked=True)
        ),
    )
    .values(lease_until=LeaseClock() + bindparam("lease_us"))
    .returning(_R.id)
)
_IS_HELD: Final = Statement(select(_R.id).where(*_HELD))
_RELEASE: Final = Statement(
    update(RUNS)
    .where(*_HELD)
    .values(
        owner=null(),
        lease_until=literal_column("0"),
        attempt=case(
            (_R.attempt > literal_column("0"), _R.attempt - literal_column("1")), else_=literal_column("0")
        ),
    )
)


@cache
def _expired(size: int) -> Statement:
    """Return the statement that finds runs whose lease has run out, longest ago first.

    It walks the index of runs that hold a conversation, which has no more entries than there are
    runs under way: an index of their leases would have to be written twice a turn.
    """
    return Statement(
        select(_R.tenant, _R.conversation_id, _R.id)
        .where(
            HOLDS,
            _R.status == literal_column("'running'"),
            _R.lease_until < LeaseClock(),
            _R.performer.in_(places(size, prefix="performer")),
        )
        .order_by(_R.lease_until)
        .limit(bindparam("limit"))
    )


@cache
def _orphaned(size: int) -> Statement:
    """Return the statement that finds free conversations whose first queued run can be performed."""
    earlier = RUNS.alias("earlier")
    queued: ColumnElement[str] = literal_column("'queued'")
    is_first = ~exists().where(
        earlier.c.tenant == _R.tenant,
        earlier.c.conversation_id == _R.conversation_id,
        earlier.c.status == queued,
        earlier.c.n < _R.n,
    )
    return Statement(
        select(_C.tenant, _C.id, _R.id)
        .join(RUNS, (_R.tenant == _C.tenant) & (_R.conversation_id == _C.id))
        .where(
            _C.queued > literal_column("0"),
            _C.holder.is_(None),
            _R.status == queued,
            _R.performer.in_(places(size, prefix="performer")),
            is_first,
        )
        .order_by(_R.id)
        .limit(bindparam("limit"))
    )


_OWNERS: Final = Statement(
    select(_R.owner)
    .where(HOLDS, _R.status == literal_column("'running'"), _R.lease_until >= LeaseClock())
    .distinct()
)
_VOID: Final = Statement(
    update(RUNS)
    .where(HOLDS, _R.status == literal_column("'running'"), _R.owner == bindparam("held_by"))
    .values(lease_until=literal_column("0"))
)


async def owners(db: Connection) -> list[str]:
    """Return everybody who has a lease."""
    return [ids.from_bytes(ids.OWNER, bytes(row[0])) for row in await db.all(_OWNERS, {}) if row[0]]


async def void(db: Connection, *, owner: str) -> None:
    """Let every lease of an owner run out."""
    await db.run(_VOID, {"held_by": ids.to_bytes(owner)})


Candidate: TypeAlias = tuple[int, bytes, bytes]
"""Tenant, conversation and run."""


async def candidates(
    db: Connection, claimant: Claimant, *, limit: int
) -> tuple[list[Candidate], list[Candidate]]:
    """Return what could be taken over, and what could be started; nothing is locked."""
    performers = sorted(claimant.performers)
    size = size_for(len(performers))
    params = {"limit": limit, **listed(performers, prefix="performer", size=size)}
    expired = await db.all(_expired(size), params)
    orphaned = await db.all(_orphaned(size), params)
    return [_candidate(row) for row in expired], [_candidate(row) for row in orphaned]


def _candidate(row: Sequence[Any]) -> Candidate:
    return row[0], bytes(row[1]), bytes(row[2])


async def take_over(db: Connection, claimant: Claimant, candidate: Candidate) -> Claim | None:
    """Take a run over, if its lease has still run out and nobody else is at it."""
    tenant, conversation, raw = candidate
    lease = Lease(
        tenant=tenant,
        run_id=ids.from_bytes(ids.RUN, raw),
        conversation_id=ids.from_bytes(ids.CONVERSATION, conversation),
        epoch=0,
        owner=claimant.owner,
    )
    found = await standing.underway(db, lease, wait=False)
    if found is None or found.status is not RunStatus.RUNNING or not found.is_expired:
        return None
    row = await db.one(placing.GET_RUN, {"tenant": tenant, "run": raw})
    if row is None or not rules.can_perform(claimant, (run := run_of(row)).performer):
        return None
    return await placing.take_over(db, found.held, run, claimant)


async def start(db: Connection, claimant: Claimant, candidate: Candidate) -> Claim | None:
    """Start the first queued run of a conversation, if it is still free and nobody else is at it."""
    tenant, conversation, _ = candidate
    ident = ids.from_bytes(ids.CONVERSATION, conversation)
    held = await standing.locked(db, tenant, ident, wait=False)
    if held is None or held.holder is not None or not held.queued:
        return None
    return await placing.promote(db, held, claimant)


async def renew(db: Connection, leases: Sequence[Lease], *, lease_us: int) -> set[str]:
    """Extend leases; return the runs that are still held.

    A run whose row somebody has just locked is passed over, so that the others need not wait for
    it: whoever commits to it is alive, and the next beat comes soon.
    """
    held = set()
    for lease in leases:
        key = _held(lease)
        if await db.one(_RENEW, {**key, "lease_us": lease_us}) or await db.one(_IS_HELD, key):
            held.add(lease.run_id)
    return held


async def release(db: Connection, leases: Sequence[Lease]) -> None:
    """Let leases run out at once."""
    for lease in leases:
        await db.run(_RELEASE, _held(lease))


def _held(lease: Lease) -> dict[str, Any]:
    return {
        "tenant": lease.tenant,
        "run": ids.to_bytes(lease.run_id),
        "held_epoch": lease.epoch,
        "held_by": ids.to_bytes(lease.owner),
    }
