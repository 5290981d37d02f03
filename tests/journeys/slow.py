"""``python -m tests.journeys.slow URL FILE HOW``: a worker whose one step takes long; it ends with the runs.

The step takes six leases of waiting (``waits``), two during which nothing else of the process goes on
(``blocks``), or for ever (``hangs``) — but only the first time: whoever comes after finds it written in the
file, and is quick.
"""

import argparse
import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import pytest
from typing_extensions import override

from tertulia.engine import ActiveRun, Engine, Performer, Plan, StepResult, Turn
from tertulia.stores import open_store
from tertulia.testing.builders import PERFORMER, a_digest, an_answer
from tertulia.testing.reading import read_history

LEASE_SECONDS: Final = 1.0
_GRACE_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.1
_PATH: Final = "turn/1/slow"


async def _wait() -> None:
    await asyncio.sleep(6 * LEASE_SECONDS)


async def _block() -> None:
    time.sleep(2 * LEASE_SECONDS)  # noqa: ASYNC251  # this is what must do no harm


async def _hang() -> None:
    threading.Event().wait()


WAYS: Final[Mapping[str, tuple[Callable[[], Awaitable[None]], float]]] = {
    "waits": (_wait, 7 * LEASE_SECONDS),
    "blocks": (_block, 3 * LEASE_SECONDS),
    "hangs": (_hang, LEASE_SECONDS),
}
"""What the step does, and the time that it says it takes at most."""


class Slow(Performer):
    """Takes one step, and writes into a file that it has begun to."""

    def __init__(self, ledger: Path, how: str) -> None:
        self._ledger = ledger
        self._work, self._within_seconds = WAYS[how]

    @override
    async def perform(self, run: ActiveRun) -> Turn:
        async def work() -> StepResult:
            is_first = not self._ledger.exists()
            with self._ledger.open("a") as lines:
                lines.write("begun\n")
            if is_first:
                await self._work()
            return StepResult(output="{}")

        plan = Plan(kind="tool", identity=a_digest(_PATH), within_seconds=self._within_seconds)
        await run.step(_PATH, work, plan)
        return Turn(author="Slow", messages=(an_answer("done"),), tokens=1)


async def _carry_out(url: str, ledger: Path, how: str) -> None:
    store = open_store(url)
    await store.open()
    engine = Engine(
        store,
        performers={PERFORMER: Slow(ledger, how)},
        lease_seconds=LEASE_SECONDS,
        poll_seconds=_POLL_SECONDS,
    )
    await engine.start()
    while True:
        if all(run.ended_at for run in (await read_history(url)).runs):
            break
        await asyncio.sleep(_POLL_SECONDS)
    await engine.stop()
    await store.close()


def main() -> None:
    """Carry out what there is, or wait for who does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("ledger", type=Path)
    parser.add_argument("how", choices=WAYS)
    given = parser.parse_args()
    with pytest.MonkeyPatch.context() as patched:
        for module in ("silence", "carried"):
            patched.setattr(f"tertulia.engine.{module}.GRACE_SECONDS", _GRACE_SECONDS)
        asyncio.run(_carry_out(given.url, given.ledger, given.how))


if __name__ == "__main__":
    main()
