"""The tutorial's surface keeps its paths and fields, and says what is wrong."""

import asyncio
from typing import Any

import httpx2
import pytest

from tertulia.testing.fake_openai import FakeOpenAI
from tests.server.doing import a_conversation, an_agent, messages, say, until

JSON = {"content-type": "application/json"}


async def test_an_agent_comes_back_with_what_it_was_made_of(service: httpx2.AsyncClient) -> None:
    agent = await an_agent(service, instructions="Be brief.", settings={"temperature": 0.5})

    assert agent["id"].startswith("agent_")
    assert agent["context"] == "You are a chef."
    assert agent["first_message"] == "Hello!"
    assert agent["instructions"] == "Be brief."
    assert agent["settings"] == {"temperature": 0.5}
    assert agent["name"].startswith("agent-")
    assert agent["conversations"] == []
    assert agent["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"surprise": 1}, 422),
        ({"context": None}, 422),
        ({"context": "\x00"}, 422),
        ({"name": "a:b"}, 422),
        ({"model": "nobody:here"}, 422),
        ({"model": "openai-chat:\x1b]0;evil\x07"}, 422),
        ({"model": "openai-chat:\x00"}, 422),
        ({"model": "openai-chat:" + "x" * 189}, 422),
        ({"settings": {"temperature": 99}}, 422),
        ({"settings": {"warmth": 1}}, 422),
        ({"settings": {"stop": []}}, 422),
        ({"settings": {"stop": "x" * 501}}, 422),
        ({"settings": {"stop": ["a\x00"]}}, 422),
        ({"response_shape": {"type": "object", "properties": 7}}, 422),
        ({"response_shape": {"a": 10**40}}, 422),
        ({"response_shape": ["a"]}, 422),
    ],
)
async def test_an_agent_that_cannot_be_is_refused(
    service: httpx2.AsyncClient, change: dict[str, object], status: int
) -> None:
    usual = {"context": "", "first_message": "", "response_shape": "", "instructions": ""}

    response = await service.post("/agents/create-agent", json=usual | change)

    assert response.status_code == status
    assert (await service.get("/agents/get-agents")).json() == []


async def test_what_is_told_about_settings_is_short_and_plain(service: httpx2.AsyncClient) -> None:
    body = {"context": "", "first_message": "", "response_shape": "", "instructions": ""}

    unknown = await service.post("/agents/create-agent", json=body | {"settings": {"x" * 900: 1}})
    large = await service.post("/agents/create-agent", json=body | {"settings": {"max_tokens": 10**9}})

    assert "x" * 50 in unknown.json()["detail"]
    assert "x" * 51 not in unknown.json()["detail"]
    assert large.json()["detail"] == "setting 'max_tokens' must lie between 1 and 10000000"


async def test_a_name_is_given_once(service: httpx2.AsyncClient) -> None:
    await an_agent(service, name="Chef")

    body = {"context": "", "first_message": "", "response_shape": "", "instructions": "", "name": "Chef"}
    response = await service.post("/agents/create-agent", json=body)

    assert (response.status_code, response.json()["code"]) == (409, "duplicate_name")


async def test_agents_are_listed_with_their_conversations(service: httpx2.AsyncClient) -> None:
    chef, clerk = await an_agent(service), await an_agent(service)
    made = await service.post("/agents/create-conversation", json={"agent_id": chef["id"]})

    listed = (await service.get("/agents/get-agents")).json()

    assert [agent["id"] for agent in listed] == [chef["id"], clerk["id"]]
    assert listed[0]["conversations"] == [made.json()]
    assert listed[1]["conversations"] == []


async def test_an_id_of_our_form_has_to_be_one_of_ours(service: httpx2.AsyncClient) -> None:
    chef, clerk = await an_agent(service), await an_agent(service)
    made = await service.post("/agents/create-conversation", json={"agent_id": chef["id"]})
    body = {"agent_id": chef["id"], "id": made.json()["id"]}

    again = await service.post("/agents/create-conversation", json=body)
    others = await service.post("/agents/create-conversation", json=body | {"agent_id": clerk["id"]})
    invented = await service.post("/agents/create-conversation", json=body | {"id": "conv_" + "f" * 32})

    assert again.json() == made.json()
    assert (others.status_code, invented.status_code) == (409, 404)


async def test_an_id_of_ones_own_names_one_conversation(service: httpx2.AsyncClient) -> None:
    chef, clerk = await an_agent(service), await an_agent(service)
    body = {"agent_id": chef["id"], "id": "order 66"}

    first = await service.post("/agents/create-conversation", json=body)
    again = await service.post("/agents/create-conversation", json=body)
    others = await service.post("/agents/create-conversation", json=body | {"agent_id": clerk["id"]})
    said = await say(service, "order 66", "hi")

    assert first.json() == again.json()
    assert first.json()["id"] == "order 66"
    assert (others.status_code, others.json()["code"]) == (409, "session_mismatch")
    assert said.json()["conversation_id"] == "order 66"


@pytest.mark.parametrize(
    "request_",
    [
        ("POST", "/agents/create-conversation", {"agent_id": "nobody"}),
        ("POST", "/agents/create-conversation", {"agent_id": "agent_" + "0" * 32}),
        ("POST", "/agents/chat-agent", {"agent_id": "nobody", "message": "hi"}),
        ("POST", "/agents/chat-agent", {"agent_id": "agent_" + "0" * 32, "message": "hi"}),
        ("POST", "/agents/chat-agent", {"conversation_id": "nowhere", "message": "hi"}),
        ("GET", "/agents/get-conversations?agent_id=nobody", None),
        ("GET", "/agents/get-messages?conversation_id=nowhere", None),
        ("GET", "/nowhere", None),
    ],
)
async def test_what_is_unknown_is_404(
    service: httpx2.AsyncClient, request_: tuple[str, str, dict[str, str] | None]
) -> None:
    method, path, body = request_

    response = await service.request(method, path, json=body)

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


async def test_chatting_with_an_agent_begins_a_conversation(service: httpx2.AsyncClient) -> None:
    agent = await an_agent(service, name="Chef")

    response = await service.post("/agents/chat-agent", json={"agent_id": "Chef", "message": "hi"})

    conversation = response.json()["conversation_id"]
    listed = await service.get("/agents/get-conversations", params={"agent_id": agent["id"]})
    assert [one["id"] for one in listed.json()] == [conversation]
    assert [one["user_message"] for one in await messages(service, conversation)] == ["hi"]


async def test_a_conversation_is_begun_once_per_key(service: httpx2.AsyncClient, model: FakeOpenAI) -> None:
    agent = await an_agent(service)
    body, headers = {"agent_id": agent["id"], "message": "hi"}, {"Idempotency-Key": "k"}

    responses = [await service.post("/agents/chat-agent", json=body, headers=headers) for _ in "ab"]

    assert responses[0].json() == responses[1].json()
    assert model.calls == 1


async def test_a_key_stands_for_one_request(service: httpx2.AsyncClient) -> None:
    conversation = await a_conversation(service)
    await say(service, conversation, "hi", key="k")

    response = await say(service, conversation, "something else", key="k")

    assert (response.status_code, response.json()["code"]) == (422, "idempotency_mismatch")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"conversation_id": "c"}',
        b'{"conversation_id": "c", "message": ""}',
        b'{"conversation_id": "c", "message": "  "}',
        b'{"conversation_id": "c", "message": 7}',
        b'{"conversation_id": "c", "message": "\\u0000"}',
        b'{"conversation_id": "c", "message": "\\ud800"}',
        b'{"conversation_id": "c", "message": "\xff"}',
        b'{"conversation_id": "c\\u0000", "message": "hi"}',
        b'{"conversation_id": "c", "agent_id": "a", "message": "hi"}',
        b'{"conversation_id": "c", "message": "hi", "surprise": 1}',
        b'{"conversation_id": "c", "message": "hi", "multitask_strategy": "panic"}',
        b'{"conversation_id": "c", "message": "hi", "expected_head": -1}',
        b'{"conversation_id": "c", "message": "hi", "settings": {"top_p": NaN}}',
        b'{"conversation_id": "c", "message": "hi", "settings": {"seed": 1e999}}',
    ],
)
async def test_a_body_that_cannot_be_right_is_422(service: httpx2.AsyncClient, body: bytes) -> None:
    await service.post(
        "/agents/create-conversation", json={"agent_id": (await an_agent(service))["id"], "id": "c"}
    )

    response = await service.post("/agents/chat-agent", content=body, headers=JSON)

    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert await messages(service, "c") == []


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the body is empty"),
        (b"{", "ends too early"),
        (b"[" * 1000, "nested too deeply"),
        (b"{'a': 1}", "this is no JSON: key must be a string"),
        (b'{"message": "\xff"}', "not UTF-8"),
        (b'{"message": "\\ud800"}', "half of a surrogate pair"),
        (b'{"message": "\\udc00"}', "half of a surrogate pair"),
    ],
)
async def test_what_is_no_json_is_told_in_clear_words(
    service: httpx2.AsyncClient, body: bytes, told: str
) -> None:
    response = await service.post("/agents/chat-agent", content=body, headers=JSON)

    assert response.status_code == 422
    assert told in response.json()["detail"]


@pytest.mark.parametrize(
    "header",
    [
        {"Idempotency-Key": ""},
        {"Idempotency-Key": "k" * 256},
        {"X-Expected-Head": "many"},
        {"X-Expected-Head": "9" * 30},
        {"X-Multitask-Strategy": "shout"},
    ],
)
async def test_a_header_that_cannot_be_right_is_422(
    service: httpx2.AsyncClient, header: dict[str, str]
) -> None:
    body = {"conversation_id": await a_conversation(service), "message": "hi"}

    response = await service.post("/agents/chat-agent", json=body, headers=header)

    assert response.status_code == 422


async def test_wrong_input_is_not_echoed(service: httpx2.AsyncClient) -> None:
    body = {"conversation_id": "c", "message": {"my": "secret"}, "expected_head": "secret"}

    response = await service.post("/agents/chat-agent", json=body)

    assert sorted(error["loc"][1] for error in response.json()["errors"]) == ["expected_head", "message"]
    assert "secret" not in response.text


async def test_only_json_that_says_so_is_read(service: httpx2.AsyncClient) -> None:
    response = await service.post("/agents/chat-agent", content=b"{}", headers={"content-type": "text/plain"})

    assert response.status_code == 415


@pytest.mark.parametrize("by", ["body", "header"])
async def test_a_busy_conversation_can_refuse(
    service: httpx2.AsyncClient, model: FakeOpenAI, by: str
) -> None:
    conversation = await a_conversation(service)
    model.fault("hang")
    first = asyncio.create_task(say(service, conversation, "one", settings={"timeout": 1}))
    await until(lambda: model.open == 1)

    body: dict[str, Any] = {"conversation_id": conversation, "message": "two"}
    headers = {"X-Multitask-Strategy": "reject"} if by == "header" else {}
    if by == "body":
        body["multitask_strategy"] = "reject"
    response = await service.post("/agents/chat-agent", json=body, headers=headers)

    assert (response.status_code, response.json()["code"]) == (409, "conversation_busy")
    assert int(response.headers["retry-after"]) >= 1
    assert (await first).status_code == 504


async def test_what_waits_in_line_is_listed_last(service: httpx2.AsyncClient, model: FakeOpenAI) -> None:
    conversation = await a_conversation(service)
    model.fault("hang", times=1)
    chats = [asyncio.create_task(say(service, conversation, "one", settings={"timeout": 1}))]
    await until(lambda: model.open == 1)
    chats.append(asyncio.create_task(say(service, conversation, "two")))
    listed: list[dict[str, Any]] = []
    while len(listed) < 2:
        await asyncio.gather(asyncio.sleep(0))
        listed = await messages(service, conversation)

    assert [(one["user_message"], one["agent_message"]) for one in listed] == [("one", None), ("two", None)]
    assert [one.status_code for one in await asyncio.gather(*chats)] == [504, 200]


@pytest.mark.parametrize("by", ["body", "header"])
async def test_a_head_that_has_moved_is_412(service: httpx2.AsyncClient, by: str) -> None:
    conversation = await a_conversation(service)
    await say(service, conversation, "one")
    body: dict[str, Any] = {"conversation_id": conversation, "message": "two"}

    headers = {"X-Expected-Head": "1"} if by == "header" else {}
    if by == "body":
        body["expected_head"] = 1
    stale = await service.post("/agents/chat-agent", json=body, headers=headers)
    fresh = await say(service, conversation, "two", expected_head=2)

    assert (stale.status_code, fresh.status_code) == (412, 200)


async def test_an_answer_that_never_meets_the_shape_is_502(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    conversation = await a_conversation(service, response_shape={"recipes": "List of strings"})
    model.script(["no", "no", "no", "no", "no", "no"])

    response = await say(service, conversation, "hi")

    assert (response.status_code, response.json()["code"]) == (502, "shape_mismatch")


async def test_hanging_up_stops_nothing(service: httpx2.AsyncClient, model: FakeOpenAI) -> None:
    conversation = await a_conversation(service)
    model.latency = 0.05
    chat = asyncio.create_task(say(service, conversation, "one [["))
    await until(lambda: model.open == 1)

    chat.cancel()
    response = await say(service, conversation, "two [[")

    assert response.json()["response"].startswith("m=2 ")
    assert all(one["agent_message"] for one in await messages(service, conversation))


@pytest.mark.parametrize("path", ["/agents", "/agents/"])
async def test_the_greeting_needs_no_redirect(service: httpx2.AsyncClient, path: str) -> None:
    response = await service.get(path)

    assert response.status_code == 200
    assert set(response.json()) == {"message"}
