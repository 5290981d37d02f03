"""What a durable chat turn costs the server in CPU time, beside the floor that no server gets below."""

import argparse
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from typing import Final, TypeAlias

import uvloop

from benchmarks import load, meter, serving
from benchmarks.load import Talk, WrongAnswer
from benchmarks.serving import Server
from benchmarks.storage import Size, Storage
from benchmarks.systems import DATABASES, KINDS, Database, System
from tests.postgres import PostgresServer

WINDOWS: Final = {1: (0, 5), 10: (7, 12), 100: (90, 110), 500: (480, 520)}
"""Which turns of a conversation are measured, by what they are called."""
AIMS: Final[dict[Database, str]] = {
    "sqlite-normal": "0.6 ms, 6.5 x floor",
    "sqlite-full": "0.9 ms",
    "postgresql": "0.9 ms, store 0.35",
}
_SLICE: Final = 40
"""Turns between two readings of the clocks."""
_LONG: Final = 4
"""Conversations that go on beyond the second window."""
_COUNTED: Final = 10
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU milliseconds per turn."""

    server: float
    store: float


@dataclass(slots=True)
class Found:
    """What was measured of one system."""

    costs: dict[int, list[Cost]] = field(default_factory=lambda: defaultdict(list))
    """By window, one for each slice."""
    commits: float = 0.0
    bytes_messages: float = 0.0
    bytes_bookkeeping: float = 0.0
    error: str = ""
    """What went wrong; then nothing else counts."""

    def server(self, mark: int) -> float:
        """Return the median of a window."""
        return statistics.median(cost.server for cost in self.costs[mark])

    def least(self, mark: int) -> float:
        """Return the least of a window, which other work on the machine disturbs least."""
        return min(cost.server for cost in self.costs[mark])

    def store(self, mark: int) -> float:
        """Return the median of what the database's own processes used."""
        return statistics.median(cost.store for cost in self.costs[mark])


Results: TypeAlias = dict[System, Found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    databases: Sequence[Database]
    rounds: int
    conversations: int
    upto: int
    """The last window."""

    @property
    def windows(self) -> dict[int, tuple[int, int]]:
        """The windows that are measured."""
        return {mark: window for mark, window in WINDOWS.items() if mark <= self.upto}


async def measure(
    server: Server, storage: Storage, plan: Plan, found: Found, *, store_pid: int | None
) -> None:
    """Measure a server that has just been started."""
    agent = await load.begin_agent(server.url)
    await load.go_on(server.url, await load.begin_talks(server.url, agent, count=_LONG), turns=5)
    talks = await load.begin_talks(server.url, agent, count=plan.conversations)
    before = await storage.size()
    for mark, (first, last) in plan.windows.items():
        speaking = talks if mark <= _COUNTED else talks[:_LONG]
        await load.go_on(server.url, speaking, turns=first - speaking[0].turns)
        each = max(1, _SLICE // len(speaking))
        for start, end in pairwise([*range(first, last, each), last]):
            cost = await _slice(server, speaking, turns=end - start, store_pid=store_pid)
            found.costs[mark].append(cost)
    _note_size(found, before, await storage.size(), turns=sum(talk.turns for talk in talks))
    found.commits = await _commits(server, storage, agent)


async def _slice(server: Server, talks: Sequence[Talk], *, turns: int, store_pid: int | None) -> Cost:
    def clocks() -> Cost:
        return Cost(server.cpu_seconds, meter.cpu_seconds(store_pid) if store_pid else 0.0)

    begun = clocks()
    await load.go_on(server.url, talks, turns=turns)
    ended, said = clocks(), turns * len(talks) / 1000
    return Cost((ended.server - begun.server) / said, (ended.store - begun.store) / said)


def _note_size(found: Found, before: Size, after: Size, *, turns: int) -> None:
    found.bytes_messages = (after.messages - before.messages) / turns
    found.bytes_bookkeeping = (after.bookkeeping - before.bookkeeping) / turns


async def _commits(server: Server, storage: Storage, agent: str) -> float:
    """Count the commits of turns that come one after another, so that no two share one."""
    for _ in range(_TRIES):
        [talk] = await load.begin_talks(server.url, agent, count=1)
        era, before = await storage.commits()
        await load.go_on(server.url, [talk], turns=_COUNTED)
        same, after = await storage.commits()
        if era == same:
            return (after - before) / _COUNTED
    return float("nan")


def run(plan: Plan) -> Results:
    """Measure every system, one after another, as often as there are rounds."""
    results: Results = {System(kind, database): Found() for database in plan.databases for kind in KINDS}
    numbers = count()
    needs_postgres = "postgresql" in plan.databases
    with serving.model() as model, PostgresServer() if needs_postgres else nullcontext() as postgres:
        for _ in range(plan.rounds):
            for system, found in results.items():
                own = postgres if system.database == "postgresql" else None
                with (
                    tempfile.TemporaryDirectory(prefix="tertulia-bench-") as place,
                    _database(own, f"bench_{next(numbers)}") as (url, pid),
                    system.serving(Path(place), model=model, url=url) as (server, storage),
                    meter.on_cpu(serving.CLIENT_CPU),
                ):
                    try:
                        uvloop.run(measure(server, storage, plan, found, store_pid=pid))
                    except* WrongAnswer as wrong:
                        found.error = str(wrong.exceptions[0])
    return results


@contextmanager
def _database(postgres: PostgresServer | None, name: str) -> Iterator[tuple[str | None, int | None]]:
    """Make a PostgreSQL database; give its URL and the server's process id."""
    if postgres is None:
        yield None, None
        return
    postgres.make(name)
    url = postgres.owner_url(name)  # the floor makes its own tables
    pid_file = Path(url.rpartition("host=")[2]) / "data" / "postmaster.pid"
    yield url, int(pid_file.read_text().split()[0])
    postgres.drop(name)


def table(results: Results, plan: Plan) -> Iterator[str]:
    """Yield the lines of the table."""
    marks = list(plan.windows)
    yield "CPU ms of the server per turn: median (least) of all slices; store: of the database's processes"
    yield "x floor (at the first mark) and growth (last to second) compare the least: others' work only adds"
    yield ""
    head = "".join(f"{f't{mark}':>16}" for mark in marks)
    yield f"{'':28}{head}{'x floor':>9}{'growth':>8}{'store':>7}{'commits':>9}{'bytes':>13}"
    for database in plan.databases:
        for kind in KINDS:
            yield _line(System(kind, database), results, marks)
        yield from _verdict(database, results, marks)
        yield ""


def _line(system: System, results: Results, marks: Sequence[int]) -> str:
    found = results[system]
    name = f"{system.database} {system.kind}"
    if found.error:
        return f"{name:28} WRONG: {found.error}"
    shown = "".join(f"{found.server(mark):9.3f}{f'({found.least(mark):.3f})':>7}" for mark in marks)
    floor = results[System("floor", system.database)]
    ratio = found.least(marks[0]) / floor.least(marks[0])
    size = f"{found.bytes_messages:.0f}+{found.bytes_bookkeeping:.0f}"
    return (
        f"{name:28}{shown}{ratio:9.2f}{growth(found, marks):8.2f}"
        f"{found.store(marks[0]):7.3f}{found.commits:9.1f}{size:>13}"
    )


def growth(found: Found, marks: Sequence[int]) -> float:
    """Return what a late turn costs in terms of an early one."""
    return found.least(marks[-1]) / found.least(marks[min(1, len(marks) - 1)])


def _verdict(database: Database, results: Results, marks: Sequence[int]) -> Iterator[str]:
    floor, cached, ours = (results[System(kind, database)] for kind in KINDS)
    if floor.error or cached.error or ours.error:
        return
    last = marks[-1]
    yield (
        f"  ours / floor at t{marks[0]}: {ours.least(marks[0]) / floor.least(marks[0]):.2f}"
        f" (medians: {ours.server(marks[0]) / floor.server(marks[0]):.2f}),"
        f" ours / cached floor at t{last}: {ours.least(last) / cached.least(last):.2f};"
        f" aim: {AIMS[database]}, growth 1.5"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turn", description=__doc__)
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=list(DATABASES))
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured")
    parser.add_argument("--conversations", type=int, default=40)
    parser.add_argument("--upto", type=int, choices=list(WINDOWS), default=500, help="the last window")
    given = parser.parse_args(arguments)
    plan = Plan(
        databases=given.databases,
        rounds=given.rounds,
        conversations=given.conversations,
        upto=given.upto,
    )
    results = run(plan)
    print("\n".join(table(results, plan)))
    if any(found.error for found in results.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
