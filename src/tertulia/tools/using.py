"""Using a tool on a model's behalf: arguments checked, time and size limited, every end a result."""

import asyncio
import math
from collections.abc import Mapping
from typing import Any, Final

from tertulia.errors import ToolError
from tertulia.messages import clean_text
from tertulia.parts import ToolCall, ToolResult
from tertulia.tools.arguments import parse_arguments, shortened
from tertulia.tools.base import Tool, ToolContext, ToolRules
from tertulia.tools.failing import tool_error

_ERROR_LENGTH: Final = 2000


async def use(
    tool: Tool, call: ToolCall, context: ToolContext, *, within_seconds: float | None = None
) -> ToolResult:
    """Return what came of a call; whatever goes wrong is a result that tells the model.

    It ends within the tool's own limit of time, or ``within_seconds`` if that is shorter: what is left
    of the run. Raises nothing, but being cancelled ends it.
    """
    try:
        arguments = parse_arguments(call.arguments, tool.spec, max_checks=tool.rules.max_checks)
        text = await _limited(tool, arguments, context, within_seconds=within_seconds)
    except ToolError as error:
        told = shortened(str(error), _ERROR_LENGTH)
        return ToolResult(call_id=call.id, name=call.name, text=clean_text(told), is_error=True)
    return ToolResult(call_id=call.id, name=call.name, text=clean_text(_cut(text, tool.rules.max_output)))


async def _limited(
    tool: Tool, arguments: Mapping[str, Any], context: ToolContext, *, within_seconds: float | None
) -> str:
    rules = tool.rules
    left = math.inf if within_seconds is None else within_seconds
    if left <= 0:
        raise ToolError("the tool was not used, since its run has no time left")
    limit = asyncio.timeout(min(left, rules.within_seconds))
    try:
        async with limit:
            return await tool.use(arguments, context)
    except (Exception, SystemExit) as error:
        if limit.expired() and isinstance(error, TimeoutError):
            raise _too_slow(rules, left) from error
        raise tool_error(error, tool=tool.spec.name) from error


def _too_slow(rules: ToolRules, left: float) -> ToolError:
    told = f"the tool took longer than {rules.within_seconds:g} seconds and was stopped"
    if left < rules.within_seconds:
        told = f"the tool was stopped after {left:.1f} seconds, since its run has no time left"
    if rules.is_idempotent:
        return ToolError(f"{told}; it may be used again")
    return ToolError(f"{told}; it is not known whether it took effect")


def _cut(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    return f"{text[:length]}\n[cut: the first {length} of {len(text)} characters]"
