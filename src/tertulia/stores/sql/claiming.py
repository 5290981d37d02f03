"""Finding runs that nobody carries out: those of dead owners, and those left in a queue."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, case, exists, literal_column, null, select, update

from tertulia import ids
from tertulia.conversations import Claim, Claimant, Lease, RunStatus
from tertulia.stores import rules
from tertulia.stores.sql import placing, standing
from tertulia.stores.sql.leases import HELD, lease_params
from tertulia.stores.sql.schema import CONVERSATIONS, HOLDS, RUNS
from tertulia.stores.sql.statements import (
    Connection,
    LeaseClock,
    Row,
    Statement,
    listed,
    places,
    size_for,
)

_R: Final = RUNS.c
_C: Final = CONVERSATIONS.c
_FREE: Final = RUNS.alias("free")
_EXTEND: Final = (
    update(RUNS).where(HELD).values(lease_until=LeaseClock() + bindparam("lease_us")).returning(_R.id)
)
_RENEW: Final = Statement(_EXTEND)
_RENEW_FREE: Final = Statement(
    _EXTEND.where(
        _R.id.in_(
            select(_FREE.c.id)
            .where(_FREE.c.tenant == bindparam("tenant"), _FREE.c.id == bindparam("run"))
            .with_for_update(skip_locked=True)
        )
    )
)
_IS_HELD: Final = Statement(select(_R.id).where(HELD))
_RELEASE: Final = Statement(
    update(RUNS)
    .where(HELD)
    .values(
        owner=null(),
        lease_until=literal_column("0"),
        attempt=case(
            (_R.attempt > literal_column("0"), _R.attempt - literal_column("1")), else_=literal_column("0")
        ),
    )
)

_HOLDING: Final = frozenset({RunStatus.RUNNING, RunStatus.WAITING})
_SUSPECT: Final[ColumnElement[bool]] = _R.attempt >= literal_column(str(rules.SUSPECT_ATTEMPTS))


@cache
def _expired(size: int, *, suspects: bool = False) -> Statement:
    """Return the statement that finds runs whose lease, or whose time to wait, is over.

    Longest ago first. It walks the index of runs that hold a conversation, which has no more
    entries than there are runs under way: an index of their leases would have to be written twice
    a turn.
    """
    return Statement(
        select(_R.tenant, _R.conversation_id, _R.id, _R.attempt)
        .where(
            HOLDS,
            _R.lease_until < LeaseClock(),
            _SUSPECT if suspects else ~_SUSPECT,
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
        select(_C.tenant, _C.id, _R.id, _R.attempt)
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


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run that could be claimed, as it stood when it was looked for."""

    tenant: int
    conversation_id: str
    run_id: str
    attempt: int


async def expired(
    db: Connection, claimant: Claimant, *, limit: int, suspects: bool = False
) -> list[Candidate]:
    """Return what could be taken over; nothing is locked."""
    performers, size = _performers(claimant)
    return _candidates(await db.all(_expired(size, suspects=suspects), {"limit": limit, **performers}))


async def orphaned(db: Connection, claimant: Claimant, *, limit: int) -> list[Candidate]:
    """Return what could be started; nothing is locked."""
    performers, size = _performers(claimant)
    return _candidates(await db.all(_orphaned(size), {"limit": limit, **performers}))


def _performers(claimant: Claimant) -> tuple[dict[str, Any], int]:
    performers = sorted(claimant.performers)
    size = size_for(len(performers))
    return listed(performers, prefix="performer", size=size), size


def _candidates(rows: Sequence[Row]) -> list[Candidate]:
    return [
        Candidate(
            tenant,
            ids.from_bytes(ids.CONVERSATION, bytes(conversation)),
            ids.from_bytes(ids.RUN, bytes(run)),
            attempt,
        )
        for tenant, conversation, run, attempt in rows
    ]


async def take_over(db: Connection, claimant: Claimant, candidate: Candidate) -> Claim | None:
    """Take a run over, if its time is still over and nobody else is or was at it."""
    lease = Lease(
        tenant=candidate.tenant,
        run_id=candidate.run_id,
        conversation_id=candidate.conversation_id,
        epoch=0,
        owner=claimant.owner,
    )
    found = await standing.underway(db, lease, wait=False)
    if found is None or found.status not in _HOLDING:
        return None
    if not found.is_expired or found.attempt != candidate.attempt:
        return None
    run = await standing.run_found(db, candidate.tenant, ids.to_bytes(candidate.run_id))
    if not rules.can_perform(claimant, run.performer):
        return None
    return await placing.take_over(db, found.held, run, claimant)


async def start(db: Connection, claimant: Claimant, candidate: Candidate) -> Claim | None:
    """Start the first queued run of a conversation, if it is still free and nobody else is at it."""
    held = await standing.locked(db, candidate.tenant, candidate.conversation_id, wait=False)
    if held is None or held.holder is not None:
        return None
    return await placing.promote(db, held, claimant)


async def renew_free(
    db: Connection, leases: Sequence[Lease], *, lease_us: int
) -> tuple[set[str], list[Lease]]:
    """Extend leases; return the runs of those extended, and the leases that are held and were not.

    A run whose row somebody has just locked is passed over, so that the others need not wait for it.
    """
    renewed, passed_over = set(), []
    for lease in leases:
        key = lease_params(lease)
        if await db.one(_RENEW_FREE, {**key, "lease_us": lease_us}):
            renewed.add(lease.run_id)
        elif await db.one(_IS_HELD, key):
            passed_over.append(lease)
    return renewed, passed_over


async def renew(db: Connection, leases: Sequence[Lease], *, lease_us: int) -> set[str]:
    """Extend leases, waiting for whoever has locked their runs; return those that are still held."""
    in_order = sorted(leases, key=attrgetter("tenant", "run_id"))
    keys = [(lease.run_id, lease_params(lease)) for lease in in_order]
    return {run for run, key in keys if await db.one(_RENEW, {**key, "lease_us": lease_us})}


async def release(db: Connection, leases: Sequence[Lease]) -> None:
    """Let leases run out at once."""
    for lease in leases:
        await db.run(_RELEASE, lease_params(lease))
