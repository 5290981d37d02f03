"""Context providers as they were: asked before each answer, and told after it."""

from abc import ABC, abstractmethod
from collections.abc import MutableSequence, Sequence
from types import TracebackType
from typing import Any, ClassVar, Self

from tertulia.compat.agent_framework.messages import ChatMessage
from tertulia.memory.context.base import ContextTool


class Context:
    """What a model is to know for one answer; nothing of it is kept in the thread."""

    def __init__(
        self,
        instructions: str | None = None,
        messages: Sequence[ChatMessage] | None = None,
        tools: Sequence[ContextTool] | None = None,
    ) -> None:
        self.instructions = instructions
        self.messages: Sequence[ChatMessage] = messages or []
        self.tools: Sequence[ContextTool] = tools or []


class ContextProvider(ABC):
    """Knows something from beyond a thread, and learns from it.

    One object that is given to an agent serves all of its threads, so that what it notes down on itself
    is known in all of them. Give a function that makes one (or its class) instead, and each thread has
    its own. What it knows goes into the thread's :meth:`~AgentThread.serialize` if it has a method
    ``serialize()`` that returns JSON values, and ``deserialize(state)`` that takes them in again; both
    may be ``async``.
    """

    DEFAULT_CONTEXT_PROMPT: ClassVar[str] = "Memories that may matter for what is asked, quoted:"

    async def thread_created(self, thread_id: str | None) -> None:  # noqa: B027  # need not be there
        """Take notice of a thread, before its first answer."""

    @abstractmethod
    async def invoking(self, messages: ChatMessage | MutableSequence[ChatMessage], **kwargs: Any) -> Context:
        """Return what the model should know to answer the message in this list."""

    async def invoked(  # noqa: B027  # need not be there
        self,
        request_messages: ChatMessage | Sequence[ChatMessage],
        response_messages: ChatMessage | Sequence[ChatMessage] | None = None,
        invoke_exception: Exception | None = None,
        **kwargs: Any,
    ) -> None:
        """Take in what was answered, or what has failed; the request is kept in the thread either way."""

    async def __aenter__(self) -> Self:
        """Begin; only for those that an agent was given themselves, by ``async with agent``."""
        return self

    async def __aexit__(  # noqa: B027  # need not be there
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
