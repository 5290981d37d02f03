"""Servers of tools that speak MCP, as sources of tools."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

from mcp import ClientSession, MCPError
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
from tertulia.tools.allowance import MB
from tertulia.tools.arguments import check_spec
from tertulia.tools.base import TOOL_SECONDS, Tool, ToolContext, ToolRules, ToolSource
from tertulia.tools.guarded_httpx import guarded_client
from tertulia.tools.listing import Listing
from tertulia.tools.mcp_file import Program, ServerConfig
from tertulia.tools.mcp_http import over_http, trusting_client
from tertulia.tools.mcp_line import MAX_ANSWER, Connect, Line
from tertulia.tools.mcp_pipes import over_pipes
from tertulia.tools.mcp_words import (
    has_ended,
    is_idempotent,
    reason,
    result_text,
    spec_of,
    told,
    was_forgotten,
    within_bounds,
)
from tertulia.tools.threads import in_own_thread

T = TypeVar("T")

_LOG: Final = logging.getLogger(__name__)
_REMOTE_SECONDS: Final = 5.0
_LIST_SECONDS: Final = 10.0
_IDLE_SECONDS: Final = 300.0
_TRUSTED_ANSWER: Final = 20 * MB
# A limit is kept around a use, and so begins a moment before it.
_NEARLY: Final = 0.9
_PAGES: Final = 20
_LISTED: Final = 1024
# A tenth of a second, if all goes badly; patterns take longer.
_STRANGERS_CHECKS: Final = 500_000
_KEY: Final = "tertulia/idempotency-key"


def open_remote(choice: RemoteTools) -> ToolSource:
    """Return the tools of a server that an agent's author named; only a public address is connected to."""
    make = partial(guarded_client, timeout=TOOL_SECONDS)
    return MCPTools(
        choice.label,
        partial(over_http, choice.url, make),
        rules=ToolRules(needs_approval=True, max_checks=_STRANGERS_CHECKS),
        connect_seconds=_REMOTE_SECONDS,
        list_seconds=_REMOTE_SECONDS,
        idle_seconds=_IDLE_SECONDS,
    )


def open_configured(config: ServerConfig) -> ToolSource:
    """Return the tools of a server that the installation names; private networks are its own affair."""
    rules = ToolRules(needs_approval=config.needs_approval, within_seconds=config.seconds)
    list_seconds = min(_LIST_SECONDS, config.seconds)
    if isinstance(config.at, Program):
        return MCPTools(
            config.label,
            partial(over_pipes, config.at),
            rules=rules,
            allowed=config.allowed,
            connect_seconds=config.seconds,  # It may be fetched from somewhere before it starts.
            list_seconds=list_seconds,
        )
    return MCPTools(
        config.label,
        partial(over_http, config.at.url, partial(trusting_client, config.at, config.seconds)),
        rules=rules,
        allowed=config.allowed,
        connect_seconds=list_seconds,
        list_seconds=list_seconds,
        max_answer=_TRUSTED_ANSWER,
    )


class MCPTools(ToolSource):
    """The tools of one server, named ``label__name``.

    It is connected to when it is first asked, and again after the connection broke, was closed, or a
    use on it has taken too long. What it has is asked for once a minute at most, as :class:`Listing`
    says. Tools of which it says that they only read, or may be used twice, count as idempotent; those
    that no model could be told of are left out, as are those after the first ``MAX_TOOLS``, or beyond
    ``MAX_SCHEMAS``.
    """

    def __init__(  # noqa: PLR0913  # a public constructor
        self,
        label: str,
        connect: Connect,
        *,
        rules: ToolRules = ToolRules(),  # noqa: B008  # frozen
        allowed: Sequence[str] | None = None,
        connect_seconds: float = _LIST_SECONDS,
        list_seconds: float = _LIST_SECONDS,
        idle_seconds: float | None = None,
        max_answer: int = MAX_ANSWER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``list_seconds`` is all that finding out what it has may take, also if it is to be connected to.

        ``max_answer`` is in bytes; a server that says more is not listened to any further.
        """
        self._label, self._connect, self._rules = label, connect, rules
        self._allowed = None if allowed is None else frozenset(allowed)
        self._list_seconds, self._clock = list_seconds, clock
        self._open = partial(
            Line,
            connect,
            connect_seconds=connect_seconds,
            idle_seconds=idle_seconds,
            max_answer=max_answer,
        )
        self._line: Line | None = None
        self._retired: list[Line] = []
        self._closings = 0
        self._listing = Listing(self._find, clock=clock)

    @override
    async def tools(self) -> Sequence[Tool]:
        return await self._listing.tools()

    @override
    async def close(self) -> None:
        self._closings += 1
        self._listing.expire()
        lines = [*self._retired, *([self._line] if self._line else [])]
        await asyncio.gather(*(line.close() for line in lines))

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str, rules: ToolRules) -> str:
        """Return what a tool of the server gave; raises errors of the ``ToolError`` family."""
        ask = partial(_call, name=name, arguments=dict(arguments), key=key)
        began = self._clock()
        try:
            return result_text(await self._asked(ask, is_repeatable=rules.is_idempotent))
        except asyncio.CancelledError:
            # It took too long: what it may still do and say is no longer waited for. But somebody who
            # only wished it to stop does not end what others use, too.
            if self._line and self._clock() - began >= rules.within_seconds * _NEARLY:
                self._line.retire()
            raise

    async def _find(self) -> Sequence[Tool]:
        """Ask the server what it has; raises :class:`ToolUnavailable`."""
        before = self._line if self._line and self._line.is_open else None
        try:
            # A connection that takes longer to open goes on with that, for whoever asks next.
            async with asyncio.timeout(self._list_seconds):
                found = await self._asked(_list, is_repeatable=True)
                return await in_own_thread(partial(self._usable, found))
        except TimeoutError as error:
            if before:
                before.retire()  # It had all that time, and was not only slow to open.
            raise ToolUnavailable(f"the server of tools {self._label!r} took too long to answer") from error
        except ToolUnavailable:
            raise
        except ToolError as error:
            raise ToolUnavailable(f"the server of tools {self._label!r} cannot list them: {error}") from error

    def _usable(self, found: Sequence[Listed]) -> list[Tool]:
        """Return those of which a model can be told; what schemas cost may take a while to find out."""
        tools: dict[str, Tool] = {}
        allowed = [each for each in found if self._allowed is None or each.name in self._allowed]
        for each in within_bounds(allowed, label=self._label):
            try:
                spec = check_spec(spec_of(each, label=self._label), max_checks=self._rules.max_checks)
            except InvalidInput as error:
                _LOG.warning("a tool of the server %s is left out: %s", self._label, error)
                continue
            rules = replace(self._rules, is_idempotent=is_idempotent(each))
            tools.setdefault(spec.name, _MCPTool(self, each.name, spec, rules))
        return [*tools.values()]

    async def _asked(self, ask: Callable[[ClientSession], Awaitable[T]], *, is_repeatable: bool) -> T:
        """Return the server's answer; where that does no harm, it is asked again on a new connection."""
        closings = self._closings
        try:
            return await self._asked_once(ask)
        except MCPError as error:
            if self._closings != closings or not (is_repeatable or was_forgotten(error)):
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
            if has_ended(error):
                await line.close()
            if line.exceeded:
                raise ToolUnavailable(f"the server of tools {self._label!r} {line.exceeded}") from error
            if has_ended(error):
                raise
            raise ToolError(told(error)) from error
        except ValidationError as error:
            raise ToolError("the server of tools sent something that is no answer") from error

    async def _opened(self) -> Line:
        if self._line is None or not self._line.is_usable:
            before = [*self._retired, *([self._line] if self._line else [])]
            self._retired = [line for line in before if not line.is_gone]
            self._line = self._open()
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
        if cursor is None or len(found) >= _LISTED:
            break
    return found[:_LISTED]


async def _call(session: ClientSession, *, name: str, arguments: dict[str, Any], key: str) -> CallToolResult:
    """Use a tool. The session's own way would check results, which takes as long as its server wishes."""
    about = RequestParamsMeta(**{_KEY: key})  # type: ignore[typeddict-unknown-key]  # other keys are allowed
    params = CallToolRequestParams(name=name, arguments=arguments, _meta=about)
    return await session.send_request(CallToolRequest(params=params), CallToolResult)
