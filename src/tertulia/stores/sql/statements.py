"""Core statements, compiled once for each database and then run without SQLAlchemy."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from sqlalchemy import CTE, Column, ColumnElement, Executable, Table, bindparam, column, values
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import BigInteger, TypeEngine

from tertulia.registry import load

Params: TypeAlias = Mapping[str, Any]
Row: TypeAlias = Sequence[Any]
Excluded: TypeAlias = Mapping[str, ColumnElement[Any]]
"""The columns of a row that was to be inserted and whose key is there."""

T = TypeVar("T")

_PLACE: Final = re.compile(r"\$(\d+)")


@dataclass(frozen=True, slots=True)
class Compiled:
    """SQL text with the names of its parameters in the order of their places."""

    sql: str
    names: tuple[str, ...]
    fixed: Mapping[str, int]
    """Values that the dialect itself has put in, such as SQLite's OFFSET 0."""

    def bind(self, params: Params) -> list[Any]:
        """Return the values for the places; ``KeyError`` if one is missing."""
        if self.fixed:
            params = {**self.fixed, **params}
        return [params[name] for name in self.names]


class Statement:
    """A Core statement, compiled for a database when it is first carried out there.

    Every value in it is a named parameter. What the databases write differently is given as a
    function that makes it for a dialect's name.
    """

    def __init__(self, clause: Executable | Callable[[str], Executable]) -> None:
        self._clause = clause

    @cached_property
    def sqlite(self) -> Compiled:
        """The statement for SQLite."""
        return _compiled(self._for("sqlite"), _dialect("sqlalchemy.dialects.sqlite:dialect"))

    @cached_property
    def postgresql(self) -> Compiled:
        """The statement for asyncpg."""
        return _compiled(self._for("postgresql"), _dialect("sqlalchemy.dialects.postgresql.asyncpg:dialect"))

    def _for(self, dialect: str) -> Executable:
        return self._clause if isinstance(self._clause, Executable) else self._clause(dialect)


def inserting_once(table: Table, *returning: Column[Any], **fixed: Any) -> Statement:
    """Return the statement that inserts a row unless its key is there: then it returns no row either.

    A column that is not given a literal is a parameter.
    """

    def make(dialect: str) -> Executable:
        insert = load(f"sqlalchemy.dialects.{dialect}:insert")
        values = {column.name: fixed.get(column.name, bindparam(column.name)) for column in table.c}
        clause: Executable = insert(table).values(values).on_conflict_do_nothing()
        return clause.returning(*returning) if returning else clause  # type: ignore[attr-defined]  # an Insert

    return Statement(make)


def replacing(table: Table, when: Callable[[Excluded], ColumnElement[bool]]) -> Statement:
    """Return the statement that inserts a row, or puts it in place of the one of its key where it may."""

    def make(dialect: str) -> Executable:
        insert = load(f"sqlalchemy.dialects.{dialect}:insert")
        clause = insert(table).values({column.name: bindparam(column.name) for column in table.c})
        keys = [column.name for column in table.primary_key]
        changed = {name: value for name, value in clause.excluded.items() if name not in keys}
        made: Executable = clause.on_conflict_do_update(
            index_elements=keys, set_=changed, where=when(clause.excluded)
        )
        return made

    return Statement(make)


@cache
def _dialect(target: str) -> Dialect:
    """Return a dialect; only the one that is used gets imported."""
    dialect: Dialect = load(target)()
    return dialect


def _compiled(clause: Executable, dialect: Dialect) -> Compiled:
    if not isinstance(clause, ClauseElement):
        raise TypeError("not a SQL clause")
    made = clause.compile(dialect=dialect)
    fixed = {name: value for name, value in (made.params or {}).items() if value is not None}
    if any(not name.startswith("param_") or value != 0 for name, value in fixed.items()):
        raise ValueError(f"values must be parameters or literals: {fixed}")
    order: Sequence[str] = made.positiontup or ()  # type: ignore[attr-defined]  # of SQLCompiler
    return Compiled(str(made), tuple(order), fixed)


def joined(statements: tuple[Statement, ...]) -> tuple[str, tuple[int, ...]]:
    """Return one PostgreSQL statement that does all of these, and how many values each takes.

    They share one snapshot and have no order: no two of them may touch the same row.
    """
    parts, counts, offset = [], [], 0
    for statement in statements:
        parts.append(_shifted(statement.postgresql.sql, offset))
        counts.append(len(statement.postgresql.names))
        offset += counts[-1]
    if len(parts) == 1:
        return parts[0], tuple(counts)
    named = ", ".join(f"part{i} AS ({sql})" for i, sql in enumerate(parts[:-1]))
    return f"WITH {named} {parts[-1]}", tuple(counts)


def _shifted(sql: str, offset: int) -> str:
    return _PLACE.sub(lambda place: f"${int(place[1]) + offset}", sql) if offset else sql


class Connection(Protocol):
    """What a unit of work does its statements with; the transaction is around it."""

    async def all(self, statement: Statement, params: Params) -> Sequence[Row]:
        """Return every row."""
        ...

    async def one(self, statement: Statement, params: Params) -> Row | None:
        """Return the first row, or None."""
        ...

    async def run(self, statement: Statement, params: Params) -> None:
        """Carry out a statement whose rows do not matter."""
        ...

    async def together(self, work: Sequence[tuple[Statement, Params]]) -> None:
        """Carry out several writes, none of which touches another's row."""
        ...


class LeaseClock(FunctionElement[int]):
    """The time that leases are measured with: the database's own, in microseconds."""

    type = BigInteger()
    inherit_cache = True
    name = "lease_clock"


@compiles(LeaseClock, "sqlite")
def _sqlite_clock(*_: object, **__: object) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER)"


@compiles(LeaseClock, "postgresql")
def _postgresql_clock(*_: object, **__: object) -> str:
    return "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


_SIZES: Final = (1, 8, 64)


def chunks(many: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut a sequence into pieces for which one statement has room."""
    for start in range(0, len(many), _SIZES[-1]):
        yield many[start : start + _SIZES[-1]]


def places(count: int, *, prefix: str) -> list[ColumnElement[Any]]:
    """Return parameters for a list of up to ``count`` values: ``prefix0``, ``prefix1`` …"""
    return [bindparam(f"{prefix}{i}") for i in range(count)]


def size_for(count: int) -> int:
    """Return the length of the prepared list that holds ``count`` values; there are only a few."""
    for size in _SIZES:
        if count <= size:
            return size
    raise ValueError(f"a list of {count} values is too long for one statement")


def listed(values: Sequence[Any], *, prefix: str, size: int) -> dict[str, Any]:
    """Return the parameters of :func:`places`, filled up with the last value."""
    padded = [*values, *[values[-1]] * (size - len(values))]
    return {f"{prefix}{i}": value for i, value in enumerate(padded)}


def table_of(name: str, columns: Mapping[str, TypeEngine[Any]], *, size: int) -> CTE:
    """Return a table whose rows are parameters: of the first ``column0``, ``column1`` …"""
    rows = [tuple(bindparam(f"{each}{i}", type_=kind) for each, kind in columns.items()) for i in range(size)]
    return values(*[column(each, kind) for each, kind in columns.items()], name=name).data(rows).cte(name)


def spread(rows: Sequence[Params], *, size: int, filler: Params) -> dict[str, Any]:
    """Return the parameters of :func:`table_of`, filled up with a row that means nothing."""
    padded = [*rows, *[filler] * (size - len(rows))]
    return {f"{name}{i}": value for i, row in enumerate(padded) for name, value in row.items()}
