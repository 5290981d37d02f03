"""What the journeys share: a model that counts, and the databases that outlive a process."""

from collections.abc import AsyncIterator

import pytest

from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.storm.servers import Caller, calling


@pytest.fixture(params=["sqlite_url", "postgres_url"], ids=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of a fresh database, once for every kind that outlives a process."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    """A model."""
    async with FakeOpenAI(reply_chars=20) as server:
        yield server


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    """A client."""
    async with calling() as client:
        yield client
