"""OpenAI's models, and servers that speak as they do, by their older names."""

from typing import Any, ClassVar

from tertulia.compat.agent_framework.agents import ChatAgent
from tertulia.compat.agent_framework.clients import ChatClient


class OpenAIChatClient(ChatClient):
    """A model asked by chat completions; ``OPENAI_CHAT_MODEL_ID`` names it if nothing else does."""

    provider: ClassVar[str] = "openai-chat"
    variable: ClassVar[str] = "OPENAI_CHAT_MODEL_ID"

    def create_agent(self, **options: Any) -> ChatAgent:
        """Return an agent that asks this model; ``options`` are those of :class:`ChatAgent`."""
        return ChatAgent(self, **options)


class OpenAIResponsesClient(ChatClient):
    """A model asked by Responses, whose service can keep threads; ``OPENAI_RESPONSES_MODEL_ID`` names it."""

    provider: ClassVar[str] = "openai"
    variable: ClassVar[str] = "OPENAI_RESPONSES_MODEL_ID"

    def create_agent(self, **options: Any) -> ChatAgent:
        """Return an agent that asks this model; ``options`` are those of :class:`ChatAgent`."""
        return ChatAgent(self, **options)


__all__ = ["OpenAIChatClient", "OpenAIResponsesClient"]
