"""Servers of tools that agents' authors name by their address."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, TypeAlias
from weakref import WeakValueDictionary

from typing_extensions import override

from tertulia.definitions import RemoteTools
from tertulia.tools.base import Tool, ToolContext, ToolRules, ToolSource
from tertulia.tools.ruled import Ruled
from tertulia.tools.wire_names import wire_name

_Key: TypeAlias = tuple[int, str, str]
OpenRemote: TypeAlias = Callable[[RemoteTools], ToolSource]
"""Opens a server of tools that an agent's author named by its address."""

_MOST: Final = 64


class Elsewhere:
    """Opens each server once; of many, those that were used least recently are closed while nobody uses them.

    One that was closed is opened again by its next use. A server may remember whom it talks to, so no
    two tenants talk to it as one.
    """

    def __init__(self, open_remote: OpenRemote, *, most: int = _MOST) -> None:
        self._open, self._most = open_remote, most
        self._kept: OrderedDict[_Key, _Server] = OrderedDict()
        # Those as well that were closed, as long as somebody still has their tools.
        self._known: WeakValueDictionary[_Key, _Server] = WeakValueDictionary()
        self._closing: set[asyncio.Task[None]] = set()

    async def tools(self, choice: RemoteTools, *, tenant: int) -> Sequence[Tool]:
        """Return those tools of a server that an agent may use, approved as its author wishes.

        Raises what opening and asking it raise.
        """
        key = (tenant, choice.url, choice.label)
        server = self._known.get(key)
        if server is None:
            self._known[key] = server = _Server(key, self._open(choice))
        async with self.in_use(server):
            tools = await server.source.tools()
        if choice.allowed is not None:
            wanted = {wire_name(choice.label, name) for name in choice.allowed}
            tools = [tool for tool in tools if tool.spec.name in wanted]
        approval = choice.needs_approval
        return [_Lent(tool, replace(tool.rules, needs_approval=approval), self, server) for tool in tools]

    async def close(self) -> None:
        """Let go of all servers; may be called twice."""
        sources = [server.source for server in self._kept.values()]
        self._kept.clear()
        await asyncio.gather(*self._closing, *(source.close() for source in sources))

    @asynccontextmanager
    async def in_use(self, server: "_Server") -> AsyncIterator[None]:
        """Keep a server from being closed."""
        server.uses += 1
        self._kept[server.key] = server
        self._kept.move_to_end(server.key)
        try:
            yield
        finally:
            server.uses -= 1
            self._let_go()

    def _let_go(self) -> None:
        """Close what is too much, and idle; nobody waits for that but :meth:`close`."""
        surplus = max(0, len(self._kept) - self._most)
        idle = [key for key, server in self._kept.items() if not server.uses]
        for key in idle[:surplus]:
            task = asyncio.create_task(self._kept.pop(key).source.close(), name="tertulia-tools-closing")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


class _Server:
    """A server, and how many use it just now."""

    def __init__(self, key: _Key, source: ToolSource) -> None:
        self.key, self.source, self.uses = key, source, 0


class _Lent(Ruled):
    """A tool of a server, which is not closed while the tool is used."""

    def __init__(self, inner: Tool, rules: ToolRules, elsewhere: Elsewhere, server: _Server) -> None:
        super().__init__(inner, rules)
        self._elsewhere, self._server = elsewhere, server

    @override
    async def use(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        async with self._elsewhere.in_use(self._server):
            return await super().use(arguments, context)
