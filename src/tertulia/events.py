"""What a run tells while it happens: numbered events, the same for every interface."""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal, TypeAlias

from tertulia.conversations import RunStatus, Wait
from tertulia.errors import Failure
from tertulia.messages import Message
from tertulia.usage import Usage

EPOCH_SPAN: Final = 2**20
"""Sequence numbers of one owner; the next owner's begin that much higher, so that they always rise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """A process has begun, or gone on, to carry the run out."""

    kind: ClassVar[str] = "run.started"
    run_id: str
    conversation_id: str
    input_number: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStarted:
    """An agent begins its contribution."""

    kind: ClassVar[str] = "turn.started"
    turn: int
    author: str
    reason: str = ""
    """Why it was this agent's turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRestarted:
    """The partial text of this step was lost; forget it, it comes again."""

    kind: ClassVar[str] = "step.restarted"
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    """A piece of an answer."""

    kind: ClassVar[str] = "text.delta"
    text: str
    author: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningDelta:
    """A piece of what a model thinks before it speaks, as far as its provider shows it."""

    kind: ClassVar[str] = "reasoning.delta"
    text: str
    author: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCalled:
    """An agent uses a tool."""

    kind: ClassVar[str] = "tool.called"
    turn: int
    author: str
    call_id: str
    name: str
    arguments: str
    """JSON text as the model gave it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFinished:
    """A tool has given its result, which the model is shown next."""

    kind: ClassVar[str] = "tool.finished"
    turn: int
    author: str
    call_id: str
    name: str
    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFailed:
    """A history or context provider has failed; the answer does not depend on it."""

    kind: ClassVar[str] = "provider.failed"
    provider: str
    stage: Literal["load", "append", "before_run", "after_run"]
    message: str
    """Safe to show: what our own errors say, and of others only their kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFinished:
    """An agent's contribution is kept."""

    kind: ClassVar[str] = "turn.finished"
    turn: int
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWaiting:
    """The run waits for a decision; it goes on, with more events, when somebody has decided."""

    kind: ClassVar[str] = "run.waiting"
    run_id: str
    conversation_id: str
    wait: Wait


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The last event of every run: it has ended, and everything it caused is kept."""

    kind: ClassVar[str] = "run.finished"
    run_id: str
    conversation_id: str
    status: RunStatus
    messages: tuple[Message, ...] = ()
    """What was said in it, without the input."""
    usage: Usage = Usage()
    failure: Failure | None = None
    closed: str | None = None
    """Why the conversation has come to its end with this run; ``None`` if it goes on."""
    finish_reason: str = ""
    """Why the model stopped, in the last answer; empty where that is not known."""


Event: TypeAlias = (
    RunStarted
    | TurnStarted
    | StepRestarted
    | TextDelta
    | ReasoningDelta
    | ToolCalled
    | ToolFinished
    | ProviderFailed
    | TurnFinished
    | RunWaiting
    | RunFinished
)


@dataclass(frozen=True, slots=True)
class Numbered:
    """An event with its place in the run: numbers rise strictly, across takeovers too."""

    seq: int
    event: Event


def first_seq(epoch: int) -> int:
    """Return the sequence number with which the owner of this epoch (from 1) begins."""
    return (epoch - 1) * EPOCH_SPAN
