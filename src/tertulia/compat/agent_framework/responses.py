"""What an agent answers with, by its older names."""

from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from tertulia import Reply
from tertulia.compat.agent_framework.messages import ChatMessage, Role, chat_message_of
from tertulia.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageDetails:
    """Tokens that an answer has taken."""

    input_token_count: int
    output_token_count: int

    @property
    def total_token_count(self) -> int:
        """All of them."""
        return self.input_token_count + self.output_token_count


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRunResponse:
    """An answer."""

    text: str
    """The agent's last word."""
    messages: list[ChatMessage]
    """Everything that was said in answer, uses of tools included."""
    value: Any
    """What the text stands for, if the agent has a response format."""
    usage_details: UsageDetails
    response_id: str
    raw_representation: Reply

    @classmethod
    def of(cls, reply: Reply) -> "AgentRunResponse":
        """Return a reply under its older name."""
        return cls(
            text=reply.text,
            messages=[chat_message_of(message) for message in reply.messages],
            value=reply.value,
            usage_details=UsageDetails(
                input_token_count=reply.usage.input_tokens, output_token_count=reply.usage.output_tokens
            ),
            response_id=reply.run_id,
            raw_representation=reply,
        )

    @override
    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRunResponseUpdate:
    """A piece of an answer while it comes."""

    text: str = ""
    author_name: str | None = None
    role: Role = Role.ASSISTANT
    starts_again: bool = False
    """Whether the text so far is void, and comes anew: a model had to be asked again."""
    response: AgentRunResponse | None = None
    """The whole answer; only in the last one."""
    raw_representation: Event

    @override
    def __str__(self) -> str:
        return self.text
