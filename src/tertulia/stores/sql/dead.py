"""Leases of the dead: they run out at once, where it is known who of a database's users is alive."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, literal_column, select, text, update

from tertulia import ids
from tertulia.stores.sql.database import Database, SeesOwners
from tertulia.stores.sql.schema import HOLDS, JOBS, RUNS
from tertulia.stores.sql.statements import Connection, LeaseClock, Statement

_R: Final = RUNS.c
_J: Final = JOBS.c
_REACH: Final[ColumnElement[int]] = literal_column("256")
"""Whoever takes jobs takes the oldest due: only so many can stand before one that was taken."""


@dataclass(frozen=True, slots=True)
class Leases:
    """Where leases stand: who has one there, and how an owner's are let run out."""

    owners: Statement
    void: Statement


OF_RUNS: Final = Leases(
    owners=Statement(
        select(_R.owner)
        .where(HOLDS, _R.status == literal_column("'running'"), _R.lease_until >= LeaseClock())
        .distinct()
    ),
    void=Statement(
        update(RUNS)
        .where(HOLDS, _R.status == literal_column("'running'"), _R.owner == bindparam("held_by"))
        .values(lease_until=literal_column("0"))
    ),
)

_MAY_BE_DUE: Final = text("status IN ('queued', 'running')")
_OLDEST: Final = (
    select(_J.owner, _J.lease_until).where(_MAY_BE_DUE).order_by(_J.due_at).limit(_REACH).subquery("oldest")
)
OF_JOBS: Final = Leases(
    owners=Statement(
        select(_OLDEST.c.owner)
        .where(_OLDEST.c.owner.is_not(None), _OLDEST.c.lease_until > LeaseClock())
        .distinct()
    ),
    void=Statement(
        update(JOBS)
        .where(_MAY_BE_DUE, _J.status == literal_column("'running'"), _J.owner == bindparam("held_by"))
        .values(lease_until=literal_column("0"))
    ),
)


class Watch:
    """Says that owners are alive, and finds those that are not."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sees = database if isinstance(database, SeesOwners) else None

    def hold(self, owner: str) -> None:
        """Let others see that this owner is alive; to be called before it gets a lease."""
        if self._sees is not None:
            self._sees.hold(owner)

    async def void(self, leases: Leases) -> None:
        """Let the leases of owners that are certain to be dead run out at once."""
        if self._sees is None:
            return

        async def look(db: Connection) -> list[str]:
            rows = await db.all(leases.owners, {})
            return [ids.from_bytes(ids.OWNER, bytes(row[0])) for row in rows if row[0]]

        for owner in await self._database.read(look, tenant=None):
            if self._sees.is_gone(owner):
                await self._void(leases, owner)

    async def _void(self, leases: Leases, owner: str) -> None:
        params: dict[str, Any] = {"held_by": ids.to_bytes(owner)}

        async def unit(db: Connection) -> None:
            await db.run(leases.void, params)

        await self._database.write(unit, tenant=None)
