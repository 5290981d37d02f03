"""Who speaks in a conversation is named where it begins, and known in the next one."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from tertulia.testing.fake_openai import FakeOpenAI
from tests.server.doing import an_agent, begin, say

FACTS = [{"type": "user_facts"}]


async def created(service: httpx2.AsyncClient, **chosen: str) -> httpx2.Response:
    return await service.post("/agents/create-conversation", json={"agent_id": "clerk"} | chosen)


async def user_of(service: httpx2.AsyncClient, conversation: str) -> str | None:
    row: dict[str, Any] = (await service.get(f"/v1/conversations/{conversation}")).json()
    user: str | None = row["user_id"]
    return user


async def test_a_stored_agent_knows_its_user_in_a_second_conversation(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    await an_agent(service, name="clerk", context_providers=FACTS)
    first = (await created(service, user="ana@example.com")).json()["id"]
    await say(service, first, "My name is Ana.")

    for user in ("ana@example.com", "ben@example.com"):
        await say(service, (await created(service, user=user)).json()["id"], "Who am I?")
    await say(service, (await created(service)).json()["id"], "Who am I?")

    shown = ['{\\"name\\":\\"Ana\\"}' in json.dumps(request) for request in model.requests]
    assert shown == [False, True, False, False]


@pytest.mark.parametrize("path", ["/agents/chat-agent", "/v1/runs"])
async def test_the_message_that_begins_a_conversation_names_who_speaks(
    service: httpx2.AsyncClient, path: str
) -> None:
    await an_agent(service, name="clerk")

    begun = [
        (await service.post(path, json={"agent_id": "clerk", "message": "hello"} | more)).json()
        for more in ({"user": "Ana María"}, {})
    ]

    assert [await user_of(service, row["conversation_id"]) for row in begun] == ["Ana María", None]


async def test_a_branch_has_the_user_of_what_it_is_one_of(service: httpx2.AsyncClient) -> None:
    await an_agent(service, name="clerk")
    await created(service, id="desk", user="ana")
    await say(service, "desk", "hello")

    fork = (await service.post("/v1/conversations/desk/fork", json={"at": 1})).json()

    assert fork["user_id"] == "ana"


async def test_an_id_of_another_users_conversation_is_refused(service: httpx2.AsyncClient) -> None:
    await an_agent(service, name="clerk")
    ours = (await created(service, user="ana")).json()["id"]
    await created(service, id="desk", user="ana")
    await created(service, id="door")

    again = [await created(service, id="desk", user="ana"), await created(service, id="desk")]
    others = [
        await created(service, id="desk", user="ben"),
        await created(service, id="door", user="ben"),
        await created(service, id=ours, user="ben"),
    ]

    assert [response.status_code for response in again] == [200] * 2
    assert [(each.status_code, each.json()["code"]) for each in others] == [(409, "session_mismatch")] * 3
    assert [await user_of(service, name) for name in ("desk", "door", ours)] == ["ana", None, "ana"]


async def test_of_two_users_who_create_one_id_at_once_one_gets_it(service: httpx2.AsyncClient) -> None:
    await an_agent(service, name="clerk")
    users = ("ana", "ben") * 3

    responses = await asyncio.gather(*[created(service, id="desk", user=user) for user in users])

    quicker = await user_of(service, "desk")
    assert quicker in users
    assert [each.status_code for each in responses] == [200 if user == quicker else 409 for user in users]
    assert {each.json()["code"] for each in responses if each.status_code == 409} == {"session_mismatch"}


async def test_a_user_is_not_named_within_a_conversation(service: httpx2.AsyncClient) -> None:
    await an_agent(service, name="clerk")
    await created(service, id="desk", user="ana")

    refused = [
        await say(service, "desk", "hello", user="ben"),
        await begin(service, "desk", "hi", user="ana"),
    ]

    for response in refused:
        assert (response.status_code, response.json()["code"]) == (422, "invalid_input")
        assert "where a conversation begins" in response.json()["detail"]


@pytest.mark.parametrize("path", ["/agents/chat-agent", "/v1/runs"])
async def test_a_key_stands_for_one_user(service: httpx2.AsyncClient, model: FakeOpenAI, path: str) -> None:
    await an_agent(service, name="clerk")
    body = {"agent_id": "clerk", "message": "hello"}

    responses = [
        await service.post(path, json=body | more, headers={"Idempotency-Key": "k"})
        for more in ({"user": "ana"}, {"user": "ana"}, {"user": "ben"}, {})
    ]

    assert [response.status_code for response in responses] == [200, 200, 422, 422]
    assert responses[2].json()["code"] == "idempotency_mismatch"
    assert "ana" not in responses[2].text
    assert len(model.requests) == 1


@pytest.mark.parametrize("user", ["", "a\nb", "a\u0000", "a" * 256, 3])
async def test_what_is_no_name_is_refused(service: httpx2.AsyncClient, user: object) -> None:
    await an_agent(service, name="clerk")

    responses = [
        await service.post("/agents/create-conversation", json={"agent_id": "clerk", "user": user}),
        await service.post("/agents/chat-agent", json={"agent_id": "clerk", "message": "a", "user": user}),
        await service.post("/v1/runs", json={"agent_id": "clerk", "message": "a", "user": user}),
    ]

    assert [response.status_code for response in responses] == [422] * 3
    assert all(response.json()["errors"][0]["loc"] == ["body", "user"] for response in responses)
