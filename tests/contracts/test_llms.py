"""Every language model of ours against the contract."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tertulia.errors import ModelUnreachable
from tertulia.llms.base import LLM
from tertulia.llms.limited import Limited
from tertulia.llms.local import LocalLLM
from tertulia.llms.openai_chat import OpenAIChat
from tertulia.llms.retrying import Retrying
from tertulia.llms.scripted import ScriptedLLM
from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.llm_contract import LLMContract


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as server:
        yield server


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runtime")


async def no_pause(_seconds: float) -> None:
    pass


class TestScripted(LLMContract):
    @pytest.fixture
    def llm(self) -> LLM:
        return ScriptedLLM(["Hello, how are you?"] * 10, chunk=4)

    @pytest.fixture
    def failing(self) -> LLM:
        return ScriptedLLM([ModelUnreachable()])


class TestOpenAIChat(LLMContract):
    @pytest.fixture
    async def llm(self, fake: FakeOpenAI) -> AsyncIterator[LLM]:
        chat = OpenAIChat("fake-1", base_url=fake.base_url)
        yield chat
        await chat.close()

    @pytest.fixture
    async def failing(self, fake: FakeOpenAI) -> AsyncIterator[LLM]:
        fake.fault("500", times=None)
        chat = OpenAIChat("fake-1", base_url=fake.base_url)
        yield chat
        await chat.close()


class TestWrapped(LLMContract):
    @pytest.fixture
    async def llm(self, fake: FakeOpenAI) -> AsyncIterator[LLM]:
        fake.fault("503", times=None, every=2)
        chat = OpenAIChat("fake-1", base_url=fake.base_url)
        again = Retrying(Limited(chat, first_token=30), attempts=5, pause=no_pause)
        yield Limited(again, whole=60)
        await chat.close()

    @pytest.fixture
    async def failing(self, fake: FakeOpenAI) -> AsyncIterator[LLM]:
        fake.fault("cut", times=None)
        chat = OpenAIChat("fake-1", base_url=fake.base_url)
        yield Limited(Retrying(chat, pause=no_pause))
        await chat.close()


class TestLocal(LLMContract):
    @pytest.fixture
    async def llm(self, directory: Path) -> AsyncIterator[LLM]:
        local = LocalLLM(directory=directory, grace_seconds=10)
        yield local
        await local.close()

    @pytest.fixture
    def failing(self, directory: Path, tmp_path: Path) -> LLM:
        no_model = tmp_path / "no-model.gguf"
        no_model.write_bytes(b"this is no model")
        return LocalLLM(directory=directory, model_file=no_model, grace_seconds=0)
