"""Servers of tools over HTTP, and how they may go wrong."""

import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from tertulia.errors import ToolError, ToolUnavailable
from tertulia.tools.addresses import is_public
from tertulia.tools.base import ToolRules, ToolSource
from tertulia.tools.guarded_httpx import guarded_client
from tertulia.tools.mcp_file import Endpoint, ServerConfig
from tertulia.tools.mcp_http import over_http
from tertulia.tools.mcp_server import MCPTools, open_configured
from tests.tools.servers import served

JSON = (b"content-type", b"application/json")
EVENTS = (b"content-type", b"text/event-stream")
NOTICE = b'data: {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}\n\n'


class Site:
    """A server of one tool over HTTP, which answers a use of it as it was told to."""

    def __init__(self, manner: str) -> None:
        self.manner = manner
        self.visits = 0
        self.heard: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.visits += 1
        self.heard += [value for name, value in scope["headers"] if name == b"cookie"]
        if scope["method"] == "GET" and self.manner == "again":
            await self._say(send, [EVENTS], b"id: 1\nretry: 0\n\n")
            return
        if scope["method"] != "POST":
            await self._say(send, [], status=405)
            return
        asked = json.loads((await receive())["body"])
        if asked.get("method") == "tools/call":
            await self._misbehave(asked, send)
        elif "id" not in asked:
            await self._say(send, [], status=202)
        else:
            await self._answer(asked, send)

    async def _answer(self, asked: dict[str, Any], send: Any) -> None:
        kept: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
        match asked["method"]:
            case "initialize":
                version = asked["params"]["protocolVersion"]
                about = {"name": "site", "version": "1"}
                result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": about}
                kept["result"] = result
            case "tools/list":
                kept["result"] = {"tools": [{"name": "go", "inputSchema": {"type": "object"}}]}
            case "ping":
                kept["result"] = {}
            case _:
                kept["error"] = {"code": -32601, "message": "unknown"}
        await self._say(send, [JSON, (b"set-cookie", b"a=b")], json.dumps(kept).encode())

    async def _misbehave(self, asked: dict[str, Any], send: Any) -> None:
        result = {"content": [{"type": "text", "text": "gone"}]}
        good = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()
        match self.manner:
            case "good":
                await self._say(send, [JSON], good)
            case "packed":
                await self._say(send, [JSON, (b"content-encoding", b"gzip")], gzip.compress(good))
            case "large":
                await self._say(send, [JSON], b" " * 25 * 1024 * 1024 + good)
            case "events":
                await self._say(send, [EVENTS], *[NOTICE * 1000] * 400)
            case "event":
                await self._say(send, [EVENTS], b"data: ", *[b"x" * 100_000] * 300)
            case "again":
                await self._say(send, [EVENTS], b"id: 1\nretry: 0\ndata:\n\n")
            case _:
                await self._say(send, [(b"location", self.manner.encode())], status=307)

    async def _say(self, send: Any, headers: list[Any], *pieces: bytes, status: int = 200) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def open_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 counts as public where a name leads to it; nothing else is changed."""

    def is_fine(address: str) -> bool:
        return address == "127.0.0.1" or is_public(address)

    monkeypatch.setattr("tertulia.tools.guard.is_public", is_fine)


@asynccontextmanager
async def asked_at(site: Site, *, is_trusted: bool) -> AsyncIterator[MCPTools]:
    async def loopback(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async with served(site.__call__) as port:
        source: ToolSource
        if is_trusted:
            at = Endpoint(url=f"http://127.0.0.1:{port}/mcp")
            source = open_configured(ServerConfig(label="site", at=at))
        else:
            make = partial(guarded_client, timeout=30, resolve=loopback)
            source = MCPTools("site", partial(over_http, f"http://site.example:{port}/mcp", make))
        assert isinstance(source, MCPTools)
        await source.tools()
        yield source
        await source.close()


async def used(source: MCPTools) -> str:
    return await source.call("go", {}, key="key", rules=ToolRules())


both = pytest.mark.parametrize("is_trusted", [True, False], ids=["configured", "remote"])


@both
@pytest.mark.parametrize(
    ("manner", "told"),
    [
        ("large", "said more than (4|20) MB at once"),
        ("events", "said more than (4|20|100) MB"),
        ("event", "the connection .* broke"),
        ("packed", "the connection .* broke"),
    ],
)
async def test_an_answer_without_measure_is_not_read_and_the_server_is_asked_again(
    open_loopback: None, is_trusted: bool, manner: str, told: str
) -> None:
    site = Site(manner)
    async with asked_at(site, is_trusted=is_trusted) as source:
        with pytest.raises(ToolUnavailable, match=told):
            await used(source)
        site.manner = "good"

        assert await used(source) == "gone"


async def test_a_server_that_sends_us_back_again_and_again_is_not_followed_without_end(
    open_loopback: None,
) -> None:
    site = Site("again")
    async with asked_at(site, is_trusted=False) as source:
        with pytest.raises(ToolUnavailable, match="said more than 20 MB without being asked"):
            await used(source)

        assert site.visits < 200


@both
@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "ftp://site.example/",
        "gopher://site.example/",
        "http://other.example/",
        "http://127.0.0.1:1/",
        "//169.254.169.254/latest",
        "http://[::1",
        "http://site.example:99999999/",
        "\\\\127.0.0.1",
    ],
)
async def test_a_server_of_tools_sends_us_nowhere_else(
    open_loopback: None, is_trusted: bool, target: str
) -> None:
    site = Site(target)
    async with asked_at(site, is_trusted=is_trusted) as source:
        with pytest.raises(ToolError):
            await used(source)
        site.manner = "good"

        assert await used(source) == "gone"


async def test_only_a_server_of_the_installations_own_gets_its_cookies_back(open_loopback: None) -> None:
    heard = []
    for is_trusted in (True, False):
        site = Site("good")
        async with asked_at(site, is_trusted=is_trusted) as source:
            await used(source)
        heard.append(bool(site.heard))

    assert heard == [True, False]
