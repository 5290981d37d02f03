"""OpenAI's own client finds the other wires in the fake model server, and its script is said on each."""

import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from tertulia.errors import ContextTooLong, ModelBusy, ModelError, ModelRefused, ModelUnreachable
from tertulia.llms.base import Finished
from tertulia.parts import Reasoning, ToolCall
from tertulia.testing.fake_openai import FakeOpenAI, Said, Scripted
from tertulia.testing.faults import Fault

SAID = [{"role": "user", "content": "hello [[1]]"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]
BONN, LIMA = (
    ToolCall(id="", name="weather", arguments='{"city":"Bonn"}'),
    ToolCall(id="call_2", name="weather", arguments='{"city":"Lima"}'),
)
Ask: TypeAlias = Callable[[Any], Awaitable[str]]


class Dish(BaseModel):
    name: str
    minutes: int


async def ask_chat(client: Any) -> str:
    answer = await client.chat.completions.create(model="m", messages=SAID)
    return str(answer.choices[0].message.content)


async def ask_chat_stream(client: Any) -> str:
    async with client.chat.completions.stream(model="m", messages=SAID) as stream:
        return str((await stream.get_final_completion()).choices[0].message.content)


async def ask_response(client: Any) -> str:
    return str((await client.responses.create(model="m", input="hello [[1]]")).output_text)


async def ask_response_stream(client: Any) -> str:
    async with client.responses.stream(model="m", input="hello [[1]]") as stream:
        return str((await stream.get_final_response()).output_text)


async def ask_completion(client: Any) -> str:
    return str((await client.completions.create(model="m", prompt="hello [[1]]")).choices[0].text)


async def ask_completion_stream(client: Any) -> str:
    # Its types have no chunk that is not the last one, unlike its server.
    client._strict_response_validation = False
    async with await client.completions.create(model="m", prompt="hello [[1]]", stream=True) as stream:
        return "".join([chunk.choices[0].text async for chunk in stream])


wires = pytest.mark.parametrize(
    "ask",
    [
        ask_chat,
        ask_chat_stream,
        ask_response,
        ask_response_stream,
        ask_completion,
        ask_completion_stream,
    ],
)


@wires
async def test_default_reply_is_the_same_on_every_wire(client: Any, ask: Ask) -> None:
    said = await ask(client)

    assert said.startswith("m=1 ")
    assert len(said) == 400


@wires
@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("a text", "a text"),
        ("", ""),
        ({"a": [1]}, '{"a":[1]}'),
        ([1, 2], "[1,2]"),
        (Said(text="said"), "said"),
        (Finished(text="finished", model="m", reasoning=(Reasoning(text="hm"),)), "finished"),
        (lambda request: str(request["model"]), "m"),
    ],
)
async def test_script_is_said_on_every_wire(
    fake: FakeOpenAI, client: Any, ask: Ask, entry: Scripted, said: str
) -> None:
    fake.script([entry])

    assert await ask(client) == said


@wires
@pytest.mark.parametrize(
    ("entry", "status"),
    [
        (ModelBusy("busy", retry_after=1), 429),
        (ContextTooLong("long"), 400),
        (ModelRefused("no"), 400),
        (ValueError("anything"), 500),
        (Fault(kind="401"), 401),
        (lambda _request: ModelError("made"), 500),
    ],
)
async def test_errors_of_the_script_are_told_on_every_wire(
    fake: FakeOpenAI, client: Any, ask: Ask, entry: Scripted, status: int
) -> None:
    fake.script([entry, "well again"])

    with pytest.raises(openai.APIStatusError) as raised:
        await ask(client)

    assert raised.value.status_code == status
    assert raised.value.response.headers.get("retry-after") == ("1" if status == 429 else None)
    assert await ask(client) == "well again"


@wires
async def test_connection_may_be_lost_by_script(fake: FakeOpenAI, client: Any, ask: Ask) -> None:
    fake.script([ModelUnreachable("gone")])

    with pytest.raises(openai.APIConnectionError):
        await ask(client)


@pytest.mark.parametrize("entry", [BONN, [BONN, LIMA]])
async def test_chat_calls_tools(fake: FakeOpenAI, client: Any, entry: Scripted) -> None:
    fake.script([entry, entry])

    whole = await client.chat.completions.create(model="m", messages=SAID, tools=TOOLS)
    async with client.chat.completions.stream(model="m", messages=SAID, tools=TOOLS) as stream:
        streamed = await stream.get_final_completion()

    wanted = [call.arguments for call in (entry if isinstance(entry, list) else [BONN])]
    for answer in (whole, streamed):
        calls = answer.choices[0].message.tool_calls
        assert [call.function.arguments for call in calls] == wanted
        assert len({call.id for call in calls}) == len(calls)
        assert answer.choices[0].finish_reason == "tool_calls"
        assert answer.choices[0].message.content is None


async def test_chat_goes_on_after_its_tools(fake: FakeOpenAI, client: Any) -> None:
    fake.script([LIMA, "sunny"])

    asked = await client.chat.completions.create(model="m", messages=SAID, tools=TOOLS)
    result = {"role": "tool", "tool_call_id": "call_2", "content": "{}"}
    answer = await client.chat.completions.create(
        model="m", messages=[*SAID, asked.choices[0].message, result], tools=TOOLS
    )

    assert answer.choices[0].message.content == "sunny"


async def test_chat_thinks_and_refuses(fake: FakeOpenAI, client: Any) -> None:
    thinking = Said(text="so", reasoning="let me think")
    fake.script([thinking, thinking, Said(refusal="no")])

    whole = await client.chat.completions.create(model="m", messages=SAID)
    async with await client.chat.completions.create(
        model="m", messages=SAID, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = [chunk async for chunk in stream]
    refused = await client.chat.completions.create(model="m", messages=SAID)

    thoughts = [getattr(c.choices[0].delta, "reasoning_content", None) for c in chunks if c.choices]
    assert whole.choices[0].message.reasoning_content == "".join(filter(None, thoughts)) == "let me think"
    assert chunks[-1].usage.completion_tokens_details.reasoning_tokens == 3
    assert (refused.choices[0].message.refusal, refused.choices[0].message.content) == ("no", None)


async def test_default_chat_meets_what_is_asked_for(client: Any) -> None:
    parsed = await client.chat.completions.parse(model="m", messages=SAID, response_format=Dish)
    called = await client.chat.completions.create(
        model="m",
        messages=SAID,
        tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": "weather"}},
    )
    free = await client.chat.completions.create(model="m", messages=SAID, tools=TOOLS)

    assert isinstance(parsed.choices[0].message.parsed, Dish)
    assert called.choices[0].message.tool_calls[0].function.arguments == '{"city":"text"}'
    assert free.choices[0].message.content.startswith("m=1 ")


def near(one: list[float], other: list[float]) -> float:
    return sum(map(float.__mul__, one, other))


async def test_vectors_have_length_one_and_know_shared_words(fake: FakeOpenAI, client: Any) -> None:
    answer = await client.embeddings.create(
        model="m", input=["red wine", "white wine", "old shoes"], encoding_format="float"
    )

    wine, other, shoes = [each.embedding for each in answer.data]
    assert [math.hypot(*vector) for vector in (wine, other, shoes)] == pytest.approx([1, 1, 1])
    assert near(wine, other) > near(wine, shoes)
    assert (len(wine), fake.calls) == (1536, 0)


async def test_vectors_come_as_numbers_or_packed(fake: FakeOpenAI) -> None:
    async with AsyncOpenAI(base_url=fake.base_url, api_key="x", max_retries=0) as client:
        packed = await client.embeddings.create(model="m", input="red wine", dimensions=8)
        plain = await client.embeddings.create(
            model="m", input="red wine", dimensions=8, encoding_format="float"
        )

    assert len(packed.data[0].embedding) == 8
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding)


async def test_faults_strike_what_they_are_meant_for(fake: FakeOpenAI, client: Any) -> None:
    fake.fault("500", on="embed")
    fake.fault("503", on="fetch")

    answer = await client.responses.create(model="m", input="x")

    with pytest.raises(openai.InternalServerError):
        await client.embeddings.create(model="m", input="x", encoding_format="float")
    with pytest.raises(openai.InternalServerError):
        await client.responses.retrieve(answer.id)
    assert (await client.responses.retrieve(answer.id)).id == answer.id
    assert fake.faulted == 2


async def test_one_model_is_told_of(client: Any) -> None:
    assert (await client.models.retrieve("fake-1")).id == "fake-1"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("fake-2")


async def test_script_can_be_given_from_outside(
    fake: FakeOpenAI, client: Any, http: aiohttp.ClientSession
) -> None:
    call = {"name": "weather", "arguments": "{}"}
    script = [{"$said": {"calls": [call]}}, {"$said": {"refusal": "no"}}, {"$fault": {"kind": "429"}}]

    async with http.post(
        f"{fake.base_url.removesuffix('/v1')}/__control", json={"script": [*script, {"a": 1}]}
    ) as reply:
        assert reply.status == 200

    called = await client.responses.create(model="m", input="x")
    refused = await client.responses.create(model="m", input="x")
    with pytest.raises(openai.RateLimitError):
        await client.responses.create(model="m", input="x")
    assert called.output[0].name == "weather"
    assert refused.output[0].content[0].refusal == "no"
    assert (await client.responses.create(model="m", input="x")).output_text == '{"a":1}'


async def test_background_work_is_steered_from_outside(
    fake: FakeOpenAI, client: Any, http: aiohttp.ClientSession
) -> None:
    async def steer(**wanted: object) -> None:
        async with http.post(f"{fake.base_url.removesuffix('/v1')}/__control", json=wanted) as reply:
            assert reply.status == 200

    await steer(hold=True)
    one = await client.responses.create(model="m", input="x", background=True)
    other = await client.responses.create(model="m", input="x", background=True)
    await steer(release=one.id)
    while (one := await client.responses.retrieve(one.id)).status != "completed":
        pass
    held = (await client.responses.retrieve(other.id)).status
    await steer(expire=True, release=True)

    assert held == "queued"
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(other.id)
