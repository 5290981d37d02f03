"""Storage: the port, and the plugs that keep it."""

from tertulia.errors import InvalidInput
from tertulia.registry import Registry
from tertulia.stores.base import (
    AgentStore,
    ConversationStore,
    Health,
    RunStore,
    Store,
    StoreOptions,
)

STORES: Registry[Store] = Registry(
    "stores",
    {
        "memory": "tertulia.stores.in_memory:InMemoryStore",
        "sqlite": "tertulia.stores.sql.sqlite:SQLiteStore",
        "postgresql": "tertulia.stores.sql.postgresql:PostgreSQLStore",
    },
)
"""Stores by the scheme of their URL."""


def open_store(url: str, options: StoreOptions | None = None) -> Store:
    """Return the store that a URL names, not yet opened.

    ``memory://``, ``sqlite:///file.db`` (three slashes relative, four absolute) or
    ``postgresql://user@host/database``. Raises :class:`~tertulia.errors.InvalidInput` for others, and
    for a path that is no URL.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    scheme = "postgresql" if scheme == "postgres" else scheme
    if scheme not in STORES:
        raise InvalidInput(_no_store(url, scheme))
    return STORES.get(scheme).from_url(url, options or StoreOptions())


def _no_store(url: str, scheme: str) -> str:
    """Return what to write in the place of this; what may hold a password is not repeated."""
    if "://" in url:
        return f"no store for {scheme!r} URLs; use one of: {', '.join(STORES)}"
    file = "file.db" if not url or {":", "@"} & {*url} else url
    return f"a store is named by a URL: for a SQLite file, write sqlite:///{file}"


__all__ = [
    "STORES",
    "AgentStore",
    "ConversationStore",
    "Health",
    "RunStore",
    "Store",
    "StoreOptions",
    "open_store",
]
