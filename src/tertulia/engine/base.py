"""The port to whoever carries out runs, and what passes through it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from tertulia.conversations import Job, Usage
from tertulia.messages import Message

if TYPE_CHECKING:
    from tertulia.engine.active import ActiveRun

Probe: TypeAlias = Callable[[str], None]
"""Told the name of every point that the engine passes; see :data:`POINTS`."""

POINTS: Final = (
    "accept.before",
    "accept.after",
    "run.begin",
    "step.before",
    "step.speaking",
    "step.after",
    "journal.before",
    "journal.after",
    "commit.before",
    "commit.after",
    "end.before",
    "end.after",
    "takeover.begin",
)
"""Where a process may be made to die in a test: between any two of these lies one thing that can be lost."""


def unobserved(_point: str) -> None:
    """Do nothing at any point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a step has given."""

    output: str
    """JSON text: all that is needed to go on after it."""
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one agent has contributed, to be kept."""

    author: str
    messages: tuple[Message, ...]
    """Not numbered yet."""
    tokens: int
    """Estimated tokens of the messages."""
    state: str | None = None
    """New state of the conversation; ``None`` leaves it."""
    jobs: tuple[Job, ...] = ()


class Performer(Protocol):
    """Carries out runs: an agent, a group chat, anything that answers.

    Laws: everything that costs money or has an effect goes through ``run.step``; what decides
    between steps depends on nothing but the run and the results of its steps, so that another
    process comes to the same steps; nothing is kept on the performer that a restart may lose. It
    may be called for many runs at once, and again for a run that another process began.
    """

    async def perform(self, run: "ActiveRun") -> Turn | None:
        """Carry out a run and return its last turn, which is committed together with its end.

        Earlier turns go through ``run.commit_turn``; ``None`` if all have. What it raises ends the
        run as failed.
        """
        ...
