"""Points that the engine passes, for whoever wants to see it die there."""

from collections.abc import Callable
from typing import Final, TypeAlias

Probe: TypeAlias = Callable[[str], None]
"""Told the name of every point that the engine passes; see :data:`POINTS`."""

POINTS: Final = (
    "accept.before",
    "accept.after",
    "run.begin",
    "step.before",
    "step.speaking",
    "step.after",
    "intent.before",
    "intent.after",
    "journal.before",
    "journal.after",
    "frames.before",
    "frames.after",
    "commit.before",
    "commit.after",
    "wait.before",
    "wait.after",
    "end.before",
    "end.after",
    "stop.before",
    "stop.after",
    "handover.before",
    "handover.after",
    "takeover.begin",
    "job.before",
    "job.after",
)
"""Where a process may be made to die in a test: between any two of these lies one thing that can be lost."""


def unobserved(_point: str) -> None:
    """Do nothing at any point."""
