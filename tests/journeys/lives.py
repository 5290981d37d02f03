"""Lives of a program that dies where it is told to, one after another, in processes of their own."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import tertulia
from tertulia.engine import Probe
from tertulia.testing.crashing import KILLED, crash_at
from tertulia.testing.history import QUEUED, RUNNING, WAITING, History
from tertulia.testing.reading import read_history

Live: TypeAlias = Callable[[Probe], Coroutine[object, object, None]]
"""Does what there is to be done, until it is done or the probe ends the process."""

POLL_SECONDS: Final = 0.05
HEALTHY: Final = "-"
"""A life that ends by itself."""
_ROOT: Final = Path(__file__).parents[2]
_MAX_LIVES: Final = 60
_LIFE_SECONDS: Final = 60
"""A life that takes longer hangs."""


class Ledger:
    """The file in which everything that must not happen too often is written down."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, what: str) -> None:
        with self._path.open("a") as lines:
            lines.write(f"{what}\n")

    def lines(self) -> list[str]:
        return self._path.read_text().splitlines() if self._path.exists() else []


def live_all(live: Live, deaths: Sequence[str], *, is_over: Callable[[], bool]) -> None:
    """Live until each death has been died, and then until it is over.

    A death is ``POINT:PASSING``, or several with ``+`` between them: all but the last make it likely that
    the last can be died. ``-`` is none: this life ends when nothing is left to be done.
    """
    for death in deaths:
        *before, last = death.split("+")
        for _ in range(_MAX_LIVES):
            for each in before:
                _told(each, _fork(live, each))
            if _told(last, _fork(live, last)) == KILLED or last == HEALTHY or is_over():
                break
    for _ in range(_MAX_LIVES):
        if is_over():
            break
        _told(HEALTHY, _fork(live, HEALTHY))


async def lives_of(module: str, *arguments: str) -> list[tuple[str, int]]:
    """Run a program that lives; return where each of its lives was to end, and its exit code."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": f"{Path(tertulia.__file__).parents[1]}:{_ROOT}"},
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await program.communicate()
    lives = (line.split() for line in told.decode().splitlines())
    return [(death, int(code)) for death, code in lives]


def can_go_on(history: History) -> bool:
    """Whether there is a run that can be carried out without a decision."""
    held = {run.conversation_id for run in history.runs if run.status == WAITING}
    return any(
        run.status == RUNNING or (run.status == QUEUED and run.conversation_id not in held)
        for run in history.runs
    )


def is_done(url: str) -> bool:
    """Whether every run has ended."""
    return all(run.ended_at for run in asyncio.run(read_history(url)).runs)


def _fork(live: Live, death: str) -> int:
    """Live once, in a process of its own that has loaded everything already; return how it has ended."""
    child = os.fork()
    if child == 0:
        signal.alarm(_LIFE_SECONDS)
        point, _, passing = death.partition(":")
        asyncio.run(live(crash_at(None if death == HEALTHY else point, passing=int(passing or 1))))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _told(death: str, code: int) -> int:
    sys.stdout.write(f"{death} {code}\n")
    sys.stdout.flush()
    return code
