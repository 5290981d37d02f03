"""``python -m tests.journeys.turns URL FILE``: a program whose runs have several turns; ends when all have.

Every step writes its name to a file, as something would that costs money.
"""

import argparse
import asyncio
from pathlib import Path
from typing import Final

from typing_extensions import override

from tertulia.engine import ActiveRun, Engine, Performer, Probe, StepResult, Turn
from tertulia.engine.chores import CLAIM_LIMIT
from tertulia.stores import open_store
from tertulia.testing.builders import PERFORMER, a_claimant, a_digest, an_answer
from tertulia.testing.crashing import crash_at

TURNS: Final = 3
_LEASE_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.05
_QUIET_POLLS: Final = 30
"""So many looks in vain take longer than a lease lasts."""


class Circle(Performer):
    """Lets three speak, one after another, each in two steps."""

    def __init__(self, effects: Path) -> None:
        self._effects = effects

    @override
    async def perform(self, run: ActiveRun) -> Turn | None:
        begun = int(run.conversation.state or 0) if run.is_resumed else 0
        turn = None
        for number in range(begun + 1, TURNS + 1):
            for part in ("think", "speak"):
                await self._step(run, f"turn/{number}/{part}")
            turn = Turn(
                author=f"{number}",
                messages=(an_answer(f"{run.input.text}.{number}", turn=number),),
                tokens=1,
                state=f"{number % TURNS}",
            )
            if number < TURNS:
                await run.commit_turn(turn)
        return turn

    async def _step(self, run: ActiveRun, path: str) -> None:
        async def work() -> StepResult:
            with self._effects.open("a") as lines:
                lines.write(f"{run.input.text} {path}\n")
            return StepResult(output="{}")

        await run.step(path, work, kind="tool", identity=a_digest(path), within_seconds=5)


async def carry_out(url: str, effects: Path, probe: Probe) -> None:
    """Carry out every run that there is, and return when there is none left."""
    store, in_vain = open_store(url), 0
    await store.open()

    async def pause(seconds: float) -> None:
        nonlocal in_vain
        if seconds == _POLL_SECONDS:
            in_vain = 0 if engine.active else in_vain + 1
            if in_vain > _QUIET_POLLS:
                done.set()
        await asyncio.sleep(seconds)

    done = asyncio.Event()
    engine = Engine(
        store,
        performers={PERFORMER: Circle(effects)},
        lease_seconds=_LEASE_SECONDS,
        poll_seconds=_POLL_SECONDS,
        probe=probe,
        pause=pause,
    )
    await engine.start()
    await done.wait()
    await engine.stop()
    assert await store.runs.claim(a_claimant(), limit=CLAIM_LIMIT) == []
    await store.close()


def main() -> None:
    """Carry out what there is, or die on the way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("effects", type=Path)
    parser.add_argument("--crash-at")
    parser.add_argument("--pass", dest="passing", type=int, default=1)
    given = parser.parse_args()
    probe = crash_at(given.crash_at, passing=given.passing)
    asyncio.run(carry_out(given.url, given.effects, probe))


if __name__ == "__main__":
    main()
