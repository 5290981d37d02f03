"""Asking a model so that the stream can be closed."""

from collections.abc import AsyncGenerator
from typing import cast

from tertulia.llms.base import LLM, LLMEvent, Prompt


def ask(llm: LLM, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
    """Return a stream for ``aclosing``; the port promises that every stream can be closed."""
    return cast("AsyncGenerator[LLMEvent, None]", llm.stream(prompt))
