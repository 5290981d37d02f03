"""Queries that a model wrote, taken apart and put together again, so that they read what they may.

What is carried out is never the text of the model: it is parsed, every part of it must be one that is
known to be harmless, and a new text is written from the parts. In it each table is replaced by a query of
its columns that may be read, so that there is nothing else to name; and what a ``WITH`` names is renamed,
so that it cannot pass for a table, nor a table for it.
"""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from secrets import token_hex
from typing import Final

from sqlglot import TokenType, exp, parse, tokenize
from sqlglot.dialects.dialect import Dialect as Grammar
from sqlglot.dialects.postgres import Postgres
from sqlglot.dialects.sqlite import SQLite
from sqlglot.errors import ErrorLevel, ParseError, SqlglotError
from sqlglot.optimizer.normalize_identifiers import normalize_identifiers
from typing_extensions import override

from tertulia.errors import ToolError
from tertulia.memory.context.sql_words import FUNCTIONS, PARTS, TYPES
from tertulia.memory.context.tables import Dialect, Table

MAX_SQL: Final = 8000
"""Characters of a query at most."""

_QUERIES: Final = (exp.Select, exp.SetOperation, exp.Subquery)
_PARTS: Final = frozenset(getattr(exp, name) for name in PARTS)
_TYPES: Final = frozenset(exp.DataType.Type[name] for name in TYPES)
_WORD: Final = re.compile(r"[A-Za-z_]{1,40}")
_NUMBER: Final = re.compile(r"[0-9.]{1,100}(?:[eE][+-]?[0-9]{1,4})?")
_OF_TABLE: Final = frozenset({"this", "db", "alias", "joins"})
_QUIET: Final = ContextVar("tertulia_quiet", default=False)


class _Ticked(SQLite):
    """SQLite, with names in backticks: a name in double quotes that is none is a text to it."""

    class Tokenizer(SQLite.Tokenizer):
        IDENTIFIERS = ["`", '"', ("[", "]")]  # noqa: RUF012  # as the library has it


_GRAMMARS: Final[dict[Dialect, type[Grammar]]] = {"sqlite": _Ticked, "postgres": Postgres}


class Checker:
    """Makes queries safe that may read certain tables, and refuses all others."""

    def __init__(self, dialect: Dialect, tables: Sequence[Table]) -> None:
        self._dialect, self._grammar, self._tables = dialect, _GRAMMARS[dialect], tuple(tables)

    def checked(self, sql: str) -> str:
        """Return a query that gives what ``sql`` asks for; raises :class:`ToolError`, saying what to mend."""
        with _quietly():
            try:
                return self._rewritten(sql)
            except ParseError as error:
                raise _refused(_what_is_wrong(error)) from error
            except (SqlglotError, RecursionError, ValueError) as error:
                raise _refused("it cannot be understood; ask for it in simpler words") from error

    def _rewritten(self, sql: str) -> str:
        tree = self._parsed(sql)
        _check_parts(tree)
        prefix = f"with_{token_hex(4)}_"
        names = self._rename_with_queries(tree, prefix)
        for table in list(tree.find_all(exp.Table)):
            self._replace(table, names, prefix)
        written = self._written(tree)
        self._check_again(written, prefix)
        return written

    def _parsed(self, sql: str) -> exp.Expr:
        if len(sql) > MAX_SQL or "\x00" in sql:
            raise _refused(f"a query has at most {MAX_SQL} characters, none of them NUL")
        tokens = tokenize(sql, read=self._grammar)
        while tokens and tokens[-1].token_type is TokenType.SEMICOLON:
            tokens.pop()
        first = tokens[0].token_type if tokens else None
        if first not in {TokenType.SELECT, TokenType.WITH, TokenType.L_PAREN}:
            raise _refused("it must begin with SELECT or WITH: nothing can be changed here")
        if any(token.token_type is TokenType.SEMICOLON for token in tokens):
            raise _refused("it must be one statement only; ask for the others in queries of their own")
        found = [each for each in parse(sql, read=self._grammar) if not isinstance(each, exp.Semicolon)]
        if len(found) != 1 or not isinstance(found[0], _QUERIES):
            raise _refused("it must be one SELECT")
        tree = found[0]
        return normalize_identifiers(tree, dialect="postgres") if self._dialect == "postgres" else tree

    def _rename_with_queries(self, tree: exp.Expr, prefix: str) -> set[str]:
        names = set()
        for query in tree.find_all(exp.CTE):
            name = self._folded(query.alias)
            if self._table("", name) is not None:
                raise _refused(f"what WITH names must not be called as a table is: rename {query.alias!r}")
            names.add(name)
            query.args["alias"].set("this", exp.to_identifier(prefix + name, quoted=True))
        return names

    def _replace(self, node: exp.Table, names: set[str], prefix: str) -> None:
        if (
            not isinstance(node.this, exp.Identifier)
            or {key for key, v in node.args.items() if v} - _OF_TABLE
        ):
            raise _refused("after FROM and JOIN there can be tables and queries only")
        alias = node.args.get("alias") or exp.TableAlias(this=node.this.copy())
        schema, name = self._folded(node.db), self._folded(node.name)
        if not schema and name in names:
            node.set("this", exp.to_identifier(prefix + name, quoted=True))
            node.set("alias", alias)
            return
        table = self._table(schema, name)
        if table is None:
            there_are = ", ".join(each.wanted.called for each in self._tables)
            called = f"{node.db}.{node.name}".lstrip(".")
            raise _refused(f"there is no table {called[:100]!r} that can be read; there are: {there_are}")
        node.replace(exp.Subquery(this=_open(table), alias=alias, joins=node.args.get("joins")))

    def _table(self, schema: str, name: str) -> Table | None:
        for table in self._tables:
            called = [self._folded(part) for part in table.wanted.called.split(".")]
            whole = [self._folded(table.wanted.schema), self._folded(table.wanted.name)]
            if [schema, name] == whole or ([schema, name] if schema else [name]) == called:
                return table
        return None

    def _folded(self, name: str) -> str:
        return name.casefold() if self._dialect == "sqlite" else name

    def _written(self, tree: exp.Expr) -> str:
        return tree.sql(
            dialect=self._grammar, identify=True, comments=False, unsupported_level=ErrorLevel.RAISE
        )

    def _check_again(self, written: str, prefix: str) -> None:
        """Read what was written as a stranger would: it must name nothing but what was put there."""
        found = parse(written, read=self._grammar)
        if len(found) != 1 or not isinstance(found[0], _QUERIES):
            raise _refused("it cannot be understood; ask for it in simpler words")
        _check_parts(found[0])
        known = {(table.wanted.schema, table.wanted.name) for table in self._tables}
        for table in found[0].find_all(exp.Table):
            is_ours = not table.db and table.name.startswith(prefix)
            if table.catalog or not (is_ours or (table.db, table.name) in known):
                raise _refused("it cannot be understood; ask for it in simpler words")


def _open(table: Table) -> exp.Select:
    """Return the query that stands for a table: all that may be read of it."""
    columns = [exp.column(exp.to_identifier(column.name, quoted=True)) for column in table.columns]
    source = exp.Table(
        this=exp.to_identifier(table.wanted.name, quoted=True),
        db=exp.to_identifier(table.wanted.schema, quoted=True),
    )
    return exp.Select(expressions=columns).from_(source)


def _check_parts(tree: exp.Expr) -> None:
    for node in tree.walk():
        if type(node) not in _PARTS:
            raise _refused(f"{_words(node)} cannot be used here")
        _check_words(node)


def _check_words(node: exp.Expr) -> None:
    """Refuse what would be written as it stands and is no plain word or number."""
    rule = _RULES.get(type(node))
    if complaint := rule(node) if rule else "":
        raise _refused(complaint)


def _function(node: exp.Expr) -> str:
    is_known = isinstance(node.this, str) and node.this.lower() in FUNCTIONS
    return "" if is_known else f"the function {node.name[:60]!r} cannot be used here"


def _var(node: exp.Expr) -> str:
    return "" if _WORD.fullmatch(node.name) else f"{node.name[:60]!r} cannot be used here"


def _literal(node: exp.Expr) -> str:
    is_fine = node.args.get("is_string") or _NUMBER.fullmatch(node.name)
    return "" if is_fine else f"{node.name[:60]!r} is no number"


def _type(node: exp.Expr) -> str:
    is_known = node.this in _TYPES and not node.args.get("kind")
    return "" if is_known else f"the type {node.sql()[:60]!r} cannot be used here"


def _column(node: exp.Expr) -> str:
    return "a column is named with its table only: orders.id" if node.args.get("db") else ""


_RULES: Final[dict[type[exp.Expr], Callable[[exp.Expr], str]]] = {
    exp.Anonymous: _function,
    exp.Var: _var,
    exp.Literal: _literal,
    exp.DataType: _type,
    exp.Column: _column,
}


def _words(node: exp.Expr) -> str:
    if isinstance(node, exp.Func):
        return f"the function {node.sql_name()[:60]!r}"
    return repr(node.key.upper()[:60])


def _refused(why: str) -> ToolError:
    return ToolError(f"The query was not carried out: {why}.")


def _what_is_wrong(error: ParseError) -> str:
    if not error.errors:
        return "it is no SQL that can be understood"
    found = error.errors[0]
    told = re.sub(
        r" but got <.*|<class '[\w.]*?(\w+)'>", r"\1", str(found.get("description") or "it is no SQL")
    )
    return f"{told.rstrip('.')} (line {found.get('line')}, column {found.get('col')})"


@contextmanager
def _quietly() -> Iterator[None]:
    """Have the library not log what it was given."""
    token = _QUIET.set(True)
    try:
        yield
    finally:
        _QUIET.reset(token)


class _Filter(logging.Filter):
    @override
    def filter(self, record: logging.LogRecord) -> bool:
        return not _QUIET.get()


logging.getLogger("sqlglot").addFilter(_Filter())
