"""Every benchmark runs and prints its table; how quick anything is, is asserted nowhere."""

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import load, meter, serving
from benchmarks.storage import SQLiteStorage

ROOT = Path(__file__).parents[2]
PROC = Path("/proc/self/smaps_rollup")
FEW = ("--rounds", "1", "--conversations", "2", "--upto", "1")

pytestmark = pytest.mark.skipif(not PROC.exists(), reason="the kernel does not tell what others use")


def printed(module: str, *options: str) -> Sequence[str]:
    """Run a benchmark and return the lines of its table."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *options]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.parametrize("database", ["sqlite-normal", "sqlite-full"])
def test_a_few_turns_give_a_table_with_ratios(database: str) -> None:
    lines = printed("turn", "--databases", database, *FEW)

    shown = [line for line in lines if line.startswith(database)]
    assert [line.split("  ")[0] for line in shown] == [
        f"{database} floor",
        f"{database} cached floor",
        f"{database} tertulia",
    ]
    assert any(re.search(r"ours / floor at t1: \d+\.\d\d", line) for line in lines)


@pytest.mark.slow
def test_a_few_turns_on_postgresql_give_a_table_with_ratios() -> None:
    lines = printed("turn", "--databases", "postgresql", *FEW)

    assert any(re.search(r"ours / floor at t1: \d+\.\d\d", line) for line in lines)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_engine_alone_gives_a_table_with_floors(database: str) -> None:
    few = ("--runs", "3", "--seconds", "0.1", "--pieces", "20", "--messages", "200")
    lines = printed("engine", "--databases", database, *few)

    assert len([line for line in lines if line.startswith(database)]) == 9
    assert any(re.search(r"a run of 3 steps +\d+\.\d+ ms CPU, 4\.0 commits; floor", line) for line in lines)
    assert any(re.search(r"branch of a branch \d+\.\d\d x an empty one", line) for line in lines)


def test_starting_gives_a_table_with_aims() -> None:
    lines = printed("start", "--times", "1", "--rest", "0")

    assert any(
        re.search(r"start to first answer +\d+\.\d\d +\(\d+\.\d\d\) s +0\.60 s", line) for line in lines
    )


@pytest.mark.parametrize("wires", [("openai-chat", "openai", "openai-completions"), ("anthropic",)])
def test_asking_models_gives_a_table_with_floors(wires: tuple[str, ...]) -> None:
    few = ("--calls", "1", "--slices", "1", "--pieces", "5", "--history", "1", "3")
    lines = printed("models", "--wires", *wires, *few)

    shown = [line.split()[:2] for line in lines if line.startswith(wires)]
    assert shown == [[wire, history] for wire in wires for history in ("1", "3")]
    assert all(re.search(r"\(\d+\.\d{3}\) +\d+\.\d{3} +\d+\.\d ", line) for line in lines[2:])


def test_a_reply_that_missed_a_message_is_an_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.floor", "--port", "{port}", "--database"]
    command += [f"sqlite:///{tmp_path / 'bench.db'}", "--model"]

    async def two_talks_with_one_history(url: str) -> None:
        talks = await load.begin_talks(url, await load.begin_agent(url), count=1)
        await load.go_on(url, [load.Talk(0, talks[0].id)], turns=1)
        await load.go_on(url, [load.Talk(1, talks[0].id)], turns=1)

    with (
        serving.model() as model,
        serving.serving([*command, model], place=tmp_path, settings={}) as server,
        pytest.raises(ExceptionGroup) as raised,
    ):
        asyncio.run(two_talks_with_one_history(server.url))

    assert raised.group_contains(load.WrongAnswer, match="turn 1: HTTP 200")


async def test_commits_are_counted_in_the_write_ahead_log(tmp_path: Path) -> None:
    storage = SQLiteStorage(tmp_path / "some.db")
    with closing(sqlite3.connect(tmp_path / "some.db", isolation_level=None)) as raw:
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("CREATE TABLE messages(text TEXT)")
        era, before = await storage.commits()

        for _ in range(3):
            raw.execute("INSERT INTO messages VALUES ('hi')")
        raw.execute("BEGIN")
        raw.execute("INSERT INTO messages VALUES ('not kept')")
        raw.execute("ROLLBACK")

        same, after = await storage.commits()
        size = await storage.size()
    assert (same, after - before) == (era, 3)
    assert size.messages > 0


def test_the_cpu_time_of_a_process_includes_its_children() -> None:
    busy = "sum(range(2_000_000)); input()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}], stdin=sys.stdin)"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        while not any(meter._clock(child) for child in meter.tree(running.pid)[1:]):
            os.sched_yield()

        alone, both = meter._clock(running.pid), meter.cpu_seconds(running.pid)

        running.stdin.write(b"\n")
    assert both > alone
