"""A crash point ends the process where and when it is told to."""

import subprocess
import sys

import pytest

from tertulia.engine import POINTS
from tertulia.testing.crashing import KILLED, CrashPoint, crash_at


def test_process_dies_at_the_passing_that_was_named() -> None:
    deaths: list[int] = []
    probe = CrashPoint("step.after", passing=2, die=deaths.append)

    for point in ("step.before", "step.after", "step.before"):
        probe(point)
    assert deaths == []
    probe("step.after")

    assert deaths == [KILLED]


def test_unknown_point_is_refused() -> None:
    with pytest.raises(ValueError, match="no point"):
        CrashPoint("step.never")


def test_without_a_point_nobody_dies() -> None:
    probe = crash_at(None)

    for point in POINTS:
        probe(point)


def test_death_is_real() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "from tertulia.testing.crashing import *; crash_at('run.begin')('run.begin')"],
        check=False,
        env={"PYTHONPATH": ":".join(sys.path)},
    )

    assert told.returncode == KILLED
