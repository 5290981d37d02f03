"""Servers of tools that speak MCP, as sources of tools."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx2
from mcp import ClientSession, MCPError, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import (
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    PaginatedRequestParams,
    RequestParamsMeta,
)
from mcp.types import Tool as Listed
from pydantic import ValidationError
from typing_extensions import override

from tertulia.definitions import RemoteTools, ToolSpec
from tertulia.errors import InvalidInput, ToolError, ToolUnavailable
from tertulia.tools.arguments import check_spec
from tertulia.tools.base import TOOL_SECONDS, Tool, ToolContext, ToolRules, ToolSource
from tertulia.tools.guarded_httpx import guarded_client
from tertulia.tools.mcp_file import Program, ServerConfig
from tertulia.tools.mcp_line import Connect, Line
from tertulia.tools.mcp_words import (
    has_ended,
    is_idempotent,
    reason,
    result_text,
    spec_of,
    told,
    was_forgotten,
)

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

T = TypeVar("T")

_LOG: Final = logging.getLogger(__name__)
_LISTED_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 15.0
_IDLE_SECONDS: Final = 300.0
_SILENCE_SECONDS: Final = 300.0
_PAGES: Final = 20
_MOST: Final = 256
_KEY: Final = "tertulia/idempotency-key"


def open_remote(choice: RemoteTools) -> ToolSource:
    """Return the tools of a server that an agent's author named; only a public address is connected to."""
    make = partial(guarded_client, timeout=TOOL_SECONDS)
    return MCPTools(
        choice.label,
        partial(_over_http, choice.url, make),
        rules=ToolRules(needs_approval=True),
        idle_seconds=_IDLE_SECONDS,
    )


def open_configured(config: ServerConfig) -> ToolSource:
    """Return the tools of a server that the installation names; private networks are its own affair."""
    if isinstance(config.at, Program):
        program = StdioServerParameters(
            command=config.at.command, args=[*config.at.args], env=dict(config.at.env), cwd=config.at.cwd
        )
        connect: Connect = partial(stdio_client, program)
        connect_seconds = config.seconds  # It may be fetched from somewhere before it starts.
    else:
        make = partial(_client, dict(config.at.headers), config.seconds)
        connect, connect_seconds = partial(_over_http, config.at.url, make), _CONNECT_SECONDS
    rules = ToolRules(needs_approval=config.needs_approval, within_seconds=config.seconds)
    return MCPTools(
        config.label, connect, rules=rules, allowed=config.allowed, connect_seconds=connect_seconds
    )


class MCPTools(ToolSource):
    """The tools of one server, named ``label__name``.

    It is connected to when it is first asked, and again after the connection broke. What it has is
    asked for once a minute at most. Tools of which it says that they only read, or may be used twice,
    count as idempotent; those that no model could be told of are left out.
    """

    def __init__(  # noqa: PLR0913  # a public constructor
        self,
        label: str,
        connect: Connect,
        *,
        rules: ToolRules = ToolRules(),  # noqa: B008  # frozen
        allowed: Sequence[str] | None = None,
        connect_seconds: float = _CONNECT_SECONDS,
        idle_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label, self._connect, self._rules = label, connect, rules
        self._allowed = None if allowed is None else frozenset(allowed)
        self._connect_seconds, self._idle_seconds, self._clock = connect_seconds, idle_seconds, clock
        self._line: Line | None = None
        self._listed: Sequence[Tool] = ()
        self._fresh_until = -1.0
        self._is_closed = False

    @override
    async def tools(self) -> Sequence[Tool]:
        if self._clock() < self._fresh_until:
            return self._listed
        try:
            async with asyncio.timeout(self._rules.within_seconds):
                found = await self._asked(_list, is_repeatable=True)
        except TimeoutError as error:
            raise ToolUnavailable(f"the server of tools {self._label!r} took too long to answer") from error
        except ToolUnavailable:
            raise
        except ToolError as error:
            raise ToolUnavailable(f"the server of tools {self._label!r} cannot list them: {error}") from error
        self._listed = self._usable(found)
        self._fresh_until = self._clock() + _LISTED_SECONDS
        return self._listed

    @override
    async def close(self) -> None:
        self._is_closed, self._fresh_until = True, -1.0
        if self._line is not None:
            await self._line.close()

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str, rules: ToolRules) -> str:
        """Return what a tool of the server gave; raises errors of the ``ToolError`` family."""
        ask = partial(_call, name=name, arguments=dict(arguments), key=key)
        return result_text(await self._asked(ask, is_repeatable=rules.is_idempotent))

    def _usable(self, found: Sequence[Listed]) -> list[Tool]:
        tools: dict[str, Tool] = {}
        for each in found:
            if self._allowed is not None and each.name not in self._allowed:
                continue
            try:
                spec = check_spec(spec_of(each, label=self._label))
            except InvalidInput as error:
                _LOG.warning("a tool of the server %s is left out: %s", self._label, error)
                continue
            rules = replace(self._rules, is_idempotent=is_idempotent(each))
            tools.setdefault(spec.name, _MCPTool(self, each.name, spec, rules))
        return [*tools.values()]

    async def _asked(self, ask: Callable[[ClientSession], Awaitable[T]], *, is_repeatable: bool) -> T:
        """Return the server's answer; where that does no harm, it is asked again on a new connection."""
        try:
            return await self._asked_once(ask)
        except MCPError as error:
            if not (is_repeatable or was_forgotten(error)):
                raise self._broken() from error
        try:
            return await self._asked_once(ask)
        except MCPError as error:
            raise self._broken() from error

    async def _asked_once(self, ask: Callable[[ClientSession], Awaitable[T]]) -> T:
        """Raises the library's error only where a connection has come to its end."""
        line = await self._opened()
        try:
            with line.use() as session:
                return await ask(session)
        except MCPError as error:
            if not has_ended(error):
                raise ToolError(told(error)) from error
            await line.close()
            raise
        except ValidationError as error:
            raise ToolError("the server of tools sent something that is no answer") from error

    async def _opened(self) -> Line:
        if self._is_closed:
            raise ToolUnavailable(f"the server of tools {self._label!r} is not used any longer")
        if self._line is None or not self._line.is_usable:
            self._line = Line(
                self._connect, connect_seconds=self._connect_seconds, idle_seconds=self._idle_seconds
            )
        line = self._line
        try:
            await line.connected()
        except ToolUnavailable as error:
            why = reason(line.failure)
            raise ToolUnavailable(f"the server of tools {self._label!r} cannot be used: {why}") from error
        return line

    def _broken(self) -> ToolUnavailable:
        return ToolUnavailable(
            f"the connection to the server of tools {self._label!r} broke; "
            "it is not known whether what it was asked has taken effect"
        )


@dataclass(frozen=True, slots=True)
class _MCPTool(Tool):
    """A tool of a server."""

    _server: MCPTools
    _name: str
    _spec: ToolSpec
    _rules: ToolRules

    @property
    @override
    def spec(self) -> ToolSpec:
        return self._spec

    @property
    @override
    def rules(self) -> ToolRules:
        return self._rules

    @override
    async def use(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        return await self._server.call(self._name, arguments, key=context.key, rules=self._rules)


async def _list(session: ClientSession) -> list[Listed]:
    """Return all tools of a server, within reason."""
    found: list[Listed] = []
    cursor: str | None = None
    for _ in range(_PAGES):
        page = await session.list_tools(params=PaginatedRequestParams(cursor=cursor))
        found += page.tools
        cursor = page.next_cursor
        if cursor is None or len(found) >= _MOST:
            break
    return found[:_MOST]


async def _call(session: ClientSession, *, name: str, arguments: dict[str, Any], key: str) -> CallToolResult:
    """Use a tool. The session's own way would check results, which takes as long as its server wishes."""
    about = RequestParamsMeta(**{_KEY: key})  # type: ignore[typeddict-unknown-key]  # other keys are allowed
    params = CallToolRequestParams(name=name, arguments=arguments, _meta=about)
    return await session.send_request(CallToolRequest(params=params), CallToolResult)


@asynccontextmanager
async def _over_http(url: str, make: Callable[[], httpx2.AsyncClient]) -> "AsyncIterator[TransportStreams]":
    async with make() as client, streamable_http_client(url, http_client=client) as streams:
        yield streams


def _client(headers: dict[str, str], seconds: float) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(seconds, read=_SILENCE_SECONDS))
