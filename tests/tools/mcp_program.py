"""A small server of tools: started as a program it speaks over its standard input and output."""

import asyncio
import os

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)

server = MCPServer("parrot", log_level="ERROR")


@server.tool()
async def echo(text: str) -> str:
    """Say it again."""
    return text


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
async def look(at: str, often: int = 1, note: str | None = "no") -> dict[str, object]:
    """Look at something."""
    return {"at": at, "often": often, "note": note}


@server.tool(name="odd.name with spaces", annotations=ToolAnnotations(idempotent_hint=True))
async def odd() -> str:
    return "odd"


@server.tool()
async def fail() -> CallToolResult:
    """Fail, and say why."""
    return CallToolResult(content=[TextContent(type="text", text="no bananas today")], is_error=True)


@server.tool()
async def hang() -> str:
    """Never answer."""
    await asyncio.Event().wait()
    return "never"


@server.tool()
async def paint() -> CallToolResult:
    """Answer with more than text."""
    note = EmbeddedResource(resource=TextResourceContents(uri="note://1", text="a note"))
    file = EmbeddedResource(resource=BlobResourceContents(uri="file://2", blob="cG5n"))
    link = ResourceLink(name="more", uri="note://3")
    image = ImageContent(data="cG5n", mime_type="image/png")
    sound = AudioContent(data="cG5n", mime_type="audio/wav")
    return CallToolResult(content=[TextContent(text="a picture:"), image, sound, note, file, link])


@server.tool()
async def structure() -> CallToolResult:
    """Answer without any text."""
    return CallToolResult(content=[], structured_content={"answer": 42})


@server.tool()
async def key(context: Context) -> str:
    """Tell the key of the use."""
    meta = context.request_context.meta or {}
    return str(meta.get("tertulia/idempotency-key"))


@server.tool()
async def environment(name: str) -> str:
    """Tell a variable."""
    return os.environ.get(name, "unset")


@server.tool()
async def crash() -> str:
    """End the server's process."""
    os._exit(1)


@server.tool(annotations=ToolAnnotations(idempotent_hint=True))
async def crash_once(marker: str) -> str:
    """End the server's process unless there is a file already, which is made."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "survived"
    os._exit(1)


if __name__ == "__main__":
    server.run("stdio")
