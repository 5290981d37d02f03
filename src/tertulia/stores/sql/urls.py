"""What the URL of a database says, as its library wants to have it."""

from pathlib import Path
from urllib.parse import unquote

from tertulia.errors import InvalidInput

_LAST_PORT = 65_535


def path_of(url: str) -> Path:
    """Return the file of a ``sqlite:///`` URL; raises ``InvalidInput`` for memory and bad forms."""
    rest = url.partition(":")[2]
    if not rest.startswith("///") or rest in {"///", "///:memory:"}:
        raise InvalidInput("a SQLite URL names a file: sqlite:///tertulia.db; use memory:// for none")
    return Path(unquote(rest[3:].partition("?")[0]))


def dsn_of(url: str) -> str:
    """Return a PostgreSQL URL without a driver's name; raises ``InvalidInput`` for impossible ports."""
    scheme, _, rest = url.partition("://")
    hosts = rest.partition("?")[0].partition("/")[0].rpartition("@")[2]
    for host in hosts.split(","):
        _, colon, port = host.rpartition("]")[2].partition(":")
        if colon and not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) <= _LAST_PORT):
            raise InvalidInput(
                "the database's URL has a port that is no number from 1 to 65535; "
                "what a password holds of :/?#[]@ must be written as %3A, %2F …"
            )
    return f"{scheme.partition('+')[0]}://{rest}"
