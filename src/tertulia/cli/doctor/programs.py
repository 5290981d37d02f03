"""Checks of what is beside the server's own: agents written in Python, databases that agents may read."""

import asyncio
from typing import Final

from tertulia.cli.doctor.findings import Case, Finding, advice_of, broken, good, stored_agents
from tertulia.errors import TertuliaError
from tertulia.registry import load

_FOUND: Final = "tertulia.programs:Programs"
_READ: Final = "tertulia.memory.context.database_file:read_databases_file"


async def check_agents(case: Case) -> list[Finding]:
    """Say which agents of programs the settings serve, and which are answered only where others do."""
    found = []
    names: tuple[str, ...] = ()
    if case.settings.agents:
        try:
            names = await asyncio.to_thread(lambda: load(_FOUND).found(case.settings.agents).names)
        except TertuliaError as error:
            return [broken("agents", str(error), advice_of(error) or "see to TERTULIA_AGENTS")]
        found.append(good("agents", f"of programs: {', '.join(names)}"))
    for agent in await stored_agents(case):
        name = agent.definition.name
        if agent.definition.program and name not in names:
            found.append(good("agents", f"{name} is part of a program: it is answered where that is served"))
    return found


async def check_databases(case: Case) -> list[Finding]:
    """Say which databases agents may be let to read; none is connected to."""
    path = case.settings.databases_file
    if path is None:
        return []
    try:
        names = ", ".join(await asyncio.to_thread(load(_READ), path))
    except TertuliaError as error:
        return [broken("databases", str(error), advice_of(error) or "see to TERTULIA_DATABASES_FILE")]
    return [good("databases", f"for agents to read: {names or 'none'}")]
