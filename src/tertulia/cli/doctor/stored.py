"""What the database says of itself and of the agents in it, read without making or migrating anything."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tertulia.conversations import DEFAULT_TENANT
from tertulia.definitions import StoredAgent
from tertulia.errors import StoreUnavailable
from tertulia.registry import load
from tertulia.settings import Settings
from tertulia.stores import Health, Store, StoreOptions, open_store

_PAGE: Final = 100
_MOST: Final = 10_000
_PATH: Final = "tertulia.stores.sql.urls:path_of"
_HEAD: Final = "tertulia.stores.sql.migrate:HEAD"
_REFUSE: Final = "tertulia.stores.sql.migrate:refuse_unknown"
_NEW: Final = Health(ready=True, detail="is made by the first start")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What was found in the database."""

    health: Health
    agents: tuple[StoredAgent, ...] = field(default=(), repr=False)


async def read_stored(settings: Settings) -> Stored:
    """Return what is there; raises what opening a store raises.

    A SQLite file is only opened if it is there and at the newest migration, as opening it would make
    and migrate it.
    """
    if settings.database_kind == "sqlite":
        health = _health_of_file(load(_PATH)(settings.database_url))
        if health is not None:
            return Stored(health=health)
    store = open_store(settings.database_url, StoreOptions(synchronous=settings.sqlite_synchronous))
    try:
        await store.open()
        health = await store.health()
        return Stored(health=health, agents=tuple(await _agents(store)) if health.ready else ())
    finally:
        await store.close()


def file_of(settings: Settings) -> Path | None:
    """Return the file of the database, if it is one."""
    if settings.database_kind != "sqlite":
        return None
    path: Path = load(_PATH)(settings.database_url)
    return path


async def _agents(store: Store) -> list[StoredAgent]:
    found: list[StoredAgent] = []
    while len(found) < _MOST and (
        page := await store.agents.page(DEFAULT_TENANT, after=found[-1].id if found else None, limit=_PAGE)
    ):
        found += page
    return found


def _health_of_file(path: Path) -> Health | None:
    """Return what is to be said of a file that is not to be opened; ``None`` if it can be."""
    if not path.exists() or path.stat().st_size == 0:
        return _NEW
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as raw:
            found = next(_revisions(raw), None)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the database {path} cannot be read: {error}") from error
    if found == load(_HEAD):
        return None
    load(_REFUSE)(found)
    return Health(ready=True, detail=f"is migrated by the next start: it is at migration {found or 'none'}")


def _revisions(raw: sqlite3.Connection) -> Iterator[str]:
    for (found,) in raw.execute("SELECT version_num FROM alembic_version"):
        yield str(found)
