"""Hints between processes."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import tertulia
from tertulia.hints import EVERYTHING, open_hints
from tertulia.testing.hints_contract import LIMIT_SECONDS, Ear, a_run
from tests.hints.elsewhere import write_to

_ROOTS = (Path(tertulia.__file__).parents[1], Path(__file__).parents[2])


class Elsewhere:
    """Another process with hints of the same URL."""

    def __init__(self, running: Process) -> None:
        self._running = running

    async def say(self, *topics: str) -> None:
        """Have it ring these; without any, have it write to the database."""
        assert self._running.stdin is not None
        self._running.stdin.write((json.dumps(topics) if topics else "").encode() + b"\n")
        await self._running.stdin.drain()

    async def heard(self) -> list[str]:
        """Return the next that it hears."""
        assert self._running.stdout is not None
        async with asyncio.timeout(LIMIT_SECONDS):
            topics: list[str] = json.loads(await self._running.stdout.readline())
            return topics

    async def end(self) -> int:
        """Let it end in order; return its exit code."""
        assert self._running.stdin is not None
        self._running.stdin.close()
        async with asyncio.timeout(LIMIT_SECONDS):
            return await self._running.wait()


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    """URL of hints that processes share, once for every kind."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    if request.param == "sqlite":
        write_to(found)
    return found


@pytest.fixture
async def elsewhere(url: str) -> AsyncIterator[Elsewhere]:
    """A process that hears by now."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.hints.elsewhere", url),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, _ROOTS))},
        stdin=PIPE,
        stdout=PIPE,
    )
    other = Elsewhere(running)
    try:
        assert await other.heard() == []
        yield other
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


async def test_what_another_process_rings_is_heard(url: str, elsewhere: Elsewhere) -> None:
    hints, ear, run = open_hints(url), Ear(), a_run()
    await hints.open(ear)

    await _tell(url, elsewhere, run)
    await ear.until_all({run})
    await hints.close()

    assert ear.topics == {EVERYTHING if url.startswith("sqlite") else run}
    assert await elsewhere.end() == 0


async def test_another_process_hears_what_is_rung_here(url: str, elsewhere: Elsewhere) -> None:
    hints, run = open_hints(url), a_run()
    await hints.open(lambda _: None)

    if url.startswith("sqlite"):
        write_to(url)
    hints.ring({run})
    heard = await elsewhere.heard()
    await hints.close()

    assert heard == [EVERYTHING if url.startswith("sqlite") else run]


async def test_what_is_rung_while_ending_is_heard(url: str, elsewhere: Elsewhere) -> None:
    hints, ear, run = open_hints(url), Ear(), a_run()
    await hints.open(ear)

    await _tell(url, elsewhere, run)
    code = await elsewhere.end()
    await ear.until_all({run})
    await hints.close()

    assert code == 0


async def _tell(url: str, elsewhere: Elsewhere, run: str) -> None:
    if url.startswith("sqlite"):
        await elsewhere.say()
    await elsewhere.say(run)
