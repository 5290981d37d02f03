"""Long results of tools, shortened where a model is shown them; the log keeps them whole."""

from dataclasses import replace
from typing import Final

from tertulia.parts import ToolResult

LATER: Final = 2000
"""Characters of a result that are shown once the turn is over that asked for it."""


def shortened(result: ToolResult, characters: int = LATER) -> ToolResult:
    """Return a result with the first ``characters`` of its text at most, and a note if that is not all."""
    if len(result.text) <= characters:
        return result
    note = f"[shortened: {characters} of {len(result.text)} characters]"
    return replace(result, text=f"{result.text[:characters]}\n{note}")
