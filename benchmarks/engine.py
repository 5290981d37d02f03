"""What the engine itself costs, without HTTP and models: runs, events and hints, beside their floors."""

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import asyncpg
import uvloop
from typing_extensions import override

from benchmarks import meter
from benchmarks.storage import PostgreSQLStorage, SQLiteStorage, Storage
from tertulia.conversations import Commit, Conversation
from tertulia.definitions import StoredAgent
from tertulia.engine import ActiveRun, Engine, Performer, Plan, StepResult, Ticket, Turn
from tertulia.events import RunStarted, TextDelta
from tertulia.hints import open_hints
from tertulia.ids import AGENT, new_id
from tertulia.stores import Store, StoreOptions, open_store
from tertulia.testing.builders import (
    COMPLETED,
    PERFORMER,
    a_branch,
    a_claimed_run,
    a_conversation,
    a_digest,
    a_submission,
    an_agent,
    an_answer,
)
from tertulia.usage import Usage
from tests.postgres import PostgresServer

_COUNTED: Final = 20
_ROUNDS: Final = 5
_FLOOR_COMMITS: Final = 500
_QUESTION: Final = "q" * 120
_ANSWER: Final = "a" * 400
_PLAIN: Final = "CREATE TABLE plain (id INTEGER PRIMARY KEY, content TEXT)"
_SPENT: Final = Usage(input_tokens=100, output_tokens=100, model_calls=1)


class Stepping(Performer):
    """Answers after so many steps, or in so many pieces."""

    def __init__(self, *, steps: int, pieces: int = 0) -> None:
        self._steps, self._pieces = steps, pieces

    @override
    async def perform(self, run: ActiveRun) -> Turn:
        """Take the steps, each with an answer's worth of output."""

        async def work() -> StepResult:
            for _ in range(self._pieces):
                run.emit(TextDelta(text="word ", author="A"))
                await asyncio.sleep(0)
            return StepResult(output=f'"{_ANSWER}"', usage=_SPENT)

        for i in range(self._steps):
            plan = Plan(kind="model", identity=a_digest(f"{i}"), within_seconds=60)
            await run.step(f"turn/1/model/{i}", work, plan)
        return Turn(author="A", messages=(an_answer(_ANSWER),), tokens=100)


@dataclass(frozen=True)
class Floor:
    """What a commit of one row costs, one after another on one connection."""

    cpu: float
    """CPU seconds of ours and of the database."""
    wall: float
    """Seconds on the clock."""


@dataclass(frozen=True)
class Place:
    """A database that is measured."""

    name: str
    url: str
    storage: Storage
    server: int | None
    """The process of its own that it has."""
    floor: Callable[[int], Awaitable["Floor"]]
    """What so many commits cost without us."""

    def cpu(self) -> float:
        """Return the CPU seconds that we and the database have used."""
        return time.process_time() + (meter.cpu_seconds(self.server) if self.server else 0.0)


@asynccontextmanager
async def an_engine(place: Place, performer: Performer) -> AsyncIterator[tuple[Store, Engine]]:
    """Run an engine on a place."""
    store = open_store(place.url, StoreOptions(synchronous="NORMAL"))
    await store.open()
    hints = open_hints(place.url)
    engine = Engine(store, performers={PERFORMER: performer}, hints=hints)
    await engine.start()
    try:
        yield store, engine
    finally:
        await engine.stop()
        await store.close()


async def _say(engine: Engine, conversation: Conversation, *, is_followed: bool = False) -> Ticket:
    asked = a_submission(conversation, _QUESTION)
    return await engine.submit(replace(asked, options={"deltas": True}) if is_followed else asked)


async def _somebody(store: Store) -> StoredAgent:
    return await an_agent(store, name=new_id(AGENT))


async def _commits(place: Place, engine: Engine, conversation: Conversation) -> float:
    """Return how often a run commits."""
    while True:
        era, before = await place.storage.commits()
        for _ in range(_COUNTED):
            await (await _say(engine, conversation)).finished()
        later, after = await place.storage.commits()
        if later == era:
            return (after - before) / _COUNTED


async def runs(place: Place, *, steps: int, count: int) -> str:
    """Measure runs one after another."""
    async with an_engine(place, Stepping(steps=steps)) as (store, engine):
        conversation = await a_conversation(store, await _somebody(store))
        commits = await _commits(place, engine, conversation)
        cpu = place.cpu()
        for _ in range(count):
            await (await _say(engine, conversation)).finished()
        cpu = place.cpu() - cpu
    least = (await place.floor(count)).cpu * (steps + 1)
    return (
        f"{place.name}: a run of {steps} steps {cpu / count * 1000:7.3f} ms CPU, {commits:.1f} commits; "
        f"floor {least * 1000:.3f} ms with {steps + 1} commits: {cpu / count / least:.1f} x"
    )


async def rate(place: Place, *, at_once: int, seconds: float) -> str:
    """Measure how many runs a second end when so many conversations talk at once."""
    async with an_engine(place, Stepping(steps=1)) as (store, engine):
        agent = await _somebody(store)
        talks = [await a_conversation(store, agent) for _ in range(at_once)]
        ended, end = 0, time.monotonic() + seconds

        async def talk(conversation: Conversation) -> None:
            nonlocal ended
            while time.monotonic() < end:
                await (await _say(engine, conversation)).finished()
                ended += 1

        cpu, begun = place.cpu(), time.monotonic()
        await asyncio.gather(*map(talk, talks))
        took, cpu = time.monotonic() - begun, place.cpu() - cpu
    least = (await place.floor(_FLOOR_COMMITS)).wall * 2
    return (
        f"{place.name}: {at_once:3} conversations at once {ended / took:7.0f} runs/s, "
        f"{cpu / took:.2f} cores; floor (two commits, one connection) {1 / least:.0f}"
    )


async def first_event(place: Place, *, count: int) -> str:
    """Measure the time from handing a message in to its run's first event."""
    waits = []
    async with an_engine(place, Stepping(steps=1)) as (store, engine):
        conversation = await a_conversation(store, await _somebody(store))
        for _ in range(count):
            begun = time.perf_counter()
            ticket = await _say(engine, conversation)
            async with aclosing(ticket.events()) as events:
                async for numbered in events:
                    if isinstance(numbered.event, RunStarted):
                        waits.append(time.perf_counter() - begun)
    least = (await place.floor(count)).wall
    return (
        f"{place.name}: message handed in -> first event {_spread(waits)}; "
        f"floor (a commit) {least * 1000:.2f} ms"
    )


async def chunks(place: Place, *, pieces: int, followers: int) -> str:
    """Measure the CPU that a piece of an answer costs, told to so many who follow, and stored."""
    performer = Stepping(steps=1, pieces=pieces)
    async with an_engine(place, performer) as (store, engine):
        agent = await _somebody(store)
        talks = [await a_conversation(store, agent) for _ in range(followers)]

        async def hear(conversation: Conversation) -> None:
            ticket = await _say(engine, conversation, is_followed=True)
            async with aclosing(ticket.events()) as events:
                async for _ in events:
                    pass

        cpu = place.cpu()
        await asyncio.gather(*map(hear, talks))
        each = (place.cpu() - cpu) / (pieces * followers)
    least = await _queue(pieces)
    return (
        f"{place.name}: a piece of an answer {each * 1e6:6.1f} µs CPU with its storing, {followers} streams; "
        f"floor (a queue) {least * 1e6:.1f} µs; limit 60 µs"
    )


async def _queue(pieces: int) -> float:
    """Return the CPU seconds that handing a piece to another task takes at least."""
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def tell() -> None:
        for _ in range(pieces):
            queue.put_nowait("word ")
            await asyncio.sleep(0)

    cpu = time.process_time()
    telling = asyncio.create_task(tell())
    for _ in range(pieces):
        await queue.get()
    await telling
    return (time.process_time() - cpu) / pieces


async def length(place: Place, *, messages: int, count: int) -> str:
    """Measure runs and pages where a conversation is long, and in a branch of a branch of it."""
    async with an_engine(place, Stepping(steps=1)) as (store, engine):
        agent = await _somebody(store)
        empty, long = await a_conversation(store, agent), await a_long_talk(store, agent, messages)
        branch = long
        for _ in range(2):
            branch = await store.conversations.fork(0, a_branch(branch, at=branch.head))
            await (await _say(engine, branch)).finished()
            branch = await store.conversations.get(0, branch.id)
        told = []
        least = await _each(place, engine, empty, count)
        for name, conversation in (("long", long), ("branch of a branch", branch)):
            cost = await _each(place, engine, conversation, count)
            pages = [await _page(place, store, conversation, after) for after in (0, messages // 2)]
            last = await _page(place, store, conversation, conversation.head - 50)
            told.append(
                f"{name} {cost / least:.2f} x an empty one, a page of 50 at the beginning, in the middle "
                f"and at the end {', '.join(f'{each * 1000:.2f}' for each in (*pages, last))} ms"
            )
    return f"{place.name}: {messages} messages: {'; '.join(told)}"


async def a_long_talk(store: Store, agent: StoredAgent, messages: int) -> Conversation:
    """Make a conversation with so many messages, some hundred in each run."""
    conversation = await a_conversation(store, agent)
    while conversation.head < messages:
        claim = await a_claimed_run(store, a_submission(conversation, _QUESTION))
        said = tuple(an_answer(_ANSWER, turn=i + 1) for i in range(199))
        await store.runs.commit(claim.lease, Commit(messages=said, ending=COMPLETED), None)
        conversation = await store.conversations.get(0, conversation.id)
    return conversation


async def _each(place: Place, engine: Engine, conversation: Conversation, count: int) -> float:
    """Return the least CPU seconds of a run, of several rounds."""
    found = []
    for _ in range(_ROUNDS):
        cpu = place.cpu()
        for _ in range(count):
            await (await _say(engine, conversation)).finished()
        found.append((place.cpu() - cpu) / count)
    return min(found)


async def _page(place: Place, store: Store, conversation: Conversation, after: int) -> float:
    """Return the least CPU seconds of reading fifty messages."""
    found = []
    for _ in range(_ROUNDS):
        cpu = place.cpu()
        for _ in range(_COUNTED):
            await store.conversations.messages(0, conversation.id, after=after, limit=50)
        found.append((place.cpu() - cpu) / _COUNTED)
    return min(found)


async def hint(place: Place, *, count: int) -> str:
    """Measure the time from a hint to who hears it through a line of its own."""
    heard = asyncio.Event()
    here, there = open_hints(place.url), open_hints(place.url)
    await here.open(lambda _: None)
    await there.open(lambda _: heard.set())
    waits = []
    for i in range(count):
        heard.clear()
        begun = time.perf_counter()
        here.ring({f"run_{i:032x}"})
        async with asyncio.timeout(5):
            await heard.wait()
        waits.append(time.perf_counter() - begun)
        await asyncio.sleep(0.02)
    await here.close()
    await there.close()
    return f"{place.name}: hint -> who hears it {_spread(waits)}"


def _spread(waits: Sequence[float]) -> str:
    high = statistics.quantiles(waits, n=20)[-1]
    return f"{statistics.median(waits) * 1000:.2f} ms (median), {high * 1000:.2f} ms (95 %)"


async def _sqlite_floor(path: Path, commits: int) -> Floor:
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA synchronous = NORMAL")
        raw.execute(_PLAIN.replace("TABLE", "TABLE IF NOT EXISTS"))
        cpu, begun = time.process_time(), time.perf_counter()
        for _ in range(commits):
            raw.execute("BEGIN IMMEDIATE")
            raw.execute("INSERT INTO plain (content) VALUES (?)", (_ANSWER,))
            raw.execute("COMMIT")
        wall = time.perf_counter() - begun
        return Floor((time.process_time() - cpu) / commits, wall / commits)


async def _postgresql_floor(url: str, server: int, commits: int) -> Floor:
    raw = await asyncpg.connect(url)
    try:
        await raw.execute("CREATE TABLE IF NOT EXISTS plain (id serial PRIMARY KEY, content text)")
        cpu, begun = time.process_time() + meter.cpu_seconds(server), time.perf_counter()
        for _ in range(commits):
            await raw.execute("INSERT INTO plain (content) VALUES ($1)", _ANSWER)
        wall = time.perf_counter() - begun
        return Floor((time.process_time() + meter.cpu_seconds(server) - cpu) / commits, wall / commits)
    finally:
        await raw.close()


async def _measure(place: Place, *, count: int, seconds: float, pieces: int, messages: int) -> None:
    for steps in (1, 3):
        print(await runs(place, steps=steps, count=count))
    for at_once in (1, 16, 64):
        print(await rate(place, at_once=at_once, seconds=seconds))
    print(await first_event(place, count=count))
    print(await chunks(place, pieces=pieces, followers=8))
    print(await hint(place, count=min(count, 100)))
    print(await length(place, messages=messages, count=max(10, count // 10)))
    print(flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both databases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--databases", nargs="+", choices=("sqlite", "postgresql"))
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each number of conversations")
    parser.add_argument("--pieces", type=int, default=2000)
    parser.add_argument("--messages", type=int, default=10_000, help="of a long conversation")
    given = parser.parse_args(arguments)
    wanted = given.databases or ("sqlite", "postgresql")
    dials = {
        "count": given.runs,
        "seconds": given.seconds,
        "pieces": given.pieces,
        "messages": given.messages,
    }
    if "sqlite" in wanted:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "engine.db"
            place = Place(
                name="sqlite (NORMAL)",
                url=f"sqlite:///{path}",
                storage=SQLiteStorage(path),
                server=None,
                floor=lambda commits: _sqlite_floor(path.with_name("floor.db"), commits),
            )
            uvloop.run(_measure(place, **dials))
    if "postgresql" in wanted:
        with PostgresServer() as server:
            server.make("engine")
            pid, owner = server.pid, server.owner_url("engine")
            place = Place(
                name="postgresql",
                url=server.url("engine"),
                storage=PostgreSQLStorage(owner),
                server=pid,
                floor=lambda commits: _postgresql_floor(owner, pid, commits),
            )
            uvloop.run(_measure(place, **dials))


if __name__ == "__main__":
    main()
