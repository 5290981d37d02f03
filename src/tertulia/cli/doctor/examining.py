"""All checks of an installation, carried out at once; none of them changes anything."""

import asyncio
from collections.abc import Mapping
from typing import Final

from tertulia.cli.doctor.asking import ASK_SECONDS, check_embedded, check_models
from tertulia.cli.doctor.choices import check_keys, check_prices, check_settings
from tertulia.cli.doctor.extras import check_extras
from tertulia.cli.doctor.findings import Case, Check, Finding, broken
from tertulia.cli.doctor.keeping import check_database, check_hints
from tertulia.cli.doctor.listening import check_port
from tertulia.cli.doctor.machine import check_disk, check_open_files, check_python
from tertulia.cli.doctor.programs import check_agents, check_databases
from tertulia.cli.doctor.stored import read_stored
from tertulia.cli.doctor.using import check_tools
from tertulia.errors import InvalidInput, TertuliaError
from tertulia.llms import LLMOptions
from tertulia.llms.models import Models
from tertulia.llms.prices import Prices
from tertulia.settings import Settings

CHECKS: Final[Mapping[str, Check]] = {
    "machine": check_python,
    "open files": check_open_files,
    "settings": check_settings,
    "keys": check_keys,
    "extras": check_extras,
    "disk": check_disk,
    "database": check_database,
    "hints": check_hints,
    "model": check_models,
    "embedded model": check_embedded,
    "prices": check_prices,
    "tools": check_tools,
    "agents": check_agents,
    "databases": check_databases,
    "server": check_port,
}
"""What is looked at, by what it is about, in the order in which it is told."""

CHECK_SECONDS: Final = 20.0


async def examine(settings: Settings, origins: Mapping[str, str], *, asks: bool = False) -> list[Finding]:
    """Return all that the checks find, in their order."""
    options = LLMOptions(whole_seconds=ASK_SECONDS, prices=_prices(settings))
    models = Models(settings.default_model, options=options)
    stored = asyncio.create_task(read_stored(settings))
    case = Case(settings=settings, origins=origins, models=models, stored=stored, asks=asks)
    try:
        found = await asyncio.gather(*(_carried_out(about, check, case) for about, check in CHECKS.items()))
    finally:
        stored.cancel()
        await asyncio.wait([stored])
        await models.close()
    return [finding for some in found for finding in some]


def _prices(settings: Settings) -> Prices:
    try:
        return Prices.of_file(settings.prices_file)
    except InvalidInput:
        return Prices()  # A check of its own tells of it.


async def _carried_out(about: str, check: Check, case: Case) -> list[Finding]:
    seconds = CHECK_SECONDS + ASK_SECONDS if case.asks else CHECK_SECONDS
    try:
        async with asyncio.timeout(seconds):
            return await check(case)
    except TimeoutError:
        return [broken(about, f"nothing was found out within {seconds:g} s")]
    except TertuliaError as error:
        return [broken(about, str(error))]
