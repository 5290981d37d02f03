"""How models of other providers are opened: time to connect, keys, and where nobody listens."""

from collections.abc import Callable
from typing import Any

import httpx
import httpx2
import pytest

from tertulia.errors import ModelUnreachable
from tertulia.llms.base import Prompt, Shown
from tertulia.llms.by_pydantic_ai.plug import PydanticAILLM
from tertulia.llms.options import LLMOptions, ModelName
from tertulia.registry import load
from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.llm_contract import heard
from tests.llms.wire_server import KEY, MODELS, WireServer

HI = Prompt(messages=(Shown(role="user", text="Hi."),))
SECONDS = 3.5


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """The seconds that each request has had to connect."""
    noted: list[float | None] = []

    def noting(send: Callable[..., Any]) -> Callable[..., Any]:
        async def note(transport: object, request: httpx.Request) -> object:
            noted.append(request.extensions["timeout"]["connect"])
            return await send(transport, request)

        return note

    def note_session(session: object, *given: Any, timeout: Any = None, **more: Any) -> None:
        if isinstance(timeout, tuple | list):  # Other than those that look for keys.
            noted.append(timeout[0])
        begin(session, *given, timeout=timeout, **more)

    sessions = load("botocore.httpsession:URLLib3Session")
    begin = sessions.__init__
    for transport in (httpx.AsyncHTTPTransport, httpx2.AsyncHTTPTransport):
        monkeypatch.setattr(transport, "handle_async_request", noting(transport.handle_async_request))
    monkeypatch.setattr(sessions, "__init__", note_session)
    return noted


# Hugging Face's library makes its client itself, and takes no time to connect.
@pytest.mark.parametrize("provider", sorted(MODELS.keys() - {"huggingface"}))
@pytest.mark.parametrize("wants_deltas", [True, False], ids=["streamed", "whole"])
async def test_time_to_connect_is_passed_on(
    provider: str, waits: list[float | None], *, wants_deltas: bool
) -> None:
    async with WireServer(provider) as server:
        options = LLMOptions(
            api_key=server.options.api_key, base_url=server.base_url, connect_seconds=SECONDS
        )
        llm = PydanticAILLM(ModelName(provider, MODELS[provider]), options)

        await heard(llm, Prompt(messages=HI.messages, wants_deltas=wants_deltas))
        await llm.close()

    assert waits
    assert set(waits) == {SECONDS}


@pytest.mark.parametrize("provider", sorted(MODELS.keys() - {"bedrock", "huggingface"}))
async def test_nobody_is_called_twice_who_does_not_listen(provider: str, waits: list[float | None]) -> None:
    options = LLMOptions(api_key=KEY, base_url="http://127.0.0.1:1")
    llm = PydanticAILLM(ModelName(provider, MODELS[provider]), options)

    with pytest.raises(ModelUnreachable):
        await heard(llm, HI)
    await llm.close()

    assert len(waits) == 1


@pytest.mark.parametrize("name", ["together:some/model", "ollama:llama3.2", "alibaba:qwen"])
async def test_time_to_connect_is_passed_on_to_those_that_speak_as_openai_does(
    name: str, waits: list[float | None]
) -> None:
    provider, _, model = name.partition(":")
    async with FakeOpenAI() as fake:
        options = LLMOptions(api_key=KEY, base_url=fake.base_url, connect_seconds=SECONDS)
        llm = PydanticAILLM(ModelName(provider, model), options)

        await heard(llm, HI)
        await llm.close()

    assert set(waits) == {SECONDS}


def silence(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("CO_API_KEY", "TOGETHER_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(("provider", "like"), [("cohere", "cohere"), ("together", "huggingface")])
async def test_without_a_key_none_is_sent(provider: str, like: str, monkeypatch: pytest.MonkeyPatch) -> None:
    silence(monkeypatch)
    async with WireServer(like) as server:
        llm = PydanticAILLM(ModelName(provider, MODELS[like]), LLMOptions(base_url=server.base_url))

        for wants_deltas in (True, False):
            await heard(llm, Prompt(messages=HI.messages, wants_deltas=wants_deltas))
        await llm.close()

    assert ["authorization" in headers for headers in server.headers] == [False, False]


@pytest.mark.parametrize(
    ("provider", "like", "variable"),
    [("cohere", "cohere", "CO_API_KEY"), ("together", "huggingface", "TOGETHER_API_KEY")],
)
async def test_provider_s_own_key_is_sent_if_no_other_is_given(
    provider: str, like: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence(monkeypatch)
    monkeypatch.setenv(variable, KEY)
    async with WireServer(like) as server:
        llm = PydanticAILLM(ModelName(provider, MODELS[like]), LLMOptions(base_url=server.base_url))

        await heard(llm, HI)
        await llm.close()

    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


async def test_server_of_one_s_own_that_is_not_there_is_told_with_what_to_do() -> None:
    llm = PydanticAILLM(ModelName("ollama", "llama3.2"), LLMOptions(base_url="http://127.0.0.1:1/v1"))

    with pytest.raises(ModelUnreachable, match="ollama serve, or set OLLAMA_BASE_URL"):
        await heard(llm, HI)
    await llm.close()
