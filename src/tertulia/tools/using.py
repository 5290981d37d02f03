"""Using a tool on a model's behalf: arguments checked, time and size limited, every end a result."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from tertulia.errors import ToolError
from tertulia.messages import clean_text
from tertulia.parts import ToolCall, ToolResult
from tertulia.tools.arguments import parse_arguments, shortened
from tertulia.tools.base import Tool, ToolContext, ToolRules
from tertulia.tools.failing import tool_error

_ERROR_LENGTH: Final = 2000


async def use(tool: Tool, call: ToolCall, context: ToolContext) -> ToolResult:
    """Return what came of a call; whatever goes wrong is a result that tells the model.

    Raises nothing, but being cancelled ends it.
    """
    try:
        text = await _limited(tool, parse_arguments(call.arguments, tool.spec), context)
    except ToolError as error:
        told = shortened(str(error), _ERROR_LENGTH)
        return ToolResult(call_id=call.id, name=call.name, text=clean_text(told), is_error=True)
    return ToolResult(call_id=call.id, name=call.name, text=clean_text(_cut(text, tool.rules.max_output)))


async def _limited(tool: Tool, arguments: Mapping[str, Any], context: ToolContext) -> str:
    limit = asyncio.timeout(tool.rules.within_seconds)
    try:
        async with limit:
            return await tool.use(arguments, context)
    except (Exception, SystemExit) as error:
        if limit.expired() and isinstance(error, TimeoutError):
            raise _too_slow(tool.rules) from error
        raise tool_error(error, tool=tool.spec.name) from error


def _too_slow(rules: ToolRules) -> ToolError:
    told = f"the tool took longer than {rules.within_seconds:g} seconds and was stopped"
    if rules.is_idempotent:
        return ToolError(f"{told}; it may be used again")
    return ToolError(f"{told}; it is not known whether it took effect")


def _cut(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    return f"{text[:length]}\n[cut: the first {length} of {len(text)} characters]"
