"""Language models: the port, and the plugs by the provider's part of a model's name."""

from tertulia.llms.base import LLM, Finished, FinishReason, LLMEvent, Prompt, Shown, TextDelta
from tertulia.llms.options import LLMOptions, LLMPlug, Notify
from tertulia.registry import Registry

_THROUGH_PYDANTIC_AI = (
    *("alibaba", "anthropic", "azure", "bedrock", "cerebras", "cohere", "deepseek", "fireworks", "google"),
    *("google-cloud", "groq", "heroku", "huggingface", "litellm", "mistral", "moonshotai", "nebius"),
    *("ollama", "openrouter", "ovhcloud", "sambanova", "together", "vercel", "vllm", "zai"),
)

LLMS: Registry[LLMPlug] = Registry(
    "language models",
    {
        **dict.fromkeys(_THROUGH_PYDANTIC_AI, "tertulia.llms.by_pydantic_ai.plug:PydanticAILLM"),
        "local": "tertulia.llms.local:LocalLLM",
        "openai": "tertulia.llms.openai_responses:OpenAIResponses",
        "openai-chat": "tertulia.llms.openai_chat:OpenAIChat",
        "openai-completions": "tertulia.llms.openai_completions:OpenAICompletions",
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
