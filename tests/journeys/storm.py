"""``python -m tests.journeys.storm``: a storm over each kind of database; says what came of it."""

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.history import Violation
from tertulia.testing.storm.servers import Place
from tertulia.testing.storm.weather import Forecast, Storm
from tests.journeys.grounds import Behind, File, behind_a_proxy
from tests.postgres import PostgresServer

_LEASE_SECONDS = 2.0
_MINUTE = 60.0


def _forecast(seconds: float, seed: int, *, is_file: bool) -> Forecast:
    """Return the weather of a minute, or as much of it as fits into the time."""
    share = seconds / _MINUTE
    kills, stalls = max(1, round(28 * share)), max(1, round(11 * share))
    if is_file:
        return Forecast(
            seconds=seconds, processes=1, kills=kills, stalls=stalls, restarts=0, cuts=0, seed=seed
        )
    restarts, cuts = max(1, round(3 * share)), max(1, round(30 * share))
    return Forecast(seconds=seconds, kills=kills, stalls=stalls, restarts=restarts, cuts=cuts, seed=seed)


async def _rage(ground: File | Behind, forecast: Forecast) -> tuple[Storm, list[Violation]]:
    async with FakeOpenAI(latency=0.05) as fake:
        place = Place(database_url=ground.servers_url, fake=fake, lease_seconds=_LEASE_SECONDS)
        storm = Storm(place, forecast, ground)
        return storm, await storm.rage()


async def _over_a_file(forecast: Forecast) -> tuple[Storm, list[Violation]]:
    with tempfile.TemporaryDirectory() as folder:
        return await _rage(File(Path(folder) / "storm.db"), forecast)


async def _over_postgresql(server: PostgresServer, forecast: Forecast) -> tuple[Storm, list[Violation]]:
    async with behind_a_proxy(server) as ground:
        return await _rage(ground, forecast)


def main() -> int:
    """Return 1 if any promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=_MINUTE)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311
    given = parser.parse_args()
    sys.stdout.write(f"seed {given.seed}\n")
    broken = 0
    if given.database != "postgresql":
        forecast = _forecast(given.seconds, given.seed, is_file=True)
        broken += _told("sqlite", *asyncio.run(_over_a_file(forecast)))
    if given.database != "sqlite":
        with PostgresServer() as server:
            server.make("migrated")
            forecast = _forecast(given.seconds, given.seed, is_file=False)
            broken += _told("postgresql", *asyncio.run(_over_postgresql(server, forecast)))
    return 1 if broken else 0


def _told(kind: str, storm: Storm, violations: list[Violation]) -> int:
    sys.stdout.writelines(f"{kind}: {line}\n" for line in storm.told())
    sys.stdout.writelines(f"{kind}: VIOLATION {each.rule}: {each.detail}\n" for each in violations)
    sys.stdout.write(f"{kind}: {len(violations)} violations\n")
    sys.stdout.flush()
    return len(violations)


if __name__ == "__main__":
    sys.exit(main())
