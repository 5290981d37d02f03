"""What a performer hands to the engine: results of steps, and turns to be kept."""

from dataclasses import dataclass

from tertulia.conversations import Job, Usage
from tertulia.messages import Message


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
