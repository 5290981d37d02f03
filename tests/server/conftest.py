"""A service of its own for every test, in front of a model that does as it is told."""

import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from io import StringIO
from typing import Any, TypeAlias

import httpx2
import pytest

from tertulia.app import App
from tertulia.server import logs
from tertulia.server.factory import create_app
from tertulia.settings import Settings
from tertulia.testing.fake_openai import FakeOpenAI

Open: TypeAlias = Callable[..., Awaitable[httpx2.AsyncClient]]


def an_app(**chosen: Any) -> App:
    """Return an app with settings of the test's own, nothing of which outlives it."""
    usual: dict[str, Any] = {
        "database_url": "memory://",
        "model": "openai-chat:fake",
        "shutdown_seconds": 0,
    }
    return App(Settings(**{**usual, **chosen}))


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve this app, in process."""
    api = create_app(app)
    transport = httpx2.ASGITransport(api, raise_app_exceptions=False)
    async with (
        api.router.lifespan_context(api),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=30) as client,
    ):
        yield client


@pytest.fixture
def log_to(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[StringIO], Callable[[], str]]]:
    """Log as the service does, to what stands for standard error; returns what was written."""
    handlers, level = logging.root.handlers[:], logging.root.level
    logging.root.handlers.clear()  # so that they are not closed

    def opened(written: StringIO) -> Callable[[], str]:
        monkeypatch.setattr(sys, "stderr", written)
        logs.configure("info")
        return written.getvalue

    yield opened
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture
def log(log_to: Callable[[StringIO], Callable[[], str]]) -> Callable[[], str]:
    """Log as the service does; returns what was written."""
    return log_to(StringIO())


@pytest.fixture
async def model(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeOpenAI]:
    """The model that answers; its replies begin with the number of ``[[`` that it was shown."""
    async with FakeOpenAI(reply_chars=20) as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        yield fake


@pytest.fixture
async def open_service(model: FakeOpenAI) -> AsyncIterator[Open]:
    """Open services with settings of the test's own."""
    async with AsyncExitStack() as stack:

        async def opened(**chosen: Any) -> httpx2.AsyncClient:
            return await stack.enter_async_context(serving(an_app(**chosen)))

        yield opened


@pytest.fixture
async def service(open_service: Open) -> httpx2.AsyncClient:
    """A client of a service with nothing in it."""
    return await open_service()


@pytest.fixture
def app(model: FakeOpenAI) -> App:
    """The app behind ``served``, for tests that look behind it."""
    return an_app()


@pytest.fixture
async def served(app: App) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the service of ``app``."""
    async with serving(app) as client:
        yield client
