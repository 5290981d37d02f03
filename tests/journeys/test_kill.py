"""Servers that die at any moment lose nothing, repeat nothing and leave nothing behind."""

from typing import Final

from tertulia.testing.fake_openai import FakeOpenAI
from tests.journeys.servers import Place
from tests.journeys.storming import SERVER_POINTS, Life, Storm, lives

_DEATHS: Final = lives(20, seed=5)
"""Some at every point, some at any moment: the first half on one kind of database, the other on the other."""


def test_every_point_is_died_at() -> None:
    assert {life.point for life in _DEATHS} == {*SERVER_POINTS, None}


async def test_sqlite_server_may_die_anywhere(sqlite_url: str) -> None:
    await _survive(sqlite_url, _DEATHS[:10])


async def test_postgresql_server_may_die_anywhere(postgres_url: str) -> None:
    await _survive(postgres_url, _DEATHS[10:])


async def _survive(url: str, ends: list[Life]) -> None:
    async with FakeOpenAI(latency=0.05) as fake:
        storm = Storm(Place(database_url=url, fake=fake, lease_seconds=1))

        await storm.rage(ends)

    assert storm.violations == []
    assert storm.deaths.total() == len(ends)
    assert storm.said
    assert all(each.is_acknowledged for each in storm.said)
