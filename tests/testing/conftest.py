"""A fake model server, and OpenAI's own client to ask it."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from tertulia.testing.fake_openai import FakeOpenAI


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def client(fake: FakeOpenAI) -> AsyncIterator[Any]:
    """The real client, which raises for whatever does not fit its types.

    It checks them when it runs; to the checker they are unions of everything there could be.
    """
    # Loading certificates that nobody needs takes longer than all the rest.
    http_client = DefaultAsyncHttpxClient(verify=False)
    async with AsyncOpenAI(
        base_url=fake.base_url,
        api_key="sk-x",
        max_retries=0,
        http_client=http_client,
        _strict_response_validation=True,
    ) as asking:
        yield asking
