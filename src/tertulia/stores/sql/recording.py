"""The events of runs: stored for as long as the run is held, and read again."""

from collections.abc import Sequence
from functools import cache
from typing import Final

from sqlalchemy import Executable, bindparam, case, func, literal_column, select

from tertulia import ids
from tertulia.conversations import Frame, Lease
from tertulia.messages import now_us
from tertulia.registry import load
from tertulia.stores.sql.leases import COLUMNS, NO_LEASE, held_by, lease_params
from tertulia.stores.sql.schema import FRAMES, RUNS
from tertulia.stores.sql.statements import (
    Connection,
    Params,
    Statement,
    chunks,
    replacing,
    size_for,
    spread,
    table_of,
)

_F: Final = FRAMES.c
_KEY: Final = (_F.tenant == bindparam("tenant"), _F.run_id == bindparam("run"))

INSERT_FRAME: Final = replacing(FRAMES, lambda new: new["last_seq"] > _F.last_seq)
"""Stores a frame; of two that begin alike the longer one stays."""

_REACH: Final = 64
"""A frame ends before so many have begun after it: an event stands in one, rarely in two or three."""

_BEGUN: Final = FRAMES.alias("begun")
_FIRST_THAT_COUNTS: Final = (
    select(_BEGUN.c.first_seq)
    .where(
        _BEGUN.c.tenant == bindparam("tenant"),
        _BEGUN.c.run_id == bindparam("run"),
        _BEGUN.c.first_seq <= bindparam("after"),
    )
    .order_by(_BEGUN.c.first_seq.desc())
    .limit(literal_column("1"))
    .offset(literal_column(str(_REACH)))
    .scalar_subquery()
)
# Without the bound on where they begin, whoever follows a run would go through all he has read.
FRAMES_AFTER: Final = Statement(
    select(_F.first_seq, _F.last_seq, _F.data)
    .where(
        *_KEY,
        _F.first_seq >= func.coalesce(_FIRST_THAT_COUNTS, literal_column("0")),
        _F.last_seq > bindparam("after"),
    )
    .order_by(_F.first_seq)
    .limit(bindparam("limit"))
)

_TOLD: Final = {
    **COLUMNS,
    "first_seq": _F.first_seq.type,
    "last_seq": _F.last_seq.type,
    "data": _F.data.type,
    "at": _F.created_at.type,
}
_NOTHING: Final[Params] = {**NO_LEASE, "first_seq": 0, "last_seq": 0, "data": "", "at": 0}


@cache
def _record(size: int) -> Statement:
    """Return the statement that stores up to ``size`` frames of held runs; returns the runs.

    It locks the runs: without that, the frame of an owner that was slow could still be written
    after the run had got another. Who would have to wait for the lock has it done later.
    """
    told = table_of("told", _TOLD, size=size)
    row = (told.c.tenant, told.c.run, told.c.first_seq, told.c.last_seq, told.c.held_epoch, told.c.data)
    held = (
        select(*row, told.c.at)
        .join_from(told, RUNS, held_by(told))
        .where(told.c.held_epoch >= literal_column("0"))  # SQLite wants a WHERE before ON CONFLICT
        .order_by(RUNS.c.tenant, RUNS.c.id, told.c.first_seq)
        .with_for_update(read=True, of=RUNS, skip_locked=True)
    )
    names = ["tenant", "run_id", "first_seq", "last_seq", "epoch", "data", "created_at"]

    def make(dialect: str) -> Executable:
        insert = load(f"sqlalchemy.dialects.{dialect}:insert")
        clause = insert(FRAMES).from_select(names, held)
        is_longer = clause.excluded.last_seq > _F.last_seq
        # Every row is written, a shorter one as it was: only what is written is returned.
        kept = {
            name: case((is_longer, clause.excluded[name]), else_=_F[name])
            for name in ("last_seq", "epoch", "data", "created_at")
        }
        stored = clause.on_conflict_do_update(index_elements=[*FRAMES.primary_key], set_=kept)
        made: Executable = stored.returning(_F.run_id)
        return made

    return Statement(make)


async def record(db: Connection, told: Sequence[tuple[Lease, Frame]]) -> set[str]:
    """Do what :meth:`RunStore.record` promises."""
    stored: set[str] = set()
    at = now_us()
    for chunk in chunks(longest(told)):
        size = size_for(len(chunk))
        rows = [{**lease_params(lease), **_row(frame), "at": at} for lease, frame in chunk]
        kept = await db.all(_record(size), spread(rows, size=size, filler=_NOTHING))
        stored |= {ids.from_bytes(ids.RUN, bytes(row[0])) for row in kept}
    return stored


def frame_params(lease: Lease, frame: Frame, *, at: int) -> Params:
    """Return the parameters that store a frame."""
    key = {"tenant": lease.tenant, "run_id": ids.to_bytes(lease.run_id), "epoch": lease.epoch}
    return {**key, **_row(frame), "created_at": at}


def _row(frame: Frame) -> dict[str, object]:
    return {"first_seq": frame.first_seq, "last_seq": frame.last_seq, "data": frame.data}


def longest(told: Sequence[tuple[Lease, Frame]]) -> list[tuple[Lease, Frame]]:
    """Leave out what a longer frame of the same call replaces: a statement writes no row twice."""
    kept: dict[tuple[Lease, int], tuple[Lease, Frame]] = {}
    for lease, frame in told:
        earlier = kept.get((lease, frame.first_seq))
        if earlier is None or frame.last_seq > earlier[1].last_seq:
            kept[lease, frame.first_seq] = (lease, frame)
    return list(kept.values())
