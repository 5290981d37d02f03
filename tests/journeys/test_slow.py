"""Only who hangs loses a run: neither a long step nor a busy loop has another process take it over."""

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

import tertulia
from tertulia.stores import open_store
from tertulia.testing.builders import a_conversation, a_submission
from tertulia.testing.history import COMPLETED, History, RunRow, Witness, check
from tertulia.testing.reading import read_history

_ROOT = Path(__file__).parents[2]
_SECONDS = 30


@pytest.mark.parametrize("how", ["waits", "blocks"])
async def test_step_that_takes_longer_than_a_lease_is_not_taken_from_who_lives(
    database_url: str, tmp_path: Path, how: str
) -> None:
    ledger = tmp_path / "ledger"
    await _ask(database_url)

    async with _workers(database_url, ledger, how) as (one, other):
        await asyncio.gather(one.wait(), other.wait())
    run = _only_run(await read_history(database_url))

    assert (run.epoch, run.status) == (1, COMPLETED)
    assert ledger.read_text() == "begun\n"


async def test_step_that_hangs_is_taken_over_when_its_time_is_up(database_url: str, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    await _ask(database_url)

    async with _workers(database_url, ledger, "hangs") as (one, other):
        ends = [asyncio.create_task(worker.wait()) for worker in (one, other)]
        # The other one hangs for ever.
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED, timeout=_SECONDS)
        ended = sum(end.done() for end in ends)
    await asyncio.gather(*ends)
    run = _only_run(await read_history(database_url))

    assert ended == 1
    assert (run.epoch, run.status) == (2, COMPLETED)
    assert ledger.read_text() == "begun\n" * 2


def _only_run(history: History) -> RunRow:
    assert check(history, Witness(is_quiet=True)) == []
    [run] = history.runs
    return run


async def _ask(url: str) -> None:
    store = open_store(url)
    await store.open()
    await store.runs.accept(a_submission(await a_conversation(store)), None)
    await store.close()


@asynccontextmanager
async def _workers(url: str, ledger: Path, how: str) -> AsyncIterator[tuple[Process, Process]]:
    """Two workers on one database: either may get the run, the other looks on."""
    async with AsyncExitStack() as stack:
        started = [await _start(url, ledger, how) for _ in range(2)]
        for worker in started:
            stack.push_async_callback(_kill, worker)
        yield started[0], started[1]


async def _start(url: str, ledger: Path, how: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.journeys.slow", url, str(ledger), how),
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": f"{Path(tertulia.__file__).parents[1]}:{_ROOT}"},
    )


async def _kill(worker: Process) -> None:
    if worker.returncode is None:
        worker.kill()
    await worker.wait()
