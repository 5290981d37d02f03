"""What a model is told of a tool that is asked one thing."""

from collections.abc import Mapping
from typing import Any

from tertulia.definitions import ToolSpec


def question_spec(
    name: str, *, about: str, argument: str, asked: str, limits: Mapping[str, Any] | None = None
) -> ToolSpec:
    """Return the spec of a tool with one argument, a text; ``asked`` says what it is to hold.

    ``limits`` are keywords of JSON Schema, such as ``maxLength``.
    """
    return ToolSpec(
        name=name,
        description=about,
        parameters={
            "type": "object",
            "properties": {argument: {"type": "string", **(limits or {}), "description": asked}},
            "required": [argument],
            "additionalProperties": False,
        },
    )
