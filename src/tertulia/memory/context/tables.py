"""The tables of a database that an agent may read, and the port to what reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

from tertulia.errors import InvalidInput

Dialect: TypeAlias = Literal["sqlite", "postgres"]
Listed: TypeAlias = Sequence[str] | Mapping[str, Sequence[str] | None]
"""Names of tables, or of tables and those of their columns that may be read; ``None`` for all."""

_MAX_NAME: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column that may be read."""

    name: str
    kind: str = ""
    """Its type, in the database's words."""
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A table, or view, as an installation lists it."""

    called: str
    """``orders`` or ``sales.orders``: the name that the model knows it by."""
    schema: str
    name: str
    columns: tuple[str, ...] | None = None
    """Those that may be read; ``None`` for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table, or view, that is there and may be read."""

    wanted: Wanted
    columns: tuple[Column, ...]
    """Those that may be read."""
    is_view: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What an answer is limited to."""

    rows: int
    characters: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Rows, each as a JSON object on one line."""

    rows: tuple[str, ...]
    is_cut: bool
    """Whether there were more, or longer ones."""


class Reader(Protocol):
    """Reads a database, and nothing else; keeps no connection."""

    @property
    def dialect(self) -> Dialect:
        """How SQL is written there."""
        ...

    async def described(self, wanted: Sequence[Wanted], *, seconds: float) -> list[Table]:
        """Return these tables as they stand; raises :class:`~tertulia.errors.ProviderError`."""
        ...

    async def read(self, sql: str, tables: Sequence[Table], caps: Caps) -> Answer:
        """Return what a checked query gives; raises :class:`~tertulia.errors.ToolError`, saying why not."""
        ...


def wanted_tables(listed: Listed, *, schema: str) -> list[Wanted]:
    """Return what was listed; tables without a schema are in ``schema``. Raises :class:`InvalidInput`."""
    if isinstance(listed, str) or not listed:
        raise InvalidInput('tables must be a list of names, like ["orders"], and name at least one')
    columns = listed if isinstance(listed, Mapping) else dict.fromkeys(listed)
    return [_wanted(name, of_table, schema=schema) for name, of_table in columns.items()]


def _wanted(called: object, columns: object, *, schema: str) -> Wanted:
    if not isinstance(called, str) or not _are_names(called.split(".")) or called.count(".") > 1:
        raise InvalidInput('a table is listed by its name: "orders", or "sales.orders" with its schema')
    within, _, name = called.rpartition(".")
    if columns is None:
        return Wanted(called=called, schema=within or schema, name=name)
    if (
        isinstance(columns, str)
        or not isinstance(columns, Sequence)
        or not columns
        or not _are_names(columns)
    ):
        raise InvalidInput(f'the columns of {called!r} must be a list of names, like ["id", "total"]')
    return Wanted(called=called, schema=within or schema, name=name, columns=tuple(columns))


def _are_names(names: Sequence[object]) -> bool:
    return all(isinstance(n, str) and n.isprintable() and 0 < len(n) <= _MAX_NAME for n in names)
