"""Conversational agents that never lose the thread: a server and a Python library.

The names in ``__all__`` are the promise. Each is imported when it is first asked for, so that
importing the package costs next to nothing.
"""

from typing import TYPE_CHECKING

from tertulia.registry import lazily

if TYPE_CHECKING:
    from tertulia.errors import TertuliaError
    from tertulia.messages import Message

__version__ = "0.1.0"

__all__ = ["Message", "TertuliaError", "__version__"]

__getattr__ = lazily(
    __name__,
    {
        "Message": "tertulia.messages:Message",
        "TertuliaError": "tertulia.errors:TertuliaError",
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
