"""Servers that die at any moment lose nothing, repeat nothing and leave nothing behind."""

import pytest

from tertulia.testing.fake_openai import FakeOpenAI
from tests.journeys.servers import Place
from tests.journeys.storming import Life, Storm, lives


@pytest.mark.parametrize("seed", [1, 2])
async def test_sqlite_server_may_die_anywhere(sqlite_url: str, seed: int) -> None:
    await _survive(sqlite_url, seed=seed)


@pytest.mark.parametrize("seed", [3, 4])
async def test_postgresql_server_may_die_anywhere(postgres_url: str, seed: int) -> None:
    await _survive(postgres_url, seed=seed)


async def test_server_that_dies_while_it_recovers_is_succeeded_by_the_next(sqlite_url: str) -> None:
    ends = [Life(seconds=1.0), Life(point="takeover.begin", seconds=10)]

    storm = await _survive(sqlite_url, ends=ends)

    assert storm.deaths["takeover.begin"] == 1


async def _survive(url: str, *, seed: int = 0, ends: list[Life] | None = None) -> Storm:
    async with FakeOpenAI(latency=0.05) as fake:
        storm = Storm(Place(database_url=url, fake=fake, lease_seconds=1))

        await storm.rage(ends or lives(5, seed=seed))

    assert storm.violations == []
    assert storm.said
    assert all(each.is_acknowledged for each in storm.said)
    return storm
