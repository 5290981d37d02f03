"""Language models: the port, and the plugs by the provider's part of a model's name."""

from tertulia.llms.base import LLM, Finished, FinishReason, LLMEvent, Prompt, Shown, TextDelta
from tertulia.llms.options import LLMOptions, LLMPlug, Notify
from tertulia.registry import Registry

LLMS: Registry[LLMPlug] = Registry(
    "language models",
    {
        "local": "tertulia.llms.local:LocalLLM",
        "openai-chat": "tertulia.llms.openai_chat:OpenAIChat",
        "scripted": "tertulia.llms.scripted:ScriptedLLM",
    },
)

__all__ = [
    "LLM",
    "LLMS",
    "FinishReason",
    "Finished",
    "LLMEvent",
    "LLMOptions",
    "LLMPlug",
    "Notify",
    "Prompt",
    "Shown",
    "TextDelta",
]
