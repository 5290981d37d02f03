"""Servers for the tests of this room, on the loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal

import uvicorn


@asynccontextmanager
async def served(app: Callable[..., Any], *, lifespan: Literal["on", "off"] = "off") -> AsyncIterator[int]:
    """Serve an ASGI application, and give the port."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            app, interface="asgi3", log_level="critical", lifespan=lifespan, timeout_graceful_shutdown=1
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0)
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        await task


class Canary:
    """Listens on the loopback, and counts who comes."""

    def __init__(self) -> None:
        self.visits = 0
        self.port = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Canary"]:
        """Listen, on both kinds of the loopback's addresses where there are both."""
        first = await asyncio.start_server(self._greet, "127.0.0.1", 0)
        self.port = first.sockets[0].getsockname()[1]
        servers = [first]
        if socket.has_ipv6:
            with suppress(OSError):  # A machine without IPv6.
                servers.append(await asyncio.start_server(self._greet, "::1", self.port))
        try:
            yield self
        finally:
            for server in servers:
                server.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\ncaged")
        writer.close()


class Redirecting:
    """Sends everybody elsewhere, and counts who comes."""

    def __init__(self) -> None:
        self.target, self.status = "", 302
        self.visits = self.port = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Redirecting"]:
        """Listen on the loopback."""
        async with served(self._answer) as self.port:
            yield self

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self.visits += 1
        headers = [(b"location", self.target.encode()), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
