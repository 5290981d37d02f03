"""Reading a SQLite file, opened so that nothing else can be done with it."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Final

from typing_extensions import override

from tertulia.errors import ProviderError, ToolError
from tertulia.memory.context.answering import as_json, fitted
from tertulia.memory.context.sql_words import SQLITE_FUNCTIONS
from tertulia.memory.context.tables import Answer, Caps, Column, Dialect, Reader, Table, Wanted
from tertulia.tools.threads import in_own_thread

_STEPS: Final = 1000
_LIMITS: Final = {
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LENGTH: 4_000_000,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 500,
}
_COLUMNS: Final = "SELECT name, type FROM pragma_table_info(?, ?)"
_KIND: Final = "SELECT type FROM {}.sqlite_master WHERE type IN ('table', 'view') AND name = ? COLLATE NOCASE"


class SQLiteReader(Reader):
    """Reads a file; each question opens it anew, in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    @override
    def dialect(self) -> Dialect:
        return "sqlite"

    @override
    async def described(self, wanted: Sequence[Wanted], *, seconds: float) -> list[Table]:
        return await in_own_thread(partial(self._described, wanted, seconds))

    @override
    async def read(self, sql: str, tables: Sequence[Table], caps: Caps) -> Answer:
        given_up = Event()
        try:
            return await in_own_thread(partial(self._read, sql, tables, caps, given_up))
        finally:
            given_up.set()

    def _described(self, wanted: Sequence[Wanted], seconds: float) -> list[Table]:
        try:
            with closing(self._connected(seconds)) as connection:
                return [_described(connection, each) for each in wanted]
        except sqlite3.Error as error:
            raise ProviderError(
                "the database cannot be read; is its file there, and one of SQLite?"
            ) from error

    def _read(self, sql: str, tables: Sequence[Table], caps: Caps, given_up: Event) -> Answer:
        ends_at = monotonic() + caps.seconds
        with _told(caps), closing(self._connected(caps.seconds)) as connection:
            connection.set_progress_handler(lambda: given_up.is_set() or monotonic() > ends_at, _STEPS)
            connection.set_authorizer(_Gate(connection, tables).allow)
            cursor = connection.execute(sql)
            names = [column[0] for column in cursor.description]
            return fitted((as_json(names, row) for row in cursor), caps)

    def _connected(self, seconds: float) -> sqlite3.Connection:
        where = f"{self._path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(where, uri=True, timeout=seconds, isolation_level=None)
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        for limit, most in _LIMITS.items():
            connection.setlimit(limit, most)
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        return connection


def _described(connection: sqlite3.Connection, wanted: Wanted) -> Table:
    kind = connection.execute(_KIND.format(_quoted(wanted.schema)), (wanted.name,)).fetchone()
    there = connection.execute(_COLUMNS, (wanted.name, wanted.schema)).fetchall()
    if kind is None or not there:
        raise ProviderError(f"the database has no table {wanted.called!r}, which is listed to be read")
    columns = [Column(name=name, kind=of_type) for name, of_type in there]
    if wanted.columns is not None:
        by_name = {column.name.casefold(): column for column in columns}
        if missing := [name for name in wanted.columns if name.casefold() not in by_name]:
            raise ProviderError(f"the table {wanted.called!r} has no column {missing[0]!r}, which is listed")
        columns = [by_name[name.casefold()] for name in wanted.columns]
    return Table(wanted=wanted, columns=tuple(columns), is_view=kind[0] == "view")


class _Gate:
    """What SQLite asks while it compiles a query: whether it may read this column, use this function."""

    def __init__(self, connection: sqlite3.Connection, tables: Sequence[Table]) -> None:
        self._there = {
            name.casefold() for (name,) in connection.execute("SELECT name FROM main.sqlite_master")
        }
        self._tables = {table.wanted.name.casefold() for table in tables}
        self._columns = {
            (table.wanted.name.casefold(), column.name.casefold())
            for table in tables
            for column in table.columns
        }
        self._within_views: set[tuple[int, str, str, str]] = set()
        connection.set_authorizer(self._learn)
        for view in (table.wanted for table in tables if table.is_view):
            connection.execute(f"SELECT * FROM {_quoted(view.schema)}.{_quoted(view.name)} LIMIT 0").close()  # noqa: S608  # quoted

    def allow(
        self, action: int, first: str | None, second: str | None, schema: str | None, source: str | None
    ) -> int:
        """Return whether a listed table needs this, or a listed view within itself."""
        is_allowed = self._is_allowed(action, _folded(first), _folded(second), _folded(source))
        return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY

    def _is_allowed(self, action: int, first: str, second: str, source: str) -> bool:
        if (action, first, second, source) in self._within_views:
            return True
        if action == sqlite3.SQLITE_READ:
            return self._may_read(first, second)
        if action == sqlite3.SQLITE_FUNCTION:
            return second in SQLITE_FUNCTIONS
        return action in {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE}

    def _may_read(self, table: str, column: str) -> bool:
        if column:
            return (table, column) in self._columns
        # Counting rows reads no column, and subqueries are counted by their names.
        return table in self._tables or not (table in self._there or table.startswith("sqlite_"))

    def _learn(
        self, action: int, first: str | None, second: str | None, schema: str | None, source: str | None
    ) -> int:
        if source:
            self._within_views.add((action, _folded(first), _folded(second), _folded(source)))
        return sqlite3.SQLITE_OK


def _folded(name: str | None) -> str:
    return (name or "").casefold()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _told(caps: Caps) -> Iterator[None]:
    """Say in our words what SQLite raises."""
    try:
        yield
    except sqlite3.Error as error:
        said = str(error)
        if said == "interrupted":
            why = f"it took longer than {caps.seconds:g} seconds and was stopped; ask for less"
        elif "prohibited" in said or said == "not authorized":
            why = "it would read or do what is not allowed here"
        else:
            why = f"the database says: {said[:300]}"
        raise ToolError(f"The query was not carried out: {why}.") from error
