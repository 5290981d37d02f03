"""Reading a PostgreSQL database, in transactions in which nothing can be written."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import asyncpg
from typing_extensions import override

from tertulia.errors import ProviderError, ToolError, ToolUnavailable
from tertulia.memory.context.answering import fitted
from tertulia.memory.context.tables import Answer, Caps, Column, Dialect, Reader, Table, Wanted
from tertulia.per_loop import PerLoop

_AT_ONCE: Final = 4
_GRACE: Final = 1.0
_TOO_LONG: Final = "57014"
_TOLD: Final = ("21", "22", "42")
"""Classes of errors that say what is wrong with a query."""
_BEGIN: Final = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; "
    "SET LOCAL statement_timeout = {0}; SET LOCAL lock_timeout = {0}; "
    "SET LOCAL idle_in_transaction_session_timeout = {0}; "
    "SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL standard_conforming_strings = on; "
    "SET LOCAL row_security = on; SET LOCAL max_parallel_workers_per_gather = 0"
)
_ROWS: Final = (
    "SELECT pg_catalog.left(pg_catalog.row_to_json(q)::pg_catalog.text, {characters}) FROM ({sql}) AS q "
    "LIMIT {rows}"
)
_COLUMNS: Final = """
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS kind,
       coalesce(col_description(c.oid, a.attnum), '') AS comment, c.relkind IN ('v', 'm') AS is_view
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND a.attnum > 0 AND NOT a.attisdropped AND has_column_privilege(c.oid, a.attnum, 'SELECT')
ORDER BY a.attnum
"""


class PostgreSQLReader(Reader):
    """Reads a database; each question has a connection of its own, of which there are only a few at once."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._turns = PerLoop(partial(asyncio.Semaphore, _AT_ONCE))

    @property
    @override
    def dialect(self) -> Dialect:
        return "postgres"

    @override
    async def described(self, wanted: Sequence[Wanted], *, seconds: float) -> list[Table]:
        try:
            async with asyncio.timeout(seconds), self._reading(seconds) as connection:
                return [
                    _described(each, await connection.fetch(_COLUMNS, each.schema, each.name))
                    for each in wanted
                ]
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
            raise ProviderError("the database cannot be reached") from error

    @override
    async def read(self, sql: str, tables: Sequence[Table], caps: Caps) -> Answer:
        asked = _ROWS.format(sql=sql, characters=caps.characters + 1, rows=caps.rows + 1)
        try:
            async with asyncio.timeout(caps.seconds + _GRACE), self._reading(caps.seconds) as connection:
                return fitted([row[0] for row in await connection.fetch(asked)], caps)
        except asyncpg.PostgresError as error:
            raise _ours(error, caps) from error
        except TimeoutError as error:
            raise _too_slow(caps) from error
        except (asyncpg.InterfaceError, OSError, ValueError) as error:
            raise ToolUnavailable("The query was not carried out: the database cannot be reached.") from error

    @asynccontextmanager
    async def _reading(self, seconds: float) -> AsyncIterator["asyncpg.Connection[Any]"]:
        async with self._turns.get():
            connection = await asyncpg.connect(self._dsn, timeout=seconds, statement_cache_size=0)
            try:
                await connection.execute(_BEGIN.format(int(seconds * 1000)))
                yield connection
                await connection.execute("ROLLBACK")
                await connection.close(timeout=_GRACE)
            finally:
                connection.terminate()  # Nothing waits for a server that does not answer.


def _described(wanted: Wanted, rows: Sequence[Any]) -> Table:
    if not rows:
        raise ProviderError(
            f"the database has no table {wanted.called!r}, which is listed, or none that may be read"
        )
    columns = {
        row["name"]: Column(name=row["name"], kind=row["kind"], comment=row["comment"]) for row in rows
    }
    names = list(columns) if wanted.columns is None else wanted.columns
    if missing := [name for name in names if name not in columns]:
        raise ProviderError(f"the table {wanted.called!r} has no column {missing[0]!r}, which is listed")
    is_view = bool(rows[0]["is_view"])
    return Table(wanted=wanted, columns=tuple(columns[name] for name in names), is_view=is_view)


def _ours(error: asyncpg.PostgresError, caps: Caps) -> ToolError:
    code = error.sqlstate or ""
    if code == _TOO_LONG:
        return _too_slow(caps)
    if code.startswith(_TOLD):
        return ToolError(f"The query was not carried out: the database says: {str(error.args[0])[:300]}.")
    return ToolUnavailable(f"The query was not carried out: the database refused it ({code}).")


def _too_slow(caps: Caps) -> ToolError:
    return ToolError(
        f"The query was not carried out: it took longer than {caps.seconds:g} seconds and was stopped; "
        "ask for less."
    )
