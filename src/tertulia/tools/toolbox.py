"""Toolboxes: the tools that an installation or a program has, and those that an agent chose of them."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from tertulia.definitions import RemoteTools, ToolChoice
from tertulia.errors import InvalidInput, UnknownTool
from tertulia.tools.addresses import check_url
from tertulia.tools.base import Tool, ToolSource
from tertulia.tools.ruled import Ruled
from tertulia.tools.sources import open_remote
from tertulia.tools.wire_names import wire_name

SERVER: Final = "mcp:"
"""What stands before the label of a server of tools, where one is chosen."""
_ELSEWHERE: Final = 64
_SHOWN: Final = 70

OpenRemote = Callable[[RemoteTools], ToolSource]
"""Opens a server of tools that an agent's author named by its address."""


class Toolbox:
    """What there is to choose from: functions, servers of tools, and servers elsewhere by their address."""

    def __init__(
        self,
        functions: Iterable[Tool] = (),
        servers: Mapping[str, ToolSource] | None = None,
        *,
        open_elsewhere: OpenRemote = open_remote,
    ) -> None:
        """Raises :class:`InvalidInput` if two functions have one name."""
        self._functions = _by_name(functions)
        self._servers = dict(servers or {})
        self._open_elsewhere = open_elsewhere
        self._elsewhere: OrderedDict[tuple[str, str], ToolSource] = OrderedDict()

    def names(self) -> list[str]:
        """Return what can be chosen by name: functions, and ``mcp:LABEL`` for each server."""
        return [*sorted(self._functions), *(f"{SERVER}{label}" for label in sorted(self._servers))]

    def check(self, choices: Iterable[ToolChoice]) -> None:
        """Raise what :meth:`pick` would, as far as that can be known without asking anybody.

        That is :class:`UnknownTool` for a name that is none, :class:`AddressRefused` for an address
        that is plainly not to be used.
        """
        for choice in choices:
            if isinstance(choice, RemoteTools):
                check_url(choice.url)
            else:
                self._check_name(choice)

    async def pick(self, choices: Sequence[ToolChoice]) -> dict[str, Tool]:
        """Return the tools that were chosen, by the name under which a model knows them, in their order.

        Raises :class:`UnknownTool` for a name that is none, :class:`InvalidInput` if two tools have one
        name, :class:`ToolUnavailable` if a server cannot be asked what it has.
        """
        self.check(choices)
        found = await asyncio.gather(*(self._picked(choice) for choice in choices))
        return _by_name(tool for tools in found for tool in tools)

    async def close(self) -> None:
        """Let go of all servers; may be called twice."""
        sources = [*self._servers.values(), *self._elsewhere.values()]
        self._elsewhere.clear()
        await asyncio.gather(*(source.close() for source in sources))

    def _check_name(self, name: str) -> None:
        label = name.removeprefix(SERVER)
        if name in self._functions or (label != name and label in self._servers):
            return
        there_are = ", ".join(self.names()) or "none"
        raise UnknownTool(f"there is no tool {name[:_SHOWN]!r}; there are: {there_are}")

    async def _picked(self, choice: ToolChoice) -> Sequence[Tool]:
        if isinstance(choice, RemoteTools):
            return _allowed(await (await self._source(choice)).tools(), choice)
        if function := self._functions.get(choice):
            return [function]
        return await self._servers[choice.removeprefix(SERVER)].tools()

    async def _source(self, choice: RemoteTools) -> ToolSource:
        """Return the server at an address, opened once; the one used least recently gives way."""
        key = (choice.url, choice.label)
        if key not in self._elsewhere:
            self._elsewhere[key] = self._open_elsewhere(choice)
        self._elsewhere.move_to_end(key)
        source = self._elsewhere[key]
        if len(self._elsewhere) > _ELSEWHERE:
            _, oldest = self._elsewhere.popitem(last=False)
            await oldest.close()
        return source


def _allowed(tools: Sequence[Tool], choice: RemoteTools) -> list[Tool]:
    """Return those tools of a server elsewhere that an agent may use, approved as its author wishes."""
    if choice.allowed is not None:
        wanted = {wire_name(choice.label, name) for name in choice.allowed}
        tools = [tool for tool in tools if tool.spec.name in wanted]
    return [Ruled(tool, replace(tool.rules, needs_approval=choice.needs_approval)) for tool in tools]


def _by_name(tools: Iterable[Tool]) -> dict[str, Tool]:
    found: dict[str, Tool] = {}
    for tool in tools:
        name = tool.spec.name
        if name in found:
            raise InvalidInput(f"two tools are named {name!r}; choose one of them, or name one otherwise")
        found[name] = tool
    return found
