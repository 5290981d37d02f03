"""What a context provider has given for a run, checked before a model is shown it."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Final, get_args

import orjson

from tertulia.definitions import ToolSpec
from tertulia.errors import ProviderError
from tertulia.memory.context.base import ContextTool, RunContext
from tertulia.messages import Message, Role, check_text
from tertulia.parts import Media, Part, Reasoning, ToolCall, ToolResult, Unknown, encode_part
from tertulia.tools.arguments import check_spec
from tertulia.tools.base import Tool
from tertulia.tools.functions import as_tool

_ROLES: Final = get_args(Role)
_PARTS: Final = get_args(Part)
_BY: Final[dict[type, Role]] = {
    Media: "user",
    ToolCall: "assistant",
    Reasoning: "assistant",
    ToolResult: "tool",
}
"""Whose messages have such parts; all may have text."""


def checked_context(returned: object) -> RunContext | None:
    """Return a context that a model can be shown, its tools made of functions.

    Raises :class:`ProviderError` or :class:`~tertulia.errors.InvalidInput`, which say what is wrong.
    """
    if returned is None:
        return None
    if not isinstance(returned, RunContext):
        raise ProviderError(f"it returned {_kind(returned)} where a RunContext or None was wanted")
    if not isinstance(returned.instructions, str):
        raise ProviderError(f"its instructions are {_kind(returned.instructions)}, and no text")
    check_text(returned.instructions, what="its instructions")
    return replace(returned, messages=_messages(returned.messages), tools=_tools(returned.tools))


def _messages(given: object) -> tuple[Message | str, ...]:
    if isinstance(given, str):
        raise ProviderError("its messages are one text; put it in a list")
    messages = tuple(given)  # type: ignore[var-annotated, arg-type]  # what is no sequence fails here
    waiting: set[str] = set()
    for message in messages:
        if not isinstance(message, Message | str):
            raise ProviderError(f"among its messages is {_kind(message)}")
        if isinstance(message, str):
            check_text(message, what="one of its messages")
        else:
            _check_content(message)
        waiting = _waiting(message, waiting)
    if waiting:
        raise ProviderError("among its messages is a use of a tool without its result")
    return messages


def _check_content(message: Message) -> None:
    if message.role not in _ROLES:
        raise ProviderError("one of its messages has a role that there is not")
    if not isinstance(message.content, tuple) or not message.content:
        raise ProviderError("one of its messages has no parts")
    for part in message.content:
        if not isinstance(part, _PARTS):
            raise ProviderError(f"among the parts of its messages is {_kind(part)}")
        if isinstance(part, Unknown) or _BY.get(type(part), message.role) != message.role:
            raise ProviderError(f"one of its messages is the {message.role}'s, and has {_kind(part)}")
        _check_part(part)


def _check_part(part: Part) -> None:
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, str):
            check_text(value, what="one of its messages")
        elif not isinstance(value, bool):
            raise ProviderError(f"a part of one of its messages has {_kind(value)} as its {field.name}")
    orjson.dumps(encode_part(part))


def _waiting(message: Message | str, before: set[str]) -> set[str]:
    """Return the uses of tools that wait for results after a message, of those that did before it."""
    if isinstance(message, Message) and message.role == "tool":
        answered = [part.call_id for part in message.content if isinstance(part, ToolResult)]
        if len(message.content) != 1 or not before.issuperset(answered) or not answered:
            raise ProviderError("among its messages is a tool's that is not the result of a use before it")
        return before.difference(answered)
    if before:
        raise ProviderError("among its messages is a use of a tool without its result")
    if isinstance(message, str):
        return set()
    return {part.id for part in message.content if isinstance(part, ToolCall)}


def _tools(given: Sequence[ContextTool]) -> list[Tool]:
    tools: dict[str, Tool] = {}
    for each in given:
        if Tool not in type(each).__mro__ and not callable(each):
            raise ProviderError(f"among its tools is {_kind(each)}")
        tool = as_tool(each)
        name = _checked_spec(tool).name
        if name in tools:
            raise ProviderError(f"two of its tools are named {name!r}")
        tools[name] = tool
    return list(tools.values())


def _checked_spec(tool: Tool) -> ToolSpec:
    spec = tool.spec
    if not isinstance(spec, ToolSpec):
        raise ProviderError(f"one of its tools describes itself by {_kind(spec)}, and no ToolSpec")
    check_text(spec.description, what=f"the description of its tool {spec.name!r}")
    return check_spec(spec, max_checks=tool.rules.max_checks)


def _kind(value: object) -> str:
    return f"an object of type {type(value).__name__}"
