"""Short storms: what ``make test-storm`` does for as long as it is told."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.storm.servers import Place
from tertulia.testing.storm.weather import Forecast, Storm
from tests.journeys.grounds import File, behind_a_proxy
from tests.postgres import PostgresServer

_LEASE_SECONDS = 2.0


async def test_short_storm_over_a_file_breaks_no_promise(tmp_path: Path) -> None:
    ground = File(tmp_path / "storm.db")
    forecast = Forecast(seconds=8, processes=1, clients=6, kills=3, stalls=1, restarts=0, cuts=0)
    async with FakeOpenAI(latency=0.03) as fake:
        place = Place(database_url=ground.servers_url, fake=fake, lease_seconds=_LEASE_SECONDS)
        storm = Storm(place, forecast, ground)

        violations = await storm.rage()

    sys.stdout.writelines(f"{line}\n" for line in storm.told())
    assert violations == []
    assert storm.turns > 0


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server that may be crashed."""
    with PostgresServer() as private:
        private.make("migrated")
        yield private


async def test_short_storm_over_a_database_that_fails_breaks_no_promise(server: PostgresServer) -> None:
    forecast = Forecast(seconds=10, processes=2, clients=6, kills=3, stalls=1, restarts=1, cuts=3)
    async with behind_a_proxy(server) as ground, FakeOpenAI(latency=0.03) as fake:
        place = Place(database_url=ground.servers_url, fake=fake, lease_seconds=_LEASE_SECONDS)
        storm = Storm(place, forecast, ground)

        violations = await storm.rage()

    sys.stdout.writelines(f"{line}\n" for line in storm.told())
    assert violations == []
    assert storm.turns > 0
