"""Bringing a database up to this version's tables."""

import sqlite3
from pathlib import Path
from typing import Final

from sqlalchemy import column, select, table

from tertulia.errors import InvalidInput
from tertulia.registry import load
from tertulia.stores.sql.statements import Connection, Statement

HEAD: Final = "0001"
"""The newest migration of this version; a test holds it against the scripts."""

_REVISION: Final = Statement(select(table("alembic_version", column("version_num")).c.version_num))


async def revision_on(db: Connection) -> str | None:
    """Return the migration that the database stands at."""
    row = await db.one(_REVISION, {})
    return None if row is None else str(row[0])


def upgrade(url: str) -> str:
    """Bring the database of a URL up to date and return the migration that it stands at now.

    Raises :class:`~tertulia.errors.InvalidInput` for URLs that need none, and what the database
    raises.
    """
    scheme, _, rest = url.partition("://")
    if scheme.startswith("sqlite"):
        upgrade_sqlite(Path(rest.removeprefix("/")))
    elif scheme.startswith("postgres"):
        load("tertulia.stores.sql.migrations.running:upgrade_postgresql")(f"postgresql+asyncpg://{rest}")
    else:
        raise InvalidInput(f"{url!r} names no database that has migrations")
    return HEAD


def upgrade_sqlite(path: Path, *, busy_seconds: float = 5.0) -> None:
    """Bring a SQLite file up to date; quick when it is already, and safe beside other processes."""
    if _revision_of(path) == HEAD:
        return
    load("tertulia.stores.sql.migrations.running:upgrade_sqlite")(path, busy_seconds)


def _revision_of(path: Path) -> str | None:
    if not path.exists():
        return None
    raw = sqlite3.connect(path)
    try:
        row = raw.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        return None
    finally:
        raw.close()
    return None if row is None else str(row[0])
