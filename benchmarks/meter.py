"""What other programs use, as the kernel tells it: CPU time and memory of a whole process tree."""

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PARENT: Final = 1
_REAPED: Final = slice(13, 15)
_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a process tree in MiB."""

    rss: float
    pss: float
    """Shared pages divided among those who share them."""


def cpu_seconds(root: int) -> float:
    """Return the CPU time, user and system, that a process and its descendants have used.

    Processes that live are read from their CPU clocks, which count nanoseconds; children that have
    ended are only known in ticks of a hundredth of a second.
    """
    return sum(_clock(pid) + _reaped(pid) for pid in tree(root))


def memory(root: int) -> Memory:
    """Return the memory that a process and its descendants hold."""
    found = [_rollup(pid) for pid in tree(root)]
    return Memory(
        rss=sum(each.get("Rss", 0) for each in found) / _KIB,
        pss=sum(each.get("Pss", 0) for each in found) / _KIB,
    )


def tree(root: int) -> list[int]:
    """Return a process and all its living descendants."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and (stat := _stat(int(entry.name))):
            children[int(stat[_PARENT])].append(int(entry.name))
    found = [root]
    for pid in found:
        found += children[pid]
    return found


@contextmanager
def on_cpu(cpu: int) -> Iterator[None]:
    """Run what is inside, and whatever is started there, on one CPU; where there is only one, on that."""
    before = os.sched_getaffinity(0)
    allowed = sorted(before)
    os.sched_setaffinity(0, {allowed[cpu % len(allowed)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _clock(pid: int) -> float:
    # The number of a process's CPU clock, as clock_getcpuclockid(3) makes it.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _reaped(pid: int) -> float:
    stat = _stat(pid)
    return sum(map(int, stat[_REAPED])) / _TICKS if stat else 0.0


def _stat(pid: int) -> Sequence[bytes]:
    """Return the fields of a process's ``stat`` after its name; nothing if it has gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return ()
    return text[text.rindex(b")") + 1 :].split()


def _rollup(pid: int) -> dict[str, int]:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
