"""Servers that die at any moment lose nothing, repeat nothing and leave nothing behind."""

import sys

from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.storm.servers import Place
from tests.journeys.dying import SERVER_POINTS, Dying, one_of_each


async def test_server_may_die_at_every_point(database_url: str) -> None:
    ends = one_of_each(seed=5)
    async with FakeOpenAI(latency=0.05) as fake:
        storm = Dying(Place(database_url=database_url, fake=fake, lease_seconds=1))

        await storm.rage(ends)

    sys.stdout.write(f"{len(storm.said)} messages, deaths: {dict(storm.deaths)}\n")
    assert storm.violations == []
    assert storm.deaths.keys() >= {*SERVER_POINTS, "kill -9"}
    assert storm.said
    assert all(each.is_acknowledged for each in storm.said)
