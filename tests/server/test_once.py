"""With an Idempotency-Key agents and conversations are made once, however often that is asked for."""

import httpx2
import pytest

from tests.server.doing import an_agent

AGENT = {"context": "", "first_message": "", "response_shape": "", "instructions": ""}
KEY = {"Idempotency-Key": "k"}


async def test_an_agent_is_made_once(service: httpx2.AsyncClient) -> None:
    first = await service.post("/agents/create-agent", json=AGENT, headers=KEY)

    again = await service.post("/agents/create-agent", json=dict(reversed(AGENT.items())), headers=KEY)
    other = await service.post("/agents/create-agent", json=AGENT | {"context": "New."}, headers=KEY)

    assert again.json() == first.json()
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert len((await service.get("/agents/get-agents")).json()) == 1


async def test_a_conversation_is_made_once(service: httpx2.AsyncClient) -> None:
    body = {"agent_id": (await an_agent(service))["id"]}
    first = await service.post("/agents/create-conversation", json=body, headers=KEY)

    again = await service.post("/agents/create-conversation", json=body, headers=KEY)
    other = await service.post("/agents/create-conversation", json=body | {"id": "dinner"}, headers=KEY)

    assert again.json() == first.json()
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


@pytest.mark.parametrize("path", ["create-agent", "create-conversation"])
@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_that_cannot_be_is_refused(service: httpx2.AsyncClient, path: str, key: str) -> None:
    body = AGENT if path == "create-agent" else {"agent_id": (await an_agent(service))["id"]}

    response = await service.post(f"/agents/{path}", json=body, headers={"Idempotency-Key": key})

    assert response.status_code == 422
