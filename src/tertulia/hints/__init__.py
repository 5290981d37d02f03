"""Hints between processes: the port, and the plugs that carry them."""

from tertulia.errors import InvalidInput
from tertulia.hints.base import EVERYTHING, WORK, Hear, Hints
from tertulia.registry import Registry

HINTS: Registry[Hints] = Registry(
    "hints",
    {
        "memory": "tertulia.hints.in_process:LocalHints",
        "sqlite": "tertulia.hints.sqlite:SQLiteHints",
        "postgresql": "tertulia.hints.postgresql:PostgreSQLHints",
        "redis": "tertulia.hints.redis:RedisHints",
        "rediss": "tertulia.hints.redis:RedisHints",
        "valkey": "tertulia.hints.redis:RedisHints",
        "valkeys": "tertulia.hints.redis:RedisHints",
    },
)
"""What carries hints, by the scheme of its URL."""


def open_hints(url: str) -> Hints:
    """Return the hints that a URL names, not yet opened: a store's own URL, or one of Redis or Valkey.

    Raises :class:`~tertulia.errors.InvalidInput` for others, and
    :class:`~tertulia.errors.MissingExtra` where a package is not installed.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    scheme = "postgresql" if scheme == "postgres" else scheme
    if scheme not in HINTS:
        raise InvalidInput(f"no hints over {scheme!r} URLs; use one of: {', '.join(HINTS)}")
    return HINTS.get(scheme).from_url(url)


__all__ = ["EVERYTHING", "HINTS", "WORK", "Hear", "Hints", "open_hints"]
