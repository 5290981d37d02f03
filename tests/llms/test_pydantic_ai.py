"""Models of other providers against servers that answer as those do."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace

import orjson
import pytest

from tertulia.agent_settings import ModelSettings
from tertulia.errors import (
    ContextTooLong,
    MissingExtra,
    ModelBusy,
    ModelError,
    ModelMalformed,
    ModelRefused,
    ModelUnreachable,
    UnknownModel,
)
from tertulia.llms import LLMS
from tertulia.llms.base import LLM, Finished, Prompt, ReasoningDelta, Shown
from tertulia.llms.by_pydantic_ai import plug
from tertulia.llms.by_pydantic_ai.plug import PydanticAILLM
from tertulia.llms.options import LLMOptions, ModelName, SupportsTrying
from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.llm_contract import WEATHER, heard
from tests.llms.wire_server import KEY, MODELS, WireServer

HI = Prompt(messages=(Shown(role="user", text="Hi."),))

each_provider = pytest.mark.parametrize("provider", sorted(MODELS))
each_way = pytest.mark.parametrize("wants_deltas", [True, False], ids=["streamed", "whole"])


@pytest.fixture
async def server(provider: str) -> AsyncIterator[WireServer]:
    async with WireServer(provider) as server:
        yield server


@pytest.fixture
async def llm(server: WireServer) -> AsyncIterator[PydanticAILLM]:
    llm = opened(server)
    yield llm
    await llm.close()


def opened(server: WireServer) -> PydanticAILLM:
    name = ModelName(server.provider, MODELS[server.provider])
    return PydanticAILLM.build(name, server.options)


async def answered(llm: LLM, prompt: Prompt) -> Finished:
    whole = (await heard(llm, prompt))[-1]
    assert isinstance(whole, Finished)
    return whole


@each_provider
@each_way
async def test_answer_is_heard_with_what_it_cost(
    server: WireServer, llm: PydanticAILLM, *, wants_deltas: bool
) -> None:
    whole = await answered(llm, Prompt(messages=HI.messages, wants_deltas=wants_deltas))

    assert whole.text == "Hello there, friend."
    assert whole.finish_reason == "stop"
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (42, 7)
    assert whole.usage.cached_tokens == (0 if server.provider == "huggingface" else 30)
    assert whole.model


@each_provider
@each_way
async def test_calls_of_tools_are_heard(
    server: WireServer, llm: PydanticAILLM, *, wants_deltas: bool
) -> None:
    server.says = "call"

    whole = await answered(llm, Prompt(messages=HI.messages, tools=(WEATHER,), wants_deltas=wants_deltas))

    (call,) = whole.calls
    assert (call.name, orjson.loads(call.arguments)) == ("weather", {"city": "Lima"})
    assert call.id
    assert whole.finish_reason == "tool_calls"
    assert whole.text == "Hello there, friend."


@each_provider
async def test_thoughts_are_heard_apart(server: WireServer, llm: PydanticAILLM) -> None:
    server.says = "call"

    events = await heard(llm, Prompt(messages=HI.messages, tools=(WEATHER,)))

    assert "".join(e.text for e in events if isinstance(e, ReasoningDelta)) == "A greeting is due."
    assert isinstance(whole := events[-1], Finished)
    assert [each.text for each in whole.reasoning] == ["A greeting is due."]


@each_provider
async def test_length_is_told_as_the_reason(server: WireServer, llm: PydanticAILLM) -> None:
    server.says = "length"

    # Few tokens, because the library streams long answers of some providers in any case.
    settings = ModelSettings(max_tokens=5)
    whole = await answered(llm, Prompt(messages=HI.messages, wants_deltas=False, settings=settings))

    assert whole.finish_reason == "length"


FAILURES = {
    "401": ModelRefused,
    "400": ContextTooLong,
    "429": ModelBusy,
    "500": ModelUnreachable,
    "cut": ModelUnreachable,
    "malformed": ModelMalformed,
}


@each_provider
@each_way
@pytest.mark.parametrize("fault", FAILURES)
async def test_failures_are_ours_and_nothing_is_retried(
    server: WireServer, llm: PydanticAILLM, *, fault: str, wants_deltas: bool
) -> None:
    server.faults.append(fault)

    with pytest.raises(FAILURES[fault]) as raised:
        await heard(llm, Prompt(messages=HI.messages, wants_deltas=wants_deltas))

    assert len(server.bodies) == 1
    assert raised.value.retry_after == (7.0 if fault == "429" else None)
    for shown in (KEY, "Hi.", "rate limit", "api key", "html", "INVALID"):
        assert shown not in str(raised.value)


@each_provider
async def test_error_within_a_stream_is_ours(server: WireServer, llm: PydanticAILLM) -> None:
    server.faults.append("broken")

    with pytest.raises((ModelBusy, ModelUnreachable)):
        await heard(llm, HI)


@each_provider
async def test_leaving_early_ends_the_call(server: WireServer, llm: PydanticAILLM) -> None:
    server.faults.append("hang")

    async with aclosing(llm.stream(HI)) as events:
        await anext(events)

    await asyncio.wait_for(server.gone.wait(), 30)


@each_provider
async def test_being_cancelled_ends_the_call(server: WireServer, llm: PydanticAILLM) -> None:
    server.faults.append("hang")
    begun = asyncio.Event()

    async def listen() -> None:
        async for _ in llm.stream(HI):
            begun.set()

    task = asyncio.create_task(listen())
    await begun.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(server.gone.wait(), 30)


@each_provider
async def test_key_is_sent_and_never_shown(server: WireServer, llm: PydanticAILLM) -> None:
    await answered(llm, HI)

    assert any(KEY in value for value in server.headers[-1].values())
    assert KEY not in repr(llm)


@pytest.mark.parametrize("provider", ["mistral"])
async def test_model_may_be_asked_again_after_it_was_closed(server: WireServer, llm: PydanticAILLM) -> None:
    await answered(llm, HI)
    await llm.close()

    assert (await answered(llm, HI)).text


async def test_one_model_may_be_asked_in_two_loops() -> None:
    async with WireServer("anthropic") as server:
        llm, said = opened(server), list[str]()

        def elsewhere() -> None:
            async def ask() -> None:
                said.append((await answered(llm, HI)).text)
                await llm.close()

            asyncio.run(ask())

        await answered(llm, HI)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)
        said.append((await answered(llm, HI)).text)
        await llm.close()

    assert said == ["Hello there, friend."] * 2


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("anthropic:claude-sonnet-4-5", "ANTHROPIC_API_KEY"),
        ("cohere:command-a-03-2025", "CO_API_KEY"),
        ("deepseek:deepseek-chat", "DEEPSEEK_API_KEY"),
        ("google:gemini-2.5-flash", "GOOGLE_API_KEY"),
        ("groq:llama-3.3-70b-versatile", "GROQ_API_KEY"),
        ("huggingface:Qwen/Qwen3-235B-A22B", "HF_TOKEN"),
        ("mistral:mistral-large-latest", "MISTRAL_API_KEY"),
        ("openrouter:openai/gpt-5", "OPENROUTER_API_KEY"),
        ("bedrock:amazon.nova-pro-v1:0", "AWS_DEFAULT_REGION"),
    ],
)
async def test_missing_key_is_named_when_the_model_is_asked(
    name: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for known in (variable, "GEMINI_API_KEY", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(known, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    provider, _, model = name.partition(":")
    llm = LLMS.get(provider).build(ModelName(provider, model), LLMOptions())

    for _ in range(2):
        with pytest.raises(ModelRefused, match=variable):
            await heard(llm, HI)
    assert isinstance(llm, SupportsTrying)
    with pytest.raises(ModelRefused, match=variable):
        await llm.try_open()
    await llm.close()


async def test_missing_package_is_told_with_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_package(_target: str) -> object:
        raise ImportError("No module named 'pydantic_ai'")

    monkeypatch.setattr(plug, "load", no_package)
    llm = PydanticAILLM.build(ModelName("anthropic", "claude-sonnet-4-5"), LLMOptions())

    with pytest.raises(MissingExtra, match=r"pip install tertulia\[anthropic\]"):
        await heard(llm, HI)
    with pytest.raises(MissingExtra, match=r"pip install tertulia\[providers\]"):
        await PydanticAILLM.list_models("deepseek", LLMOptions())


def test_provider_alone_is_no_model() -> None:
    with pytest.raises(UnknownModel, match="anthropic:NAME"):
        PydanticAILLM.build(ModelName("anthropic", ""), LLMOptions())


async def test_known_models_are_listed() -> None:
    names = await PydanticAILLM.list_models("anthropic", LLMOptions())

    assert names
    assert names == sorted(names)
    assert all(name.startswith("claude") for name in names)


@pytest.mark.parametrize("name", ["deepseek:deepseek-chat", "ollama:llama3.2", "together:some/model"])
async def test_providers_that_speak_as_openai_does_are_asked_at_the_given_address(name: str) -> None:
    async with FakeOpenAI() as fake:
        provider, _, model = name.partition(":")
        options = LLMOptions(api_key=KEY, base_url=fake.base_url)
        llm = LLMS.get(provider).build(ModelName(provider, model), options)

        texts = [(await answered(llm, replace(HI, wants_deltas=wants))).text for wants in (True, False)]
        fake.fault("503")
        with pytest.raises(ModelBusy):
            await heard(llm, HI)
        await llm.close()

    assert all(texts)
    assert fake.calls == 3


@each_provider
async def test_many_providers_at_once_do_not_disturb_each_other(provider: str) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(WireServer(provider))
        llm = opened(server)
        server.faults.extend(["500", "429"])

        answers = await asyncio.gather(*(heard(llm, HI) for _ in range(6)), return_exceptions=True)
        await llm.close()

    assert sum(isinstance(answer, ModelError) for answer in answers) == 2
    assert sum(isinstance(answer, list) for answer in answers) == 4
