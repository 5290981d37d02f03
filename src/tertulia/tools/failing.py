"""What goes wrong in a tool, as its model is told it and as it is logged."""

import logging
from traceback import extract_tb
from typing import Final

from tertulia.errors import TertuliaError, ToolError

_LOG: Final = logging.getLogger(__name__)
_FRAMES: Final = 5


def tool_error(error: BaseException, *, tool: str) -> ToolError:
    """Return what a model is told of an error that a tool has raised.

    Our own errors are told as they are. Of others, whose texts may hold secrets or what somebody has
    said, only the type is told; the log says where it was raised.
    """
    if isinstance(error, ToolError):
        return error
    if isinstance(error, TertuliaError):
        return ToolError(str(error))
    kind = type(error).__name__
    _LOG.warning("the tool %s failed with %s at %s", tool, kind, _place(error))
    return ToolError(f"the tool failed ({kind})")


def _place(error: BaseException) -> str:
    """Return where an error was raised, the innermost place first."""
    frames = extract_tb(error.__traceback__)[::-1][:_FRAMES]
    return " < ".join(f"{frame.filename}:{frame.lineno}" for frame in frames) or "a place unknown"
