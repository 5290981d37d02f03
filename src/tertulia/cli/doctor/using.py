"""Checks of tools: functions, servers of tools, and whether agents find what they have chosen."""

import asyncio
from collections.abc import Iterable
from typing import Final

from tertulia.cli.doctor.findings import Case, Finding, advice_of, broken, good, stored_agents, warning
from tertulia.definitions import StoredAgent
from tertulia.errors import TertuliaError
from tertulia.tools.loading import open_toolbox
from tertulia.tools.toolbox import SERVER, Toolbox

_SECONDS: Final = 10.0
_SHOWN: Final = 8
_ADVICE: Final = "see to TERTULIA_TOOLS and TERTULIA_MCP_FILE"


async def check_tools(case: Case) -> list[Finding]:
    """Say which tools there are, what the servers of tools answer, and what agents miss."""
    try:
        toolbox = open_toolbox(case.settings.tools, case.settings.mcp_file)
    except TertuliaError as error:
        return [broken("tools", str(error), advice_of(error) or _ADVICE)]
    try:
        names = toolbox.names()
        functions = [name for name in names if not name.startswith(SERVER)]
        found = [good("tools", f"functions: {_listed(functions)}")] if functions else []
        servers = (_server(toolbox, name) for name in names if name.startswith(SERVER))
        found += await asyncio.gather(*servers)
        return found + _missed(toolbox, await stored_agents(case))
    finally:
        await toolbox.close()


async def _server(toolbox: Toolbox, name: str) -> Finding:
    try:
        async with asyncio.timeout(_SECONDS):
            tools = list(await toolbox.pick([name]))
    except TimeoutError:
        return broken("tools", f"{name}: no answer within {_SECONDS:g} s", _ADVICE)
    except TertuliaError as error:
        return broken("tools", f"{name}: {error}", advice_of(error) or _ADVICE)
    return good("tools", f"{name}: {_listed(tools)}")


def _missed(toolbox: Toolbox, agents: Iterable[StoredAgent]) -> list[Finding]:
    found = []
    for agent in agents:
        try:
            toolbox.check(agent.definition.tools)
        except TertuliaError as error:
            found.append(warning("tools", f"the agent {agent.definition.name}: {error}", _ADVICE))
    return found


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none") + more
