"""The floor: a durable chat turn with nothing around it, to measure the product against.

A raw ASGI application, a raw HTTP client for the model, and sqlite3 on the event loop or asyncpg,
with one transaction a turn. It keeps no lease, no journal and no events, checks nothing, survives
no crash between model and commit, and lets two turns at once on one conversation fail. What a
product costs above this is the price of its promises.

It answers the requests that the benchmarks send, at the same paths. ``--prefix rows`` reads and
encodes the whole history at every turn; ``--prefix cached`` keeps the encoded history of each
conversation and asks the database only how long it is.
"""

import argparse
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final, TypeAlias
from uuid import uuid4

import asyncpg
import orjson
import uvicorn
from typing_extensions import override

from benchmarks.wire import Wire

Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
Said: TypeAlias = tuple[str, str]
"""Role and text."""

_SYSTEM: Final = b'{"role":"system","content":"You are a helpful assistant."}'
_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS conversation(id TEXT PRIMARY KEY, said INTEGER NOT NULL DEFAULT 0)",
    "CREATE TABLE IF NOT EXISTS message(conversation TEXT NOT NULL, number INTEGER NOT NULL, "
    "role TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY(conversation, number))",
)
_JSON: Final = (b"content-type", b"application/json")


class Log(ABC):
    """Where the floor keeps what is said."""

    @abstractmethod
    async def open(self) -> None:
        """Connect, and make the tables."""

    @abstractmethod
    async def begin(self, conversation: str) -> None:
        """Make a conversation."""

    @abstractmethod
    async def length(self, conversation: str) -> int:
        """Return how many messages a conversation has."""

    @abstractmethod
    async def read(self, conversation: str) -> Sequence[Said]:
        """Return all of them."""

    @abstractmethod
    async def append(self, conversation: str, head: int, said: Sequence[Said]) -> None:
        """Add messages after the head in one transaction; raises if others were quicker."""


class SQLiteLog(Log):
    """sqlite3 in WAL mode, called on the event loop."""

    def __init__(self, path: str, synchronous: str) -> None:
        self._path, self._synchronous = path, synchronous
        self._raw: sqlite3.Connection

    @override
    async def open(self) -> None:
        self._raw = sqlite3.connect(self._path, isolation_level=None)
        for statement in ("PRAGMA journal_mode=WAL", f"PRAGMA synchronous={self._synchronous}"):
            self._raw.execute(statement)
        self._raw.execute(_TABLES[0])
        self._raw.execute(f"{_TABLES[1]} WITHOUT ROWID")

    @override
    async def begin(self, conversation: str) -> None:
        self._raw.execute("INSERT INTO conversation(id) VALUES (?)", (conversation,))

    @override
    async def length(self, conversation: str) -> int:
        found = self._raw.execute("SELECT said FROM conversation WHERE id=?", (conversation,)).fetchone()
        return int(found[0])

    @override
    async def read(self, conversation: str) -> Sequence[Said]:
        query = "SELECT role, text FROM message WHERE conversation=? ORDER BY number"
        return self._raw.execute(query, (conversation,)).fetchall()

    @override
    async def append(self, conversation: str, head: int, said: Sequence[Said]) -> None:
        rows = [(conversation, head + place, *each) for place, each in enumerate(said, start=1)]
        self._raw.execute("BEGIN IMMEDIATE")
        moved = self._raw.execute(
            "UPDATE conversation SET said=? WHERE id=? AND said=?", (head + len(said), conversation, head)
        )
        if moved.rowcount != 1:
            self._raw.execute("ROLLBACK")
            raise RuntimeError("two turns at once")
        self._raw.executemany("INSERT INTO message VALUES (?,?,?,?)", rows)
        self._raw.execute("COMMIT")


class PostgreSQLLog(Log):
    """asyncpg, with a turn's writes in one statement, which is one transaction and one round trip."""

    _APPEND = (
        "WITH moved AS (UPDATE conversation SET said=$2+$3 WHERE id=$1 AND said=$2 RETURNING id) "
        "INSERT INTO message SELECT id, $2+place, role, text FROM moved, "
        "unnest($4::text[], $5::text[]) WITH ORDINALITY AS said(role, text, place)"
    )

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: Any

    @override
    async def open(self) -> None:
        self._pool = await asyncpg.create_pool(self._url, min_size=1, max_size=8)
        for table in _TABLES:
            await self._pool.execute(table)

    @override
    async def begin(self, conversation: str) -> None:
        await self._pool.execute("INSERT INTO conversation(id) VALUES ($1)", conversation)

    @override
    async def length(self, conversation: str) -> int:
        found: int = await self._pool.fetchval("SELECT said FROM conversation WHERE id=$1", conversation)
        return found

    @override
    async def read(self, conversation: str) -> Sequence[Said]:
        query = "SELECT role, text FROM message WHERE conversation=$1 ORDER BY number"
        rows: Sequence[Said] = await self._pool.fetch(query, conversation)
        return rows

    @override
    async def append(self, conversation: str, head: int, said: Sequence[Said]) -> None:
        roles, texts = zip(*said, strict=True)
        done = await self._pool.execute(self._APPEND, conversation, head, len(said), roles, texts)
        if done != f"INSERT 0 {len(said)}":
            raise RuntimeError("two turns at once")


class Floor:
    """The ASGI application."""

    def __init__(self, log: Log, model: str, *, is_cached: bool) -> None:
        self._log, self._model = log, model
        self._prefixes: dict[str, tuple[int, bytes]] | None = {} if is_cached else None
        self._idle: list[Wire] = []

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """Answer a request; what goes wrong is an exception."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        request = orjson.loads(await _body(receive) or b"{}")
        answer = orjson.dumps(await self._answer(scope["path"], request))
        length = (b"content-length", b"%d" % len(answer))
        await send({"type": "http.response.start", "status": 200, "headers": [_JSON, length]})
        await send({"type": "http.response.body", "body": answer})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await self._log.open()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, path: str, request: dict[str, str]) -> dict[str, str]:
        if path == "/agents/chat-agent":
            conversation = request["conversation_id"]
            return {
                "conversation_id": conversation,
                "response": await self._turn(conversation, request["message"]),
            }
        if path == "/agents/create-conversation":
            conversation = uuid4().hex
            await self._log.begin(conversation)
            return {"id": conversation}
        return {"id": "floor"}

    async def _turn(self, conversation: str, text: str) -> str:
        head, prefix = await self._shown(conversation)
        prefix = b"%s,%s" % (prefix, _encoded(("user", text)))
        reply = await self._ask(prefix)
        await self._log.append(conversation, head, [("user", text), ("assistant", reply)])
        if self._prefixes is not None:
            self._prefixes[conversation] = head + 2, b"%s,%s" % (prefix, _encoded(("assistant", reply)))
        return reply

    async def _shown(self, conversation: str) -> tuple[int, bytes]:
        """Return how many messages there are, and all of them encoded."""
        if self._prefixes is not None:
            kept = self._prefixes.get(conversation)
            if kept is not None and kept[0] == await self._log.length(conversation):
                return kept
        said = await self._log.read(conversation)
        return len(said), b",".join([_SYSTEM, *map(_encoded, said)])

    async def _ask(self, messages: bytes) -> str:
        wire = self._idle.pop() if self._idle else await Wire.open(self._model)
        body = b'{"model":"fake-1","messages":[%s]}' % messages
        status, answer = await wire.post(b"/v1/chat/completions", body)
        self._idle.append(wire)
        if status != 200:
            raise RuntimeError(f"the model answered {status}")
        text: str = orjson.loads(answer)["choices"][0]["message"]["content"]
        return text


def _encoded(said: Said) -> bytes:
    return b'{"role":"%s","content":%s}' % (said[0].encode(), orjson.dumps(said[1]))


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True, help="base URL of the model's server")
    parser.add_argument("--database", required=True, help="sqlite:///… or postgresql://…")
    parser.add_argument("--synchronous", default="NORMAL", choices=["NORMAL", "FULL"])
    parser.add_argument("--prefix", default="rows", choices=["rows", "cached"])
    given = parser.parse_args()
    url: str = given.database
    log: Log = PostgreSQLLog(url)
    if url.startswith("sqlite:///"):
        log = SQLiteLog(url.removeprefix("sqlite:///"), given.synchronous)
    floor = Floor(log, given.model, is_cached=given.prefix == "cached")
    uvicorn.run(floor, port=given.port, log_level="warning", access_log=False, server_header=False)


if __name__ == "__main__":
    main()
