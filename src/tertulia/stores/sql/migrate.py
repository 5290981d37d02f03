"""Bringing a database up to this version's tables."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from sqlalchemy import column, select, table

from tertulia.errors import InvalidInput, StoreBusy, StoreError, StoreUnavailable
from tertulia.registry import load
from tertulia.stores.sql.statements import Connection, Statement
from tertulia.stores.sql.urls import dsn_of, path_of

HEAD: Final = "0005"
"""The newest migration of this version; a test holds it against the scripts."""

_REVISION: Final = Statement(select(table("alembic_version", column("version_num")).c.version_num))
_RUNNING: Final = "tertulia.stores.sql.migrations.running"
_ALWAYS_THERE: Final = frozenset({"alembic_version", "tenants"})
_BUSY_SECONDS: Final = 5.0


async def revision_on(db: Connection) -> str | None:
    """Return the migration that the database stands at."""
    row = await db.one(_REVISION, {})
    return None if row is None else str(row[0])


def upgrade(url: str) -> str:
    """Bring the database of a URL up to date and return the migration that it stands at now.

    Raises :class:`~tertulia.errors.InvalidInput` for URLs that need none or cannot be,
    :class:`~tertulia.errors.StoreUnavailable` for a database that cannot be reached or is not ours to
    migrate, and :class:`~tertulia.errors.StoreBusy`.
    """
    scheme, _, _ = url.partition(":")
    if scheme.startswith("sqlite"):
        upgrade_sqlite(path_of(url))
    elif scheme.startswith("postgres"):
        load(f"{_RUNNING}:upgrade_postgresql")(dsn_of(url))
    else:
        raise InvalidInput(f"{scheme}:// names no database that has migrations")
    return HEAD


def upgrade_sqlite(path: Path, *, busy_seconds: float = _BUSY_SECONDS) -> None:
    """Bring a SQLite file up to date, made if need be; quick when it is already, safe beside other processes.

    Raises as :func:`upgrade` does.
    """
    try:
        _make(path)
        found = _revision_of(path, busy_seconds)
        if found == HEAD:
            return
        refuse_unknown(found)
        load(f"{_RUNNING}:upgrade_sqlite")(path, busy_seconds)
    except (sqlite3.Error, OSError) as error:
        raise _unusable(error, path) from error


def refuse_unknown(found: str | None) -> None:
    """Raise ``StoreUnavailable`` for a migration that is not one of ours; ``None`` is an empty database."""
    if found is None or (found.isdecimal() and found <= HEAD):
        return
    if found.isdecimal():
        raise StoreUnavailable(
            f"the database was made by a newer Tertulia (migration {found}, this one knows {HEAD}): "
            "update Tertulia"
        )
    raise a_stranger()


def a_stranger() -> StoreError:
    """Return the error for a database that another program has made."""
    return StoreUnavailable(
        "the database holds something else, it is not a Tertulia database: "
        "choose another TERTULIA_DATABASE_URL"
    )


def _make(path: Path) -> None:
    """Make the file, readable by its owner only; SQLite gives the files beside it the same permissions."""
    if path.exists():
        return
    _make_folder(path.parent)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _make_folder(folder: Path) -> None:
    """Make the last folder of a path; what is missing before it, or at the root, is taken for a mistake."""
    if folder.is_dir():
        return
    before = folder.parent
    if not before.is_dir() or (folder.is_absolute() and before == before.parent):
        raise StoreUnavailable(
            f"there is no folder {folder} for the database: make it, or see to the slashes of the URL "
            "(sqlite:/// and a relative path, sqlite://// and an absolute one)"
        )
    folder.mkdir(exist_ok=True)


def _revision_of(path: Path, busy_seconds: float) -> str | None:
    """Return the migration of a file, ``None`` of an empty one; raises for a file that is not ours."""
    with closing(sqlite3.connect(path, timeout=busy_seconds)) as raw:
        tables = {str(name) for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            return None
        if not tables >= _ALWAYS_THERE:
            raise a_stranger()
        row = raw.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


_WHAT_TO_DO: Final = {
    sqlite3.SQLITE_NOTADB: "is no SQLite database: choose another TERTULIA_DATABASE_URL",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore it from a copy, or choose another TERTULIA_DATABASE_URL",
    sqlite3.SQLITE_READONLY: "cannot be written to: see to the permissions of the file and its directory",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: see to the permissions of the file and its directory",
    sqlite3.SQLITE_FULL: "does not fit: the disk is full",
}


def _unusable(error: sqlite3.Error | OSError, path: Path) -> StoreError:
    if isinstance(error, OSError):
        return StoreUnavailable(f"the database {path} cannot be opened: {error.strerror}")
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreBusy("another process is writing to the database; ask again", retry_after=1.0)
    return StoreUnavailable(f"the database {path} {_WHAT_TO_DO.get(code, f'cannot be used: {error}')}")
