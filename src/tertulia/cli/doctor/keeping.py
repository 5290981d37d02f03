"""Checks of what keeps and tells: the database, and the hints between servers."""

import asyncio
from collections.abc import Callable
from typing import Final

from tertulia.cli.doctor.findings import Case, Finding, advice_of, broken, good, warning, without_secrets
from tertulia.errors import MissingExtra, TertuliaError
from tertulia.hints import EVERYTHING, WORK, Hints, open_hints

_HEAR_SECONDS: Final = 3.0
_UPGRADE: Final = "tertulia db upgrade"


async def check_database(case: Case) -> list[Finding]:
    """Say whether the database can be reached and is at the newest migration."""
    where = without_secrets(case.settings.database_url)
    try:
        stored = await asyncio.shield(case.stored)
    except TertuliaError as error:
        return [broken("database", f"{where}: {error}", advice_of(error) or "see to TERTULIA_DATABASE_URL")]
    health = stored.health
    if not health.ready:
        advice = _UPGRADE if _UPGRADE in health.detail else ""
        return [broken("database", f"{where}: {health.detail}", advice)]
    if case.settings.database_kind == "memory":
        return [
            warning("database", "memory:// keeps nothing", "unset TERTULIA_DATABASE_URL to keep what is said")
        ]
    count = f", agents: {len(stored.agents)}" if stored.agents else ""
    return [good("database", f"{where}: {health.detail}{count}")]


async def check_hints(case: Case) -> list[Finding]:
    """Say whether servers hear each other, where that goes over something else than the database."""
    url = case.settings.hints_url
    if not url:
        return []
    try:
        ringing, hearing = open_hints(url), open_hints(url)
    except MissingExtra as error:
        return [broken("hints", str(error), advice_of(error))]
    except TertuliaError as error:
        return [broken("hints", str(error), "mend or unset TERTULIA_HINTS_URL")]
    if await _is_heard(ringing, hearing):
        return [good("hints", f"{without_secrets(url)}: what is rung is heard")]
    text = f"{without_secrets(url)}: nothing is heard; what is new is found in the database within a second"
    return [warning("hints", text, "start it, or unset TERTULIA_HINTS_URL")]


async def _is_heard(ringing: Hints, hearing: Hints) -> bool:
    heard = asyncio.Event()
    try:
        await asyncio.gather(ringing.open(_ignore), hearing.open(_hears(heard)))
        ringing.ring({WORK})
        async with asyncio.timeout(_HEAR_SECONDS):
            await heard.wait()
    except TimeoutError:
        return False
    finally:
        await asyncio.gather(ringing.close(), hearing.close())
    return True


def _hears(heard: asyncio.Event) -> Callable[[frozenset[str]], None]:
    def hear(topics: frozenset[str]) -> None:
        if topics & {WORK, EVERYTHING}:
            heard.set()

    return hear


def _ignore(_topics: frozenset[str]) -> None:
    pass
