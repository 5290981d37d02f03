"""What keeping and reading a session costs with each history provider, beside the bare place it keeps it in.

One session grows to 10, 100, 1,000 and 10,000 messages. At each length one turn (a question and its
answer) is appended, the newest 64 messages are read, and all of them; each many times, in turn with the
same on the floor, which keeps the same JSON in the same kind of place and promises nothing: no check of
ids, no bounds, no mending, one reader and writer. What is read is parsed as JSON on the floor, too.
The median of each is told in milliseconds on the clock, and how many times the floor's it is.
"""

import argparse
import os
import sqlite3
import statistics
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import orjson
import uvloop
from typing_extensions import override
from valkey.asyncio import Valkey

from tertulia.ids import MESSAGE, new_id
from tertulia.memory.history import (
    FileHistoryProvider,
    HistoryProvider,
    InMemoryHistoryProvider,
    RedisHistoryProvider,
    SQLHistoryProvider,
    SupportsRecent,
)
from tertulia.memory.sessions import ProviderSession
from tertulia.messages import Message, Role, now_us
from tertulia.parts import text_content
from tests.postgres import PostgresServer
from tests.valkey import ValkeyServer

LENGTHS: Final = (10, 100, 1_000, 10_000)
NEWEST: Final = 64
_SESSION: Final = ProviderSession(id="measured", agent="Chef")
_QUESTION: Final = "q" * 120
_ANSWER: Final = "a" * 400
_TABLE: Final = "CREATE TABLE plain (id INTEGER PRIMARY KEY, content TEXT)"


class Floor(ABC):
    """A place with nothing around it."""

    async def open(self) -> None:
        """Connect."""
        return

    @abstractmethod
    async def append(self, texts: Sequence[bytes]) -> None:
        """Keep texts, so that they outlive the process if anything here does."""

    @abstractmethod
    async def read(self, newest: int | None) -> list[Any]:
        """Return the newest ones parsed, or all."""

    async def close(self) -> None:
        """Let go."""
        return


class ListFloor(Floor):
    """A list of this process."""

    def __init__(self) -> None:
        self._texts: list[bytes] = []

    @override
    async def append(self, texts: Sequence[bytes]) -> None:
        self._texts += texts

    @override
    async def read(self, newest: int | None) -> list[Any]:
        return self._texts[-newest:] if newest else list(self._texts)


class FileFloor(Floor):
    """A file that is synced after each write, and read as a whole."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)

    @override
    async def append(self, texts: Sequence[bytes]) -> None:
        os.write(self._file, b"".join(text + b"\n" for text in texts))
        os.fsync(self._file)

    @override
    async def read(self, newest: int | None) -> list[Any]:
        lines = os.pread(self._file, os.fstat(self._file).st_size, 0).splitlines()
        return [orjson.loads(line) for line in (lines[-newest:] if newest else lines)]

    @override
    async def close(self) -> None:
        os.close(self._file)


class SQLiteFloor(Floor):
    """sqlite3 on the event loop, in WAL mode, synced at each commit."""

    def __init__(self, path: Path) -> None:
        self._raw = sqlite3.connect(path, isolation_level=None)
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", _TABLE):
            self._raw.execute(statement)

    @override
    async def append(self, texts: Sequence[bytes]) -> None:
        self._raw.execute("BEGIN IMMEDIATE")
        self._raw.executemany("INSERT INTO plain(content) VALUES (?)", [(text.decode(),) for text in texts])
        self._raw.execute("COMMIT")

    @override
    async def read(self, newest: int | None) -> list[Any]:
        query = "SELECT content FROM plain ORDER BY id DESC LIMIT ?"
        return [orjson.loads(text) for (text,) in self._raw.execute(query, (newest or -1,)).fetchall()]

    @override
    async def close(self) -> None:
        self._raw.close()


class PostgreSQLFloor(Floor):
    """asyncpg, with a turn in one statement."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._raw: Any

    @override
    async def open(self) -> None:
        self._raw = await asyncpg.connect(self._url)
        await self._raw.execute("CREATE TABLE plain (id serial PRIMARY KEY, content text)")

    @override
    async def append(self, texts: Sequence[bytes]) -> None:
        query = "INSERT INTO plain(content) SELECT unnest($1::text[])"
        await self._raw.execute(query, [text.decode() for text in texts])

    @override
    async def read(self, newest: int | None) -> list[Any]:
        query = "SELECT content FROM plain ORDER BY id DESC LIMIT $1"
        return [orjson.loads(text) for (text,) in await self._raw.fetch(query, newest)]

    @override
    async def close(self) -> None:
        await self._raw.close()


class RedisFloor(Floor):
    """A list, with the library's client."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Any

    @override
    async def open(self) -> None:
        self._client = Valkey.from_url(self._url)

    @override
    async def append(self, texts: Sequence[bytes]) -> None:
        await self._client.rpush("floor", *texts)

    @override
    async def read(self, newest: int | None) -> list[Any]:
        return [orjson.loads(text) for text in await self._client.lrange("floor", -(newest or 0), -1)]

    @override
    async def close(self) -> None:
        await self._client.aclose()


@dataclass(frozen=True, slots=True)
class Place:
    """A provider, and the floor below it."""

    name: str
    provider: HistoryProvider
    floor: Floor


@contextmanager
def places(wanted: Sequence[str]) -> Iterator[list[Place]]:
    """Open the places that are asked for; all of them are gone afterwards."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def postgresql() -> Place:
            server = stack.enter_context(PostgresServer())
            server.make("history")
            floor = PostgreSQLFloor(server.owner_url("history"))
            return Place("postgresql", SQLHistoryProvider(server.url("history")), floor)

        def redis() -> Place:
            server = stack.enter_context(ValkeyServer())
            return Place("redis", RedisHistoryProvider(server.url), RedisFloor(server.url))

        def sqlite() -> Place:
            provider = SQLHistoryProvider(f"sqlite:///{folder / 'history.db'}")
            return Place("sqlite", provider, SQLiteFloor(folder / "floor.db"))

        makers: dict[str, Callable[[], Place]] = {
            "memory": lambda: Place("memory", InMemoryHistoryProvider(), ListFloor()),
            "file": lambda: Place(
                "file", FileHistoryProvider(folder / "files"), FileFloor(folder / "floor.jsonl")
            ),
            "sqlite": sqlite,
            "postgresql": postgresql,
            "redis": redis,
        }
        yield [makers[name]() for name in wanted]


PLACES: Final = ("memory", "file", "sqlite", "postgresql", "redis")


def _turns(count: int) -> list[Message]:
    return [_said("assistant", _ANSWER) if n % 2 else _said("user", _QUESTION) for n in range(count)]


def _said(role: Role, text: str) -> Message:
    return Message(id=new_id(MESSAGE), role=role, content=text_content(text), created_at=now_us())


def _texts(messages: Sequence[Message]) -> list[bytes]:
    return [orjson.dumps(message.to_dict()) for message in messages]


async def _clocked(work: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await work()
    return (time.perf_counter() - begun) * 1000


async def _both(
    ours: Callable[[], Awaitable[object]], floor: Callable[[], Awaitable[object]], *, times: int
) -> str:
    """Return the medians of both, taken in turn."""
    pairs = [(await _clocked(ours), await _clocked(floor)) for _ in range(times)]
    mine, least = (statistics.median(each) for each in zip(*pairs, strict=True))
    return f"{mine:8.2f} ({mine / least:5.1f} x)"


async def _append(place: Place, times: int) -> str:
    turns = iter([_turns(2) for _ in range(2 * times)])
    return await _both(
        lambda: place.provider.append(_SESSION, next(turns)),
        lambda: place.floor.append(_texts(next(turns))),
        times=times,
    )


async def _recent(place: Place, times: int) -> str:
    provider = place.provider
    if not isinstance(provider, SupportsRecent):
        return "-"
    return await _both(
        lambda: provider.recent(_SESSION, limit=NEWEST), lambda: place.floor.read(NEWEST), times=times
    )


async def _load(place: Place, times: int) -> str:
    return await _both(
        lambda: place.provider.load(_SESSION), lambda: place.floor.read(None), times=max(3, times // 5)
    )


async def _grow(place: Place, length: int) -> None:
    """Bring both to this length, not counting the turns that were measured before."""
    missing = length - len(await place.provider.load(_SESSION))
    if missing > 0:
        said = _turns(missing)
        await place.provider.append(_SESSION, said)
        await place.floor.append(_texts(said))


async def _measure(place: Place, lengths: Sequence[int], times: int) -> None:
    await place.floor.open()
    works = {f"recent({NEWEST})": _recent, "load": _load, "append a turn": _append}
    rows: dict[str, list[str]] = {name: [] for name in works}
    for length in lengths:
        await _grow(place, length)
        for name, work in works.items():
            rows[name].append(await work(place, times))
    await place.provider.close()
    await place.floor.close()
    for name, cells in rows.items():
        print(f"{place.name:<11}{name:<14}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--places", nargs="+", choices=PLACES, default=PLACES)
    parser.add_argument("--times", type=int, default=40, help="how often each thing is done")
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS)
    given = parser.parse_args(arguments)
    print(f"{'ms, (x floor), at':<25}" + "".join(f"{f'{length:,}':>20}" for length in given.lengths))
    with places(given.places) as wanted:
        for place in wanted:
            uvloop.run(_measure(place, given.lengths, given.times))


if __name__ == "__main__":
    main()
