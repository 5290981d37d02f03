"""Leases in statements: one of them in a condition, many of them as a table."""

from typing import Any, Final

from sqlalchemy import CTE, ColumnElement, and_, bindparam, literal_column

from tertulia import ids
from tertulia.conversations import Lease
from tertulia.stores.sql.schema import RUNS
from tertulia.stores.sql.statements import Params

_R: Final = RUNS.c
_RUNNING: Final[ColumnElement[bool]] = _R.status == literal_column("'running'")

HELD: Final = and_(
    _R.tenant == bindparam("tenant"),
    _R.id == bindparam("run"),
    _R.epoch == bindparam("held_epoch"),
    _R.owner == bindparam("held_by"),
    _RUNNING,
)
"""Of a run: that the lease of the parameters holds it."""

COLUMNS: Final = {
    "tenant": _R.tenant.type,
    "run": _R.id.type,
    "held_epoch": _R.epoch.type,
    "held_by": _R.owner.type,
}
"""The columns of a table of leases."""

NO_LEASE: Final[Params] = {"tenant": -1, "run": bytes(16), "held_epoch": -1, "held_by": bytes(16)}
"""A row of such a table that holds nothing."""


def held_by(leases: CTE) -> ColumnElement[bool]:
    """Return the condition that a run is held by the lease of a row."""
    return and_(
        _R.tenant == leases.c.tenant,
        _R.id == leases.c.run,
        _R.epoch == leases.c.held_epoch,
        _R.owner == leases.c.held_by,
        _RUNNING,
    )


def lease_params(lease: Lease) -> dict[str, Any]:
    """Return the parameters, or the row, of a lease."""
    return {
        "tenant": lease.tenant,
        "run": ids.to_bytes(lease.run_id),
        "held_epoch": lease.epoch,
        "held_by": ids.to_bytes(lease.owner),
    }
