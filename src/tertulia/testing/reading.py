"""Reads a history from a database, over a connection of its own and without any code of the stores."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import asyncpg
import orjson

from tertulia.testing.history import ConversationRow, History, MessageRow, RunRow

_Row: TypeAlias = Sequence[Any]

_CONVERSATIONS: Final = "SELECT id, head, next_run, holder, queued FROM conversations ORDER BY tenant, id"
_MESSAGES: Final = (
    "SELECT conversation_id, number, id, run_id, turn, role, content FROM messages"
    " ORDER BY tenant, conversation_id, number"
)
_RUNS: Final = (
    "SELECT id, conversation_id, n, status, epoch, input_message_id, input_number, last_number,"
    " created_at, ended_at FROM runs ORDER BY tenant, conversation_id, n"
)
_QUERIES: Final = (_CONVERSATIONS, _MESSAGES, _RUNS)


async def read_history(url: str) -> History:
    """Return what stands in a SQLite file or a PostgreSQL database at one moment."""
    if url.startswith("sqlite"):
        return await asyncio.to_thread(_from_sqlite, Path(url.partition("///")[2]))
    return await _from_postgresql(url)


def _from_sqlite(path: Path) -> History:
    raw = sqlite3.connect(path, isolation_level=None, timeout=30)
    try:
        raw.execute("BEGIN")
        return _history([raw.execute(query).fetchall() for query in _QUERIES], hexed=bytes.hex)
    finally:
        raw.close()


async def _from_postgresql(url: str) -> History:
    raw = await asyncpg.connect(url)
    try:
        async with raw.transaction(isolation="repeatable_read", readonly=True):
            return _history([await raw.fetch(query) for query in _QUERIES], hexed=lambda ident: ident.hex)
    finally:
        await raw.close()


def _history(rows: Iterable[Iterable[_Row]], *, hexed: Callable[[Any], str]) -> History:
    conversations, messages, runs = rows

    def named(ident: object) -> str | None:
        return None if ident is None else hexed(ident)

    return History(
        conversations=[
            ConversationRow(
                id=hexed(row[0]), head=row[1], next_run=row[2], holder=named(row[3]), queued=row[4]
            )
            for row in conversations
        ],
        messages=[
            MessageRow(
                conversation_id=hexed(row[0]),
                number=row[1],
                id=hexed(row[2]),
                run_id=named(row[3]),
                turn=row[4],
                role=row[5],
                text=_text(row[6]),
            )
            for row in messages
        ],
        runs=[
            RunRow(
                id=hexed(row[0]),
                conversation_id=hexed(row[1]),
                n=row[2],
                status=row[3],
                epoch=row[4],
                input_message_id=hexed(row[5]),
                input_number=row[6],
                last_number=row[7],
                created_at=row[8],
                ended_at=row[9],
            )
            for row in runs
        ],
    )


def _text(content: str) -> str:
    kept = orjson.loads(content) if content else {}
    return str(kept["text"]) if "text" in kept else "".join(part["text"] for part in kept.get("parts", ()))
