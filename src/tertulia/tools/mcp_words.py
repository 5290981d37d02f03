"""What servers that speak MCP say, in our words: tools, results and errors."""

import logging
from collections.abc import Iterable, Iterator
from typing import Final

import orjson
from mcp import MCPError
from mcp.types import (
    CONNECTION_CLOSED,
    INVALID_REQUEST,
    PARSE_ERROR,
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
    Tool,
)

from tertulia.definitions import ToolSpec
from tertulia.errors import TertuliaError, ToolError
from tertulia.tools.arguments import MAX_PARAMETERS, shortened
from tertulia.tools.wire_names import wire_name

_LOG: Final = logging.getLogger(__name__)

MAX_TOOLS: Final = 128
"""Tools that are taken of one server."""
MAX_SCHEMAS: Final = 512 * 1024
"""Characters that the schemas of one server's tools may take together."""
_DESCRIPTION: Final = 4000
_MESSAGE: Final = 500


def within_bounds(tools: Iterable[Tool], *, label: str) -> Iterator[Tool]:
    """Yield the first tools of a server, as many as are taken of one."""
    size = 0
    for count, tool in enumerate(tools):
        size += min(len(repr(tool.input_schema)), MAX_PARAMETERS)  # Larger ones are left out.
        if count == MAX_TOOLS or size > MAX_SCHEMAS:
            _LOG.warning("the server %s has more tools, or larger ones, than the %d taken", label, count)
            return
        yield tool


def spec_of(tool: Tool, *, label: str) -> ToolSpec:
    """Return what a model is told of a server's tool."""
    return ToolSpec(
        name=wire_name(label, tool.name),
        description=shortened(tool.description or tool.title or "", _DESCRIPTION),
        parameters={"type": "object", **tool.input_schema},
    )


def is_idempotent(tool: Tool) -> bool:
    """Whether its server says that it may be used twice without doing more."""
    hints = tool.annotations
    return hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)


def result_text(result: CallToolResult) -> str:
    """Return what a tool gave, as text; raises :class:`ToolError` if that is what went wrong."""
    text = "\n\n".join(_shown(block) for block in result.content)
    if not text and result.structured_content is not None:
        text = orjson.dumps(result.structured_content).decode()
    if result.is_error:
        raise ToolError(text or "the tool failed and does not say why")
    return text


def has_ended(error: MCPError) -> bool:
    """Whether an error says that the connection, or the server's memory of it, has come to its end."""
    return error.code == CONNECTION_CLOSED or was_forgotten(error)


def was_forgotten(error: MCPError) -> bool:
    """Whether the server knows nothing of us any longer, and so has done nothing."""
    return error.code == INVALID_REQUEST and error.message == "Session terminated"


def told(error: MCPError) -> str:
    """Return the text of an error that a server answered with."""
    if error.code == PARSE_ERROR:
        return "the server of tools sent something that is no answer"
    return shortened(error.message, _MESSAGE) or "the server of tools answered with an error"


def reason(error: BaseException | None) -> str:
    """Return why a connection could not be made, or has ended, as far as that is safe to show."""
    for leaf in _leaves(error):
        if isinstance(leaf, TertuliaError):
            return str(leaf)
        if isinstance(leaf, TimeoutError):
            return "it took too long to connect"
        if isinstance(leaf, FileNotFoundError | PermissionError):
            return "its command cannot be started"
        if isinstance(leaf, MCPError) and not has_ended(leaf):
            return told(leaf)
    return "it cannot be reached"


def _leaves(error: BaseException | None) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [] if error is None else [error]


def _shown(block: ContentBlock) -> str:
    match block:
        case TextContent():
            return block.text
        case ImageContent():
            return f"[an image, {block.mime_type}]"
        case AudioContent():
            return f"[a recording, {block.mime_type}]"
        case ResourceLink():
            return f"[a resource, {block.name}: {block.uri}]"
        case EmbeddedResource():
            return _resource(block)


def _resource(block: EmbeddedResource) -> str:
    match block.resource:
        case TextResourceContents() as found:
            return found.text
        case BlobResourceContents() as found:
            return f"[a file, {found.mime_type or 'of unknown type'}: {found.uri}]"
