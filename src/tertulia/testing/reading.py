"""Reads a history from a database, over a connection of its own and without any code of the stores."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import asyncpg
import orjson

from tertulia.testing.history import ConversationRow, History, MessageRow, RunRow, SegmentRow

_Row: TypeAlias = Sequence[Any]

_WITHDRAWN: Final = 1
_ERASED: Final = 4
_CONVERSATIONS: Final = (
    "SELECT id, head, next_run, holder, queued, parent_id, base FROM conversations ORDER BY tenant, id"
)
_SEGMENTS: Final = (
    "SELECT conversation_id, source_conversation_id, from_number, to_number FROM segments"
    " ORDER BY tenant, conversation_id, i"
)
_MESSAGES: Final = (
    "SELECT conversation_id, number, id, run_id, turn, role, content, flags FROM messages"
    " ORDER BY tenant, conversation_id, number"
)
_RUNS: Final = (
    "SELECT id, conversation_id, n, status, epoch, input_message_id, input_number, last_number,"
    " created_at, ended_at, input, cancel_requested, waiting FROM runs ORDER BY tenant, conversation_id, n"
)
_SEE_EVERYONE: Final = "SET LOCAL tertulia.tenant = '*'"
_WRITTEN: Final = {
    "conversations": "tenant, id",
    "messages": "tenant, conversation_id, number",
    "runs": "tenant, id",
    "steps": "tenant, run_id, path",
    "frames": "tenant, run_id, first_seq",
    "jobs": "tenant, id",
}
"""The tables that runs write, and the order in which to read them."""
_QUERIES: Final = (_CONVERSATIONS, _SEGMENTS, _MESSAGES, _RUNS)


async def read_history(url: str) -> History:
    """Return what stands in a SQLite file or a PostgreSQL database at one moment."""
    hexed = bytes.hex if _is_file(url) else lambda ident: ident.hex
    return _history(await _read(url, _QUERIES), hexed=hexed)


async def read_everything(url: str) -> dict[str, list[_Row]]:
    """Return every row of the tables that runs write, as it stands, to be compared with later."""
    rows = await _read(url, [f"SELECT * FROM {table} ORDER BY {key}" for table, key in _WRITTEN.items()])  # noqa: S608
    return dict(zip(_WRITTEN, rows, strict=True))


def _is_file(url: str) -> bool:
    return url.startswith("sqlite")


async def _read(url: str, queries: Sequence[str]) -> list[list[_Row]]:
    if _is_file(url):
        return await asyncio.to_thread(_from_sqlite, Path(url.partition("///")[2]), queries)
    return await _from_postgresql(url, queries)


def _from_sqlite(path: Path, queries: Sequence[str]) -> list[list[_Row]]:
    raw = sqlite3.connect(path, isolation_level=None, timeout=30)
    try:
        raw.execute("BEGIN")
        return [raw.execute(query).fetchall() for query in queries]
    finally:
        raw.close()


async def _from_postgresql(url: str, queries: Sequence[str]) -> list[list[_Row]]:
    raw = await asyncpg.connect(url)
    try:
        async with raw.transaction(isolation="repeatable_read", readonly=True):
            await raw.execute(_SEE_EVERYONE)
            return [[tuple(row) for row in await raw.fetch(query)] for query in queries]
    finally:
        await raw.close()


def _history(rows: Iterable[Iterable[_Row]], *, hexed: Callable[[Any], str]) -> History:
    conversations, segments, messages, runs = rows

    def named(ident: object) -> str | None:
        return None if ident is None else hexed(ident)

    return History(
        conversations=[
            ConversationRow(
                id=hexed(row[0]),
                head=row[1],
                next_run=row[2],
                holder=named(row[3]),
                queued=row[4],
                parent_id=named(row[5]),
                base=row[6],
            )
            for row in conversations
        ],
        segments=[
            SegmentRow(conversation_id=hexed(row[0]), source_id=hexed(row[1]), first=row[2], last=row[3])
            for row in segments
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
                is_withdrawn=bool(row[7] & _WITHDRAWN),
                is_erased=bool(row[7] & _ERASED),
                calls=tuple(part["id"] for part in _parts(row[6], "tool_call")),
                results=tuple(part["call_id"] for part in _parts(row[6], "tool_result")),
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
                input=None if row[10] is None else _text(row[10]),
                stop=row[11],
                is_asking=row[12] is not None,
            )
            for row in runs
        ],
    )


def _text(content: str) -> str:
    kept = orjson.loads(content) if content else {}
    return str(kept["text"]) if "text" in kept else "".join(part["text"] for part in _parts(content, "text"))


def _parts(content: str, kind: str) -> list[dict[str, Any]]:
    kept = orjson.loads(content) if content else {}
    return [part for part in kept.get("parts", ()) if part["type"] == kind]
