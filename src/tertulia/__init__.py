"""Conversational agents that never lose the thread: a server and a Python library.

The names in ``__all__`` are the promise. Each is imported when it is first asked for, so that
importing the package costs next to nothing.
"""

from typing import TYPE_CHECKING

from tertulia.registry import lazily

if TYPE_CHECKING:
    from tertulia.errors import TertuliaError, ToolError
    from tertulia.messages import Message
    from tertulia.tools.base import ToolContext
    from tertulia.tools.functions import tool

__version__ = "0.1.0"

__all__ = ["Message", "TertuliaError", "ToolContext", "ToolError", "__version__", "tool"]

__getattr__ = lazily(
    __name__,
    {
        "Message": "tertulia.messages:Message",
        "TertuliaError": "tertulia.errors:TertuliaError",
        "ToolContext": "tertulia.tools.base:ToolContext",
        "ToolError": "tertulia.errors:ToolError",
        "tool": "tertulia.tools.functions:tool",
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
