"""Runs that are to stop: asked to, if somebody carries them out, and ended at once otherwise."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final

from sqlalchemy import bindparam, literal_column, null, select, update

from tertulia import ids
from tertulia.conversations import Claimant, Lease, Run, RunStatus, Stop, Stopped
from tertulia.messages import Flag, now_us
from tertulia.stores import rules
from tertulia.stores.sql import journal, marking, placing, standing
from tertulia.stores.sql.leases import COLUMNS, NO_LEASE, held_by, lease_params
from tertulia.stores.sql.rows import encode_failure
from tertulia.stores.sql.schema import RUNS
from tertulia.stores.sql.standing import Held
from tertulia.stores.sql.statements import Connection, Statement, chunks, size_for, spread, table_of

_R: Final = RUNS.c
_RUN: Final = update(RUNS).where(_R.tenant == bindparam("tenant"), _R.id == bindparam("run"))
_WISH: Final[dict[str, Any]] = {"cancel_requested": bindparam("wish")}
_ASK: Final = Statement(_RUN.values(**_WISH))
_END: Final = Statement(
    _RUN.values(
        **_WISH,
        status=literal_column("'cancelled'"),
        epoch=bindparam("new_epoch"),
        error=bindparam("new_error"),
        ended_at=bindparam("at"),
        waiting=null(),
        owner=null(),
        lease_until=null(),
    )
)


@cache
def _asked(size: int) -> Statement:
    """Return the statement that finds those of up to ``size`` held runs that were asked to stop."""
    leases = table_of("leases", COLUMNS, size=size)
    return Statement(
        select(_R.id, _R.cancel_requested)
        .join_from(leases, RUNS, held_by(leases))
        .where(_R.cancel_requested > literal_column("0"))
    )


async def asked(db: Connection, leases: Sequence[Lease]) -> dict[str, Stop]:
    """Do what :meth:`RunStore.asked` promises."""
    found: dict[str, Stop] = {}
    for chunk in chunks(leases):
        size = size_for(len(chunk))
        params = spread([lease_params(lease) for lease in chunk], size=size, filler=NO_LEASE)
        rows = await db.all(_asked(size), params)
        found |= {ids.from_bytes(ids.RUN, bytes(raw)): Stop(wish) for raw, wish in rows}
    return found


async def stop(
    db: Connection, tenant: int, run_id: str, how: Stop, claimant: Claimant | None
) -> tuple[Held, Stopped]:
    """Do what :meth:`RunStore.stop` promises; return the conversation as well."""
    found, run = await standing.run_locked(db, tenant, run_id)
    held = found.held
    if run.status.is_terminal:
        return held, Stopped(run=run)
    wanted = replace(run, stop=max(run.stop, how))
    if run.status is not RunStatus.RUNNING:
        return await _ended(db, held, wanted, claimant)
    if found.is_expired:  # the next epoch, as if it had been taken over: who comes back has lost it
        return await _ended(db, held, replace(wanted, epoch=run.epoch + 1), claimant)
    if wanted.stop is not run.stop:
        await db.run(_ASK, _wish(wanted))
    return held, Stopped(run=wanted)


async def _ended(db: Connection, held: Held, run: Run, claimant: Claimant | None) -> tuple[Held, Stopped]:
    """End a run that nobody carries out, and start what waited behind it."""
    at = now_us()
    ended = replace(run, status=RunStatus.CANCELLED, failure=rules.STOPPED, wait=None, ended_at=at)
    if run.status is RunStatus.QUEUED:
        left = replace(held, queued=held.queued - 1)
    else:
        left = replace(held, holder=None)
    move = placing.moved(left, at=at, holder=left.holder, queued=left.queued)
    end = {**_wish(run), "new_epoch": run.epoch, "new_error": encode_failure(rules.STOPPED), "at": at}
    await db.together([(_END, end), (placing.MOVE, move)])
    await journal.clear(db, run.tenant, run.id)
    left = await rolled_back(db, left, run.stop, first=run.input_number)
    following = await placing.promote(db, left, claimant) if left.holder is None else None
    return left, Stopped(run=ended, next=following)


async def rolled_back(db: Connection, held: Held, stop: Stop, *, first: int) -> Held:
    """Withdraw what a run that has ended was asked and has said, if it was to be rolled back.

    ``first`` is the number of what it was asked, 0 if it has none. Nothing stands behind that but what
    this run, or a failed one before it, has done in answer. Returns the conversation as it stands then.
    """
    if stop is not Stop.ROLLBACK or not first:
        return held
    conversation = held.conversation
    numbers = range(first, conversation.head + 1)
    await marking.mark(db, conversation.tenant, conversation.id, numbers, Flag.WITHDRAWN)
    return await standing.locked(db, conversation.tenant, conversation.id) or held


def _wish(run: Run) -> dict[str, object]:
    return {"tenant": run.tenant, "run": ids.to_bytes(run.id), "wish": int(run.stop)}
