"""Conversational agents that never lose the thread: a server and a Python library.

The names in ``__all__`` are the promise. Each is imported when it is first asked for, so that
importing the package costs next to nothing.
"""

from typing import TYPE_CHECKING

from tertulia.registry import lazily

if TYPE_CHECKING:
    from tertulia.agent.agent import Agent
    from tertulia.agent.options import RunKeywords
    from tertulia.agent.replies import AgentRunFinished, Reply
    from tertulia.agent.saving import ConfigurationChanged
    from tertulia.agent.session import Session
    from tertulia.errors import TertuliaError, ToolError
    from tertulia.memory.context.base import ContextProvider, RunContext
    from tertulia.messages import Message
    from tertulia.tools.base import ToolContext
    from tertulia.tools.functions import tool

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "AgentRunFinished",
    "ConfigurationChanged",
    "ContextProvider",
    "Message",
    "Reply",
    "RunContext",
    "RunKeywords",
    "Session",
    "TertuliaError",
    "ToolContext",
    "ToolError",
    "__version__",
    "tool",
]

__getattr__ = lazily(
    __name__,
    {
        "Agent": "tertulia.agent.agent:Agent",
        "AgentRunFinished": "tertulia.agent.replies:AgentRunFinished",
        "ConfigurationChanged": "tertulia.agent.saving:ConfigurationChanged",
        "ContextProvider": "tertulia.memory.context.base:ContextProvider",
        "Message": "tertulia.messages:Message",
        "Reply": "tertulia.agent.replies:Reply",
        "RunContext": "tertulia.memory.context.base:RunContext",
        "RunKeywords": "tertulia.agent.options:RunKeywords",
        "Session": "tertulia.agent.session:Session",
        "TertuliaError": "tertulia.errors:TertuliaError",
        "ToolContext": "tertulia.tools.base:ToolContext",
        "ToolError": "tertulia.errors:ToolError",
        "tool": "tertulia.tools.functions:tool",
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
