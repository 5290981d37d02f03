"""Conversational agents that never lose the thread: a server and a Python library.

The names in ``__all__`` are the promise. Each is imported when it is first asked for, so that
importing the package costs next to nothing.
"""

from typing import TYPE_CHECKING, Final

from tertulia.registry import load

if TYPE_CHECKING:
    from tertulia.errors import TertuliaError
    from tertulia.messages import Message

__version__ = "0.1.0"

__all__ = ["Message", "TertuliaError", "__version__"]

_EXPORTS: Final = {
    "Message": "tertulia.messages:Message",
    "TertuliaError": "tertulia.errors:TertuliaError",
}


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = load(_EXPORTS[name])
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
