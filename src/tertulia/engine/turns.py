"""What a performer and the engine hand to each other: steps and their results, turns, decisions."""

from dataclasses import dataclass, replace
from typing import Literal

from tertulia.conversations import Conversation, Job
from tertulia.messages import Message
from tertulia.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a step is to be taken."""

    kind: str
    identity: bytes
    """Digest of what must be the same for a journaled result to stand for this step."""
    within_seconds: float
    """How long the work takes at most; it keeps this limit itself."""
    has_effect: bool = False
    """Whether it could do harm to do it twice: it is journaled before it is begun then as well."""
    on_unknown: Literal["ask", "retry", "fail"] = "ask"
    """What is to be done if such a step was begun and nobody knows what became of it."""
    subject: str = ""
    """What the step is about, for whoever has to decide: JSON text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a step has given."""

    output: str
    """JSON text: all that is needed to go on after it."""
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What somebody has decided about a run that waited."""

    verdict: str
    value: object = None
    """What goes with it: JSON."""
    path: str | None = None
    """What was decided about, as :class:`~tertulia.conversations.Wait` names it: about anything else
    nothing is decided then. ``None`` for whatever the run waits for."""


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
    closes: str | None = None
    """Why the conversation has come to its end with this turn; ``None`` if it goes on."""
    finish_reason: str = ""
    """Why the model stopped, in the last answer; empty where that is not known."""
    jobs: tuple[Job, ...] = ()


def with_turn(conversation: Conversation, turn: Turn) -> Conversation:
    """Return a conversation as it stands once a turn is kept."""
    return replace(
        conversation,
        head=conversation.head + len(turn.messages),
        tokens=conversation.tokens + turn.tokens,
        state=conversation.state if turn.state is None else turn.state,
        closed=conversation.closed if turn.closes is None else turn.closes,
    )
