"""The contract of tools, for functions and for servers over both ways to speak to them."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from tertulia.errors import ToolError
from tertulia.testing.tool_contract import ToolContract, ToolSourceContract
from tertulia.tools.base import Tool, ToolSource
from tertulia.tools.functions import tool as as_tool
from tertulia.tools.mcp_file import Endpoint, Program, ServerConfig
from tertulia.tools.mcp_server import open_configured
from tests.tools import mcp_program
from tests.tools.servers import served


def config(at: Program | Endpoint) -> ServerConfig:
    return ServerConfig(label="parrot", at=at, seconds=30)


@pytest.fixture
async def program() -> AsyncIterator[ToolSource]:
    """A server that is started, and spoken to over its standard input and output."""
    source = open_configured(config(Program(command=sys.executable, args=(mcp_program.__file__,))))
    yield source
    await source.close()


@pytest.fixture
async def endpoint() -> AsyncIterator[ToolSource]:
    """A server that is spoken to over HTTP."""
    async with served(mcp_program.server.streamable_http_app(), lifespan="on") as port:
        source = open_configured(config(Endpoint(url=f"http://127.0.0.1:{port}/mcp")))
        yield source
        await source.close()


def named(tools: Sequence[Tool], name: str) -> Tool:
    return next(tool for tool in tools if tool.spec.name == f"parrot__{name}")


class TestAsyncFunction(ToolContract):
    @pytest.fixture
    def tool(self) -> Tool:
        @as_tool
        async def echo(text: str) -> str:
            """Say it again."""
            return text

        return echo

    @pytest.fixture
    def arguments(self) -> dict[str, Any]:
        return {"text": "hello"}

    @pytest.fixture
    def failing(self) -> Tool:
        @as_tool
        async def fail() -> str:
            raise ToolError("no bananas today")

        return fail

    @pytest.fixture
    def hanging(self) -> Tool:
        @as_tool
        async def hang() -> None:
            await asyncio.Event().wait()

        return hang


class TestFunctionInAThread(ToolContract):
    @pytest.fixture
    def tool(self) -> Tool:
        @as_tool
        def echo(text: str) -> str:
            """Say it again."""
            return text

        return echo

    @pytest.fixture
    def arguments(self) -> dict[str, Any]:
        return {"text": "hello"}

    @pytest.fixture
    def failing(self) -> Tool:
        @as_tool
        def fail() -> str:
            raise LookupError("the vault's number is 4711")

        return fail

    @pytest.fixture
    def hanging(self) -> Tool:
        @as_tool
        def hang() -> None:
            threading.Event().wait()

        return hang


class _OverMCP(ToolContract, ToolSourceContract):
    @pytest.fixture
    async def tool(self, source: ToolSource) -> Tool:
        return named(await source.tools(), "echo")

    @pytest.fixture
    def arguments(self) -> dict[str, Any]:
        return {"text": "hello"}

    @pytest.fixture
    async def failing(self, source: ToolSource) -> Tool:
        return named(await source.tools(), "fail")

    @pytest.fixture
    async def hanging(self, source: ToolSource) -> Tool:
        return named(await source.tools(), "hang")


class TestMCPProgram(_OverMCP):
    @pytest.fixture
    def source(self, program: ToolSource) -> ToolSource:
        return program

    @pytest.fixture
    async def unreachable(self) -> AsyncIterator[ToolSource]:
        source = open_configured(config(Program(command="/there/is/no/such/program")))
        yield source
        await source.close()


class TestMCPEndpoint(_OverMCP):
    @pytest.fixture
    def source(self, endpoint: ToolSource) -> ToolSource:
        return endpoint

    @pytest.fixture
    async def unreachable(self) -> AsyncIterator[ToolSource]:
        source = open_configured(config(Endpoint(url="http://127.0.0.1:1/mcp")))
        yield source
        await source.close()
