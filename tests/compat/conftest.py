"""A model that knows what it was shown, and nothing else; asked as programs of others ask theirs."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tertulia.testing.fake_openai import FakeOpenAI, Request
from tests.valkey import ValkeyServer


def remember(request: Request) -> str:
    """Answer who the user is, from what was said before the newest message."""
    before = [str(message.get("content")) for message in request["messages"][:-1]]
    newest = str(request["messages"][-1]["content"])
    if "What's my name?" not in newest:
        return f"Noted: {newest}"
    return "Your name is Alice." if any("my name is Alice" in text for text in before) else "I do not know."


@pytest.fixture
async def model(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeOpenAI]:
    """The model of the environment."""
    async with FakeOpenAI() as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)
        monkeypatch.setenv("OPENAI_CHAT_MODEL_ID", "fake")
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        fake.script([remember] * 20)
        yield fake


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a program stands; empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def redis_url(valkey: ValkeyServer) -> str:
    """URL of an empty database."""
    valkey.say("FLUSHALL")
    return valkey.url
