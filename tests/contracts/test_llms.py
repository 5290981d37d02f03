"""Every language model of ours against the contract."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from typing_extensions import override

from tertulia.errors import ModelRefused, ModelUnreachable
from tertulia.llms.around import Around
from tertulia.llms.base import LLM, Finished, LLMEvent, Prompt
from tertulia.llms.by_pydantic_ai.plug import PydanticAILLM
from tertulia.llms.lent import Lent
from tertulia.llms.limited import Limited
from tertulia.llms.local import LocalLLM
from tertulia.llms.naming import open_chain
from tertulia.llms.openai_chat import OpenAIChat
from tertulia.llms.openai_completions import OpenAICompletions
from tertulia.llms.openai_responses import OpenAIResponses
from tertulia.llms.options import LLMOptions, ModelName
from tertulia.llms.owned import OwnedTasks
from tertulia.llms.retrying import Retrying
from tertulia.llms.scripted import ScriptedLLM
from tertulia.parts import Reasoning, ToolCall
from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.keeping_contract import KeepingContract, KeptCallsContract
from tertulia.testing.llm_contract import (
    CallingContract,
    Listing,
    ListingContract,
    LLMContract,
    ThinkingContract,
)
from tests.llms.wire_server import MODELS, WireServer

CALLS = [
    ToolCall(id="call_a", name="weather", arguments='{"city":"Ulm"}'),
    ToolCall(id="call_b", name="clock", arguments="{}"),
]
THOUGHT = Finished(text="It rains.", model="fake-1", reasoning=(Reasoning(text="Let me think."),))


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as server:
        yield server


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runtime")


async def no_pause(_seconds: float) -> None:
    pass


class TestScripted(LLMContract, CallingContract, ThinkingContract, ListingContract):
    @pytest.fixture
    def llm(self) -> LLM:
        return ScriptedLLM(["Hello, how are you?"] * 10, chunk=4)

    @pytest.fixture
    def calling(self) -> LLM:
        return ScriptedLLM([CALLS, "It rains."])

    @pytest.fixture
    def thinking(self) -> LLM:
        return ScriptedLLM([THOUGHT, THOUGHT])

    @pytest.fixture
    def listing(self) -> Listing:
        return ScriptedLLM, "scripted", LLMOptions()

    @pytest.fixture
    def failing(self) -> LLM:
        return ScriptedLLM([ModelUnreachable()])


class TestScriptedThatKeeps(TestScripted, KeepingContract, KeptCallsContract):
    @pytest.fixture
    @override
    def llm(self) -> LLM:
        return ScriptedLLM(["Hello, how are you?"] * 10, chunk=4, keeps_answers=True)

    @pytest.fixture
    def keeping(self, llm: LLM) -> LLM:
        return llm

    @pytest.fixture
    @override
    def calling(self) -> LLM:
        return ScriptedLLM([CALLS, "It rains."], keeps_answers=True)


class TestOpenAIChat(LLMContract, CallingContract, ThinkingContract, ListingContract):
    @pytest.fixture
    async def llm(self, fake: FakeOpenAI) -> AsyncIterator[LLM]:
        chat = OpenAIChat("fake-1", base_url=fake.base_url)
        yield chat
        await chat.close()

    @pytest.fixture
    def calling(self, fake: FakeOpenAI, llm: LLM) -> LLM:
        fake.script([CALLS, "It rains."])
        return llm

    @pytest.fixture
    def thinking(self, fake: FakeOpenAI, llm: LLM) -> LLM:
        fake.script([THOUGHT, THOUGHT])
        return llm

    @pytest.fixture
    def listing(self, fake: FakeOpenAI) -> Listing:
        return OpenAIChat, "openai-chat", LLMOptions(base_url=fake.base_url)

    @pytest.fixture
    async def failing(self, fake: FakeOpenAI) -> AsyncIterator[LLM]:
        fake.fault("500", times=None)
        chat = OpenAIChat("fake-1", base_url=fake.base_url)
        yield chat
        await chat.close()


class TestOpenAICompletions(LLMContract, ListingContract):
    @pytest.fixture
    async def llm(self, fake: FakeOpenAI) -> AsyncIterator[LLM]:
        model = OpenAICompletions("fake-1", base_url=fake.base_url)
        yield model
        await model.close()

    @pytest.fixture
    async def failing(self, fake: FakeOpenAI) -> AsyncIterator[LLM]:
        fake.fault("500", times=None)
        model = OpenAICompletions("fake-1", base_url=fake.base_url)
        yield model
        await model.close()

    @pytest.fixture
    def listing(self, fake: FakeOpenAI) -> Listing:
        return OpenAICompletions, "openai-completions", LLMOptions(base_url=fake.base_url)


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


class TestWrappedThatKeeps(LLMContract, KeepingContract, KeptCallsContract):
    @pytest.fixture
    async def llm(self, fake: FakeOpenAI) -> AsyncIterator[LLM]:
        owner = OwnedTasks()
        plug = Lent(OpenAIResponses("fake-1", base_url=fake.base_url, pause=no_pause), owner=owner)
        yield open_chain(
            [plug, ScriptedLLM([ModelRefused()] * 10)], options=LLMOptions(first_token_seconds=30)
        )
        await plug.close()

    @pytest.fixture
    def keeping(self, llm: LLM) -> LLM:
        return llm

    @pytest.fixture
    def calling(self, fake: FakeOpenAI, llm: LLM) -> LLM:
        fake.script([CALLS, "It rains."])
        return llm

    @pytest.fixture
    async def failing(self, fake: FakeOpenAI, llm: LLM) -> LLM:
        fake.fault("400", times=None)
        return llm


class TestLocal(LLMContract, ListingContract):
    @pytest.fixture
    def listing(self, directory: Path) -> Listing:
        return LocalLLM, "local", LLMOptions(runtime_dir=directory)

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


class TestOpenAIResponses(
    LLMContract, CallingContract, ThinkingContract, ListingContract, KeepingContract, KeptCallsContract
):
    @pytest.fixture
    async def llm(self, fake: FakeOpenAI) -> AsyncIterator[LLM]:
        model = OpenAIResponses("fake-1", base_url=fake.base_url, pause=no_pause)
        yield model
        await model.close()

    @pytest.fixture
    def keeping(self, llm: LLM) -> LLM:
        return llm

    @pytest.fixture
    def calling(self, fake: FakeOpenAI, llm: LLM) -> LLM:
        fake.script([CALLS, "It rains."])
        return llm

    @pytest.fixture
    def thinking(self, fake: FakeOpenAI, llm: LLM) -> LLM:
        fake.script([THOUGHT, THOUGHT])
        return llm

    @pytest.fixture
    def listing(self, fake: FakeOpenAI) -> Listing:
        return OpenAIResponses, "openai", LLMOptions(base_url=fake.base_url)

    @pytest.fixture
    def failing(self, fake: FakeOpenAI, llm: LLM) -> LLM:
        fake.clear_faults()
        fake.fault("500", times=None)
        fake.fault("500", on="fetch", times=None)
        return llm


class InBackground(Around):
    """A model that is always asked to work on by itself."""

    @override
    def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        return self._inner.stream(replace(prompt, settings=replace(prompt.settings, background=True)))


class TestOpenAIResponsesInBackground(TestOpenAIResponses):
    @pytest.fixture
    @override
    async def llm(self, fake: FakeOpenAI) -> AsyncIterator[LLM]:
        fake.fault("cut", tokens=2, times=None, every=2)
        fake.fault("cut", on="fetch", tokens=2, times=None, every=2)
        model = OpenAIResponses("fake-1", base_url=fake.base_url, pause=no_pause)
        yield InBackground(model)
        await model.close()


@pytest.fixture(params=sorted(MODELS))
async def wire(request: pytest.FixtureRequest) -> AsyncIterator[WireServer]:
    async with WireServer(request.param) as server:
        yield server


@pytest.fixture
async def through_pydantic_ai(wire: WireServer) -> AsyncIterator[LLM]:
    name = ModelName(wire.provider, MODELS[wire.provider])
    llm = PydanticAILLM(name, wire.options)
    yield llm
    await llm.close()


class TestThroughPydanticAI(LLMContract, CallingContract, ThinkingContract, ListingContract):
    @pytest.fixture
    def llm(self, through_pydantic_ai: LLM) -> LLM:
        return through_pydantic_ai

    @pytest.fixture
    def failing(self, wire: WireServer, through_pydantic_ai: LLM) -> LLM:
        wire.faults.extend(["500"] * 2)
        return through_pydantic_ai

    @pytest.fixture
    def calling(self, wire: WireServer, through_pydantic_ai: LLM) -> LLM:
        wire.script.append("call")
        return through_pydantic_ai

    @pytest.fixture
    def thinking(self, wire: WireServer, through_pydantic_ai: LLM) -> LLM:
        wire.script.append("call")
        return through_pydantic_ai

    @pytest.fixture
    def listing(self, wire: WireServer) -> Listing:
        return PydanticAILLM, wire.provider, LLMOptions()
