"""The journal of a run: its steps, as they are written, read and emptied."""

from typing import Final

from sqlalchemy import bindparam, literal_column, null, select, update

from tertulia import ids
from tertulia.conversations import Step
from tertulia.stores.sql.rows import STEP_COLUMNS, step_of
from tertulia.stores.sql.schema import STEPS
from tertulia.stores.sql.statements import Connection, Statement, replacing

_S: Final = STEPS.c
_OF_RUN: Final = (_S.tenant == bindparam("tenant"), _S.run_id == bindparam("run"))

WRITE_STEP: Final = replacing(
    STEPS, lambda new: (_S.ended_at == literal_column("0")) | (_S.identity != new["identity"])
)
"""Journals a step, in place of the one of its path as :func:`~tertulia.stores.rules.replaces` says."""

_STEPS: Final = Statement(select(*STEP_COLUMNS).where(*_OF_RUN).order_by(_S.started_at, _S.path))
_IDENTITY: Final = Statement(select(_S.identity).where(*_OF_RUN, _S.path == bindparam("path")))
_CLEAR: Final = Statement(update(STEPS).where(*_OF_RUN, _S.output.is_not(null())).values(output=null()))


async def steps(db: Connection, tenant: int, run: bytes) -> list[Step]:
    """Return what is journaled of a run, in order."""
    return [step_of(row) for row in await db.all(_STEPS, {"tenant": tenant, "run": run})]


async def identity(db: Connection, tenant: int, run_id: str, *, path: str) -> bytes | None:
    """Return the identity of the step that stands under a path; None if none does."""
    row = await db.one(_IDENTITY, {"tenant": tenant, "run": ids.to_bytes(run_id), "path": path})
    return None if row is None else bytes(row[0])


async def clear(db: Connection, tenant: int, run_id: str) -> None:
    """Empty the outputs of a run that ends."""
    await db.run(_CLEAR, {"tenant": tenant, "run": ids.to_bytes(run_id)})
