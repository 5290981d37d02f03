"""Toolboxes: the tools that an installation or a program has, and those that an agent chose of them."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from tertulia.definitions import RemoteTools, ToolChoice
from tertulia.errors import InvalidInput, TertuliaError, UnknownTool
from tertulia.tools.addresses import check_url
from tertulia.tools.base import Tool, ToolSource
from tertulia.tools.elsewhere import Elsewhere, OpenRemote
from tertulia.tools.sources import open_remote
from tertulia.tools.wire_names import wire_name

SERVER: Final = "mcp:"
"""What stands before the label of a server of tools, where one is chosen."""
MAX_ELSEWHERE: Final = 16
"""Servers elsewhere that one agent may use."""
_SHOWN: Final = 70


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
        self._elsewhere = Elsewhere(open_elsewhere)

    def names(self) -> list[str]:
        """Return what can be chosen by name: functions, and ``mcp:LABEL`` for each server."""
        return [*sorted(self._functions), *(f"{SERVER}{label}" for label in sorted(self._servers))]

    def check(self, choices: Sequence[ToolChoice]) -> None:
        """Raise what :meth:`pick` would, as far as that can be known without asking anybody.

        That is :class:`UnknownTool` for a name that is none, :class:`AddressRefused` for an address
        that is plainly not to be used, and :class:`InvalidInput` for what is chosen twice, and for more
        servers elsewhere than ``MAX_ELSEWHERE``.
        """
        if sum(isinstance(choice, RemoteTools) for choice in choices) > MAX_ELSEWHERE:
            raise InvalidInput(f"an agent uses at most {MAX_ELSEWHERE} servers of tools by their address")
        for choice in choices:
            self._check(choice)
        _check_doubles(choices)

    async def pick(self, choices: Sequence[ToolChoice], *, tenant: int = 0) -> dict[str, Tool]:
        """Return the tools that were chosen, by the name under which a model knows them, in their order.

        No connection to a server elsewhere is shared between tenants.

        Raises :class:`UnknownTool` for a name that is none, :class:`InvalidInput` if two tools have one
        name, :class:`ToolUnavailable` if a server cannot be asked what it has.
        """
        self.check(choices)
        found: list[Tool] = []
        for outcome in await self._all_picked(choices, tenant=tenant):
            if isinstance(outcome, TertuliaError):
                raise outcome
            found += outcome
        return _by_name(found)

    async def pick_what_is_there(self, choices: Sequence[ToolChoice], *, tenant: int = 0) -> dict[str, Tool]:
        """Return those of the tools that were chosen which can be had now, as :meth:`pick` does.

        Left out are names that are none, addresses that are not to be used, what servers have that
        cannot be asked, and of two tools with one name the second. It waits for servers as long as
        asking them may take.
        """
        found: dict[str, Tool] = {}
        for outcome in await self._all_picked(choices, tenant=tenant):
            if not isinstance(outcome, TertuliaError):
                for tool in outcome:
                    found.setdefault(tool.spec.name, tool)
        return found

    async def close(self) -> None:
        """Let go of all servers; may be called twice."""
        sources = (source.close() for source in self._servers.values())
        await asyncio.gather(self._elsewhere.close(), *sources)

    def _check(self, choice: ToolChoice) -> None:
        if isinstance(choice, RemoteTools):
            check_url(choice.url)
        else:
            self._check_name(choice)

    def _check_name(self, name: str) -> None:
        label = name.removeprefix(SERVER)
        if name in self._functions or (label != name and label in self._servers):
            return
        there_are = ", ".join(self.names()) or "none"
        raise UnknownTool(f"there is no tool {name[:_SHOWN]!r}; there are: {there_are}")

    async def _all_picked(
        self, choices: Sequence[ToolChoice], *, tenant: int
    ) -> list[Sequence[Tool] | TertuliaError]:
        """Return what came of each choice; all are asked at once, and none is left behind."""
        asked = (self._picked(choice, tenant=tenant) for choice in choices)
        outcomes: list[Sequence[Tool] | TertuliaError] = []
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, TertuliaError):
                raise outcome
            outcomes.append(outcome)
        return outcomes

    async def _picked(self, choice: ToolChoice, *, tenant: int) -> Sequence[Tool]:
        self._check(choice)
        if isinstance(choice, RemoteTools):
            return await self._elsewhere.tools(choice, tenant=tenant)
        if function := self._functions.get(choice):
            return [function]
        return await self._servers[choice.removeprefix(SERVER)].tools()


def _check_doubles(choices: Iterable[ToolChoice]) -> None:
    """Raise :class:`InvalidInput` for choices that are bound to lead to two tools of one name."""
    names: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    for choice in choices:
        if isinstance(choice, RemoteTools):
            labels[choice.label] += 1
            names.update({wire_name(choice.label, name) for name in choice.allowed or ()})
        elif choice.startswith(SERVER):
            labels[choice.removeprefix(SERVER)] += 1
        else:
            names[choice] += 1
    for label in (label for label, count in labels.items() if count > 1):
        raise InvalidInput(
            f"two servers of tools have the label {label!r}; choose one of them, or label one otherwise"
        )
    for name in (name for name, count in names.items() if count > 1):
        raise InvalidInput(_two_named(name))


def _by_name(tools: Iterable[Tool]) -> dict[str, Tool]:
    found: dict[str, Tool] = {}
    for tool in tools:
        name = tool.spec.name
        if name in found:
            raise InvalidInput(_two_named(name))
        found[name] = tool
    return found


def _two_named(name: str) -> str:
    return f"two tools are named {name!r}; choose one of them, or name one otherwise"
