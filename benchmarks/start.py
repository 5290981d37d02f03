"""What starting costs: importing, the command line's help, the first answer, and memory at rest."""

import argparse
import asyncio
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from typing_extensions import override

from benchmarks import load, meter, serving
from benchmarks.systems import tertulia_settings

_REST: Final = 1.0
"""Seconds that a server is left alone before its memory is read."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Something measured, several times."""

    name: str
    unit: str
    found: Sequence[float]
    aim: float | None = None

    @override
    def __str__(self) -> str:
        aim = "" if self.aim is None else f"{self.aim:8.2f} {self.unit}"
        shown = f"{statistics.median(self.found):8.2f}{f'({min(self.found):.2f})':>9} {self.unit:3}"
        return f"{self.name:44}{shown}   {aim}"


@dataclass(frozen=True, slots=True)
class Start:
    """One start of the server."""

    seconds: float
    """From the command to the first answer."""
    cpu_seconds: float
    idle: meter.Memory
    """Of a server that nobody has asked for anything."""
    memory: meter.Memory
    """After one turn."""
    processes: int


def start(place: Path, *, model: str, rest: float) -> Start:
    """Start a server as a user does, and take one turn."""
    settings = tertulia_settings(place, model=model)
    command = [sys.executable, "-m", "tertulia", "serve", "--port", "{port}"]
    begun = time.perf_counter()
    with serving.serving(command, place=place, settings=settings) as server:
        asyncio.run(_first_turn(server.url))
        seconds, cpu_seconds = time.perf_counter() - begun, server.cpu_seconds
        time.sleep(rest)
        memory, processes = meter.memory(server.pid), len(meter.tree(server.pid))
    with serving.serving(command, place=place, settings=settings) as server:
        time.sleep(rest)
        return Start(seconds, cpu_seconds, meter.memory(server.pid), memory, processes)


def start_twice(*, model: str, rest: float) -> tuple[Start, Start]:
    """Start in an empty directory, where the database has to be made, and once more."""
    with tempfile.TemporaryDirectory(prefix="tertulia-bench-") as place:
        first = start(Path(place), model=model, rest=0.0)
        return first, start(Path(place), model=model, rest=rest)


async def _first_turn(url: str) -> None:
    talks = await load.begin_talks(url, await load.begin_agent(url), count=1)
    await load.go_on(url, talks, turns=1)


def child_cpu(*command: str) -> float:
    """Return the CPU seconds of a command, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=serving.environment(), check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measure(*, times: int, rest: float) -> Iterator[Figure]:
    """Yield every figure as it is known."""
    with meter.on_cpu(serving.SERVER_CPU):
        child_cpu(sys.executable, "-m", "tertulia", "--help")  # what is compiled once is not counted
        bare = [child_cpu(sys.executable, "-c", "pass") for _ in range(times)]
        imported = [child_cpu(sys.executable, "-c", "import tertulia") for _ in range(times)]
        asked = [child_cpu(sys.executable, "-m", "tertulia", "--help") for _ in range(times)]
    yield Figure("python itself, CPU", "s", bare)
    yield Figure("import tertulia, CPU", "s", imported, aim=0.3)
    yield Figure("tertulia --help, CPU", "s", asked)
    with serving.model() as model:
        pairs = [start_twice(model=model, rest=rest) for _ in range(times)]
    starts = [later for _, later in pairs]
    yield Figure("very first start to first answer", "s", [first.seconds for first, _ in pairs])
    yield Figure("start to first answer", "s", [each.seconds for each in starts], aim=0.6)
    yield Figure("start to first answer, CPU", "s", [each.cpu_seconds for each in starts])
    yield Figure("memory at rest before any turn, RSS", "MiB", [each.idle.rss for each in starts], aim=70)
    yield Figure("memory at rest before any turn, PSS", "MiB", [each.idle.pss for each in starts])
    yield Figure("memory at rest after one turn, RSS", "MiB", [each.memory.rss for each in starts])
    yield Figure("memory at rest after one turn, PSS", "MiB", [each.memory.pss for each in starts])
    yield Figure("processes", "", [each.processes for each in starts])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--rest", type=float, default=_REST, help="seconds before memory is read")
    given = parser.parse_args(arguments)
    print(f"{'':44}  median  (least)        aim at most")
    for figure in measure(times=given.times, rest=given.rest):
        print(figure, flush=True)


if __name__ == "__main__":
    main()
