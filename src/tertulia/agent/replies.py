"""What an agent of a program answers with."""

from dataclasses import dataclass, fields
from typing import Any

from tertulia.events import ProviderFailed, RunFinished
from tertulia.messages import Message
from tertulia.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What has come of a run."""

    text: str
    """The agent's last word."""
    value: Any = None
    """What the text stands for, if the agent has a response shape: of the type that was given, or as JSON
    has it."""
    messages: tuple[Message, ...]
    """Everything that was said in answer, uses of tools included, oldest first."""
    usage: Usage
    """What it has cost: tokens, calls, US dollars."""
    finish_reason: str = "stop"
    """Why the model stopped: ``stop``; ``length`` or ``content_filter`` if its last word was cut short."""
    run_id: str
    conversation_id: str
    closed: str | None = None
    """Why the conversation has come to its end with it; ``None`` if it goes on."""
    failures: tuple[ProviderFailed, ...] = ()
    """What history and context providers could not do; the answer stands nevertheless."""

    @property
    def cost(self) -> float:
        """US dollars, by the price table; without calls whose price is not known."""
        return self.usage.cost


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRunFinished(RunFinished):
    """The last event of a run that was answered."""

    reply: Reply

    @classmethod
    def of(cls, end: RunFinished, reply: Reply) -> "AgentRunFinished":
        """Return the end of a run with the reply that it comes to."""
        return cls(reply=reply, **{each.name: getattr(end, each.name) for each in fields(end)})


def reply_of(end: RunFinished, *, value: object, failures: tuple[ProviderFailed, ...] = ()) -> Reply:
    """Return the reply that the end of a run comes to; ``value`` is what its text stands for."""
    return Reply(
        text=last_word(end),
        value=value,
        messages=end.messages,
        usage=end.usage,
        finish_reason=end.finish_reason or "stop",
        run_id=end.run_id,
        conversation_id=end.conversation_id,
        closed=end.closed,
        failures=failures,
    )


def last_word(end: RunFinished) -> str:
    """Return the text of the last message that an agent has said in a run."""
    return next((each.text for each in reversed(end.messages) if each.role == "assistant"), "")
