"""``python -m tests.journeys.turns URL FILE [POINT:PASSING …]``: lives of a program whose runs have turns.

Each life decides about what waits and carries out what can be, until it dies at its point or has to wait
itself. Others follow until every point has been died at, and then until there is nothing left to be done.
How each has ended is told on a line of its own.

Every step writes its name to a file, as something would that costs money, and so do jobs and decisions.
"""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

import orjson
import pytest
from typing_extensions import override

from tertulia.conversations import DEFAULT_TENANT, Job, Run, StoredJob
from tertulia.engine import ActiveRun, Decision, Engine, Performer, Plan, Probe, StepResult, Turn, Worker
from tertulia.ids import JOB, new_id
from tertulia.stores import open_store
from tertulia.testing.builders import PERFORMER, a_digest, an_answer
from tertulia.testing.reading import read_history
from tests.journeys.lives import POLL_SECONDS, Ledger, can_go_on, is_done, live_all

TURNS: Final = 3
Policy: TypeAlias = Literal["retry", "fail", "ask"]
POLICIES: Final[Sequence[Policy]] = ("retry", "fail", "ask")
"""What is done about an effect of which nobody knows whether it has happened; messages name it."""
APPROVED_TURN: Final = 2
"""This one waits for somebody's permission."""
_NOTE: Final = "note"
_LEASE_SECONDS: Final = 0.25


class Circle(Performer):
    """Lets three speak, one after another: each thinks, and then does something that could do harm twice."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @override
    async def perform(self, run: ActiveRun) -> Turn | None:
        who, _, last = (run.conversation.state or "").partition(" ")
        # One that has failed in the middle has left its state behind.
        begun = int(last) if who == run.run.id else 0
        turn = None
        for number in range(begun + 1, TURNS + 1):
            turn = await self._turn(run, number)
            if number < TURNS:
                await run.commit_turn(turn)
        return turn

    async def _turn(self, run: ActiveRun, number: int) -> Turn:
        if number == APPROVED_TURN:
            run.ask(f"turn/{number}/approval", kind="approval", message="May it go on?")
        await self._step(run, f"turn/{number}/think")
        await self._step(run, f"turn/{number}/act", on_unknown=_policy(run.input.text))
        said = f"{run.input.text}.{number}"
        return Turn(
            author=f"{number}",
            messages=(an_answer(said, turn=number),),
            tokens=1,
            state=f"{run.run.id} {number}",
            jobs=(Job(id=new_id(JOB), kind=_NOTE, payload=orjson.dumps(said).decode()),),
        )

    async def _step(self, run: ActiveRun, path: str, *, on_unknown: Policy | None = None) -> None:
        async def work() -> StepResult:
            self._ledger.note(f"step {run.input.text} {path}")
            return StepResult(output="{}")

        plan = Plan(
            kind="tool",
            identity=a_digest(path),
            within_seconds=5,
            has_effect=on_unknown is not None,
            on_unknown=on_unknown or "ask",
        )
        await run.step(path, work, plan)


class Noting(Worker):
    """Does jobs by writing them down."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @override
    async def do(self, job: StoredJob) -> None:
        self._ledger.note(f"job {orjson.loads(job.job.payload)}")


def _policy(text: str) -> Policy:
    return next(policy for policy in POLICIES if text.endswith(policy))


async def _live(url: str, ledger: Ledger, probe: Probe) -> None:
    """Decide about what waits, carry out what can be, and return when there is nothing more to do."""
    store = open_store(url)
    await store.open()
    engine = Engine(
        store,
        performers={PERFORMER: Circle(ledger)},
        workers={_NOTE: Noting(ledger)},
        lease_seconds=_LEASE_SECONDS,
        poll_seconds=POLL_SECONDS,
        probe=probe,
    )
    await engine.start()
    for run in await store.runs.waiting(DEFAULT_TENANT):
        await _decide(engine, ledger, run)
    await _rest(engine, url)
    await engine.stop()
    await store.close()


async def _decide(engine: Engine, ledger: Ledger, run: Run) -> None:
    """Allow what is asked for; have what may have happened done again, and write that down first."""
    assert run.wait is not None
    verdict = {"approval": "approve", "unknown_outcome": "retry"}[run.wait.kind]
    ledger.note(f"decided {run.id} {run.wait.path} {verdict}")
    await engine.decide(run.tenant, run.id, Decision(verdict=verdict))


async def _rest(engine: Engine, url: str) -> None:
    """Wait until there is neither a job left nor a run that can go on."""
    while True:
        if not engine.active and not await _has_work(engine, url):
            return
        await asyncio.sleep(POLL_SECONDS)


async def _has_work(engine: Engine, url: str) -> bool:
    return bool(await engine.store.jobs.page(DEFAULT_TENANT)) or can_go_on(await read_history(url))


def main() -> None:
    """Carry out what there is, whatever it takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("ledger", type=Path)
    parser.add_argument("deaths", nargs="*", metavar="POINT:PASSING")
    given = parser.parse_args()
    with pytest.MonkeyPatch.context() as patched:
        # Those who die with a job in their hands leave it to the next life, not to one in six minutes.
        patched.setattr("tertulia.engine.jobs.LEASE_SECONDS", _LEASE_SECONDS)
        ledger = Ledger(given.ledger)
        live_all(
            lambda probe: _live(given.url, ledger, probe), given.deaths, is_over=lambda: is_done(given.url)
        )


if __name__ == "__main__":
    main()
