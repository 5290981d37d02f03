"""What models of other providers are shown and asked with."""

from collections.abc import AsyncIterator

import orjson
import pytest

from tertulia.agent_settings import ModelSettings
from tertulia.errors import (
    ModelRefused,
)
from tertulia.llms.base import LLM, Finished, Prompt, Shown
from tertulia.llms.by_pydantic_ai.plug import PydanticAILLM
from tertulia.llms.options import ModelName
from tertulia.parts import Media, MediaKind, Reasoning, Text, ToolCall, ToolResult
from tertulia.testing.llm_contract import WEATHER, heard
from tests.llms.conversations import PIXEL
from tests.llms.wire_server import MODELS, WireServer

SHAPE = {"type": "object", "properties": {"summary": {"type": "string"}}, "required": ["summary"]}
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


def sent(server: WireServer) -> str:
    """Return the newest request as text."""
    return orjson.dumps(server.bodies[-1]).decode()


@each_provider
@each_way
async def test_what_a_provider_gave_opaquely_is_given_back_to_it(
    server: WireServer, llm: PydanticAILLM, *, wants_deltas: bool
) -> None:
    server.says = "call"
    whole = await answered(llm, Prompt(messages=HI.messages, tools=(WEATHER,), wants_deltas=wants_deltas))
    said = Shown(
        role="assistant", text=whole.text, parts=(*whole.reasoning, Text(text=whole.text), *whole.calls)
    )
    result = ToolResult(call_id=whole.calls[0].id, name="weather", text="17 degrees")
    server.says = "plain"

    await answered(
        llm,
        Prompt(messages=(*HI.messages, said, Shown(role="tool", text="", parts=(result,))), tools=(WEATHER,)),
    )

    assert ("c2lnbmVk" in sent(server)) == (server.provider in {"anthropic", "bedrock", "google"})
    assert "17 degrees" in sent(server)


@each_provider
async def test_what_another_provider_gave_opaquely_is_not_sent(
    server: WireServer, llm: PydanticAILLM
) -> None:
    opaque = orjson.dumps(
        {"provider": "elsewhere", "signature": "hidden", "details": {"a": "hidden"}}
    ).decode()
    parts = (
        Reasoning(text="hidden", provider="elsewhere", opaque=opaque),
        Reasoning(text="hidden", provider=server.provider, opaque="no JSON: hidden"),
        ToolCall(id="a", name="weather", arguments="{}", opaque=opaque),
    )
    result = Shown(role="tool", text="", parts=(ToolResult(call_id="a", name="weather", text="dry"),))

    await answered(
        llm, Prompt(messages=(*HI.messages, Shown(role="assistant", text="", parts=parts), result))
    )

    assert "hidden" not in sent(server)


@each_provider
async def test_settings_are_those_that_the_provider_knows(server: WireServer, llm: PydanticAILLM) -> None:
    settings = ModelSettings(
        temperature=2,
        max_tokens=99,
        top_p=1.0,
        frequency_penalty=0.1,
        presence_penalty=0.1,
        stop=("END",),
        seed=-1,
        reasoning_effort="low",
        store=True,
        max_turns=3,
    )

    await answered(llm, Prompt(messages=HI.messages, settings=settings))

    # The server has checked names and ranges.
    assert "99" in sent(server)
    assert "END" in sent(server)
    assert "-1" not in sent(server)


@each_provider
async def test_beginning_of_a_prompt_is_cached_where_that_must_be_asked_for(
    server: WireServer, llm: PydanticAILLM
) -> None:
    await answered(llm, HI)

    is_asked_for = "cache_control" in sent(server) or "cachePoint" in sent(server)
    assert is_asked_for == (server.provider in {"anthropic", "bedrock"})


@pytest.mark.parametrize("provider", ["anthropic", "google"])
async def test_shape_is_enforced_where_the_provider_can(server: WireServer, llm: PydanticAILLM) -> None:
    await answered(llm, Prompt(messages=HI.messages, response_schema=SHAPE))

    assert '"summary"' in sent(server)


@pytest.mark.parametrize("provider", ["anthropic", "google", "mistral", "cohere", "groq"])
@pytest.mark.parametrize(
    "shape",
    [
        {"type": "object", "properties": {"a": {"description": "no type"}}, "required": ["a"]},
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}},
    ],
)
async def test_shape_that_a_provider_cannot_enforce_does_no_harm(
    server: WireServer, llm: PydanticAILLM, shape: dict[str, object]
) -> None:
    whole = await answered(llm, Prompt(messages=HI.messages, response_schema=shape, tools=(WEATHER,)))

    assert whole.text


@each_provider
async def test_name_stands_before_what_was_said(server: WireServer, llm: PydanticAILLM) -> None:
    said = (
        Shown(role="user", text="Hi.", name="Zoë\nMüller"),
        Shown(role="assistant", text="Yes?", name="Bo"),
    )

    await answered(llm, Prompt(messages=said))

    assert "Zoë Müller: Hi." in sent(server)
    assert "Bo: Yes?" in sent(server)


@each_provider
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("image", "a.png"),
        ("image", "a"),
        ("file", "a.png"),
        ("file", "a.pdf"),
        ("file", "a.txt"),
        ("file", "a"),
        ("audio", "a.wav"),
        ("audio", "a.mp3"),
    ],
)
async def test_what_lies_at_an_address_is_fetched_by_the_provider_or_refused(
    server: WireServer, llm: PydanticAILLM, kind: MediaKind, name: str
) -> None:
    address = f"{server.base_url}/{name}"
    shown = Shown(role="user", text="", parts=(Media(kind=kind, url=address),))

    try:
        await answered(llm, Prompt(messages=(shown,)))
    except ModelRefused as error:
        assert f"send the {kind} itself" in str(error)
        assert server.provider in {"bedrock", "cohere", "google"} or kind != "image"
        assert not server.bodies
    else:
        assert address in sent(server)


@each_provider
async def test_older_media_that_cannot_be_shown_are_told_in_words(
    server: WireServer, llm: PydanticAILLM
) -> None:
    media = (
        Media(kind="image", url="https://example.org/a.png", name="a.png"),
        Media(kind="audio", base64="UklGRgAAAABXQVZF", name="b.wav"),
        Media(kind="file", base64="%%%%", name="c.pdf"),
        Media(kind="image", base64=PIXEL),
    )
    messages = (
        Shown(role="user", text="", parts=(Text(text="Look."), *media)),
        Shown(role="assistant", text="I did."),
        Shown(role="user", text="And now?"),
    )

    whole = await answered(llm, Prompt(messages=messages))

    assert whole.text


@pytest.mark.parametrize("provider", ["cohere", "groq"])
async def test_new_media_that_cannot_be_shown_are_refused(server: WireServer, llm: PydanticAILLM) -> None:
    shown = Shown(role="user", text="", parts=(Media(kind="audio", base64="UklGRgAAAABXQVZF"),))

    with pytest.raises(ModelRefused, match="choose another model"):
        await heard(llm, Prompt(messages=(shown,)))
