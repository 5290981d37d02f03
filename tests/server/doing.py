"""What the tests of the service do all the time."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx2


async def an_agent(service: httpx2.AsyncClient, **chosen: object) -> dict[str, Any]:
    """Create an agent and return it."""
    usual = {
        "context": "You are a chef.",
        "first_message": "Hello!",
        "response_shape": "",
        "instructions": "",
    }
    response = await service.post("/agents/create-agent", json=usual | chosen)
    assert response.status_code == 200, response.text
    agent: dict[str, Any] = response.json()
    return agent


async def a_conversation(service: httpx2.AsyncClient, **chosen: object) -> str:
    """Create an agent and a conversation with it, and return the conversation's id."""
    agent = await an_agent(service, **chosen)
    response = await service.post("/agents/create-conversation", json={"agent_id": agent["id"]})
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


async def say(
    service: httpx2.AsyncClient, conversation: str, text: str, *, key: str | None = None, **more: object
) -> httpx2.Response:
    """Send a message and return the response."""
    headers = {"Idempotency-Key": key} if key else {}
    body = {"conversation_id": conversation, "message": text, **more}
    return await service.post("/agents/chat-agent", json=body, headers=headers)


async def messages(
    service: httpx2.AsyncClient, conversation: str, **query: str | int
) -> list[dict[str, Any]]:
    """Return what was said in a conversation."""
    response = await service.get("/agents/get-messages", params={"conversation_id": conversation, **query})
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()
    return found


async def until(happened: Callable[[], bool]) -> None:
    """Let everything else go on until this has happened."""
    for _ in count():
        if happened():
            return
        await asyncio.sleep(0)


async def begin(
    service: httpx2.AsyncClient, conversation: str, text: str, *, key: str | None = None, **more: object
) -> httpx2.Response:
    """Begin a run and return the response."""
    headers = {"Idempotency-Key": key} if key else {}
    body = {"conversation_id": conversation, "message": text, **more}
    return await service.post("/v1/runs", json=body, headers=headers)


async def log_of(service: httpx2.AsyncClient, conversation: str, **query: str | int) -> list[dict[str, Any]]:
    """Return the messages of a conversation, with all that is told of them."""
    response = await service.get(f"/v1/conversations/{conversation}/messages", params=query)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["data"]
    return found


def said(log: list[dict[str, Any]]) -> list[str]:
    """Return the texts of these messages."""
    return ["".join(part["text"] for part in message["content"]) for message in log]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event as a reader of a stream gets it."""

    id: int | None
    kind: str
    data: dict[str, Any]


def told(stream: str) -> list[Told]:
    """Return what a stream told, without comments."""
    found = []
    for block in stream.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "data" in fields:
            number = int(fields["id"]) if "id" in fields else None
            found.append(Told(id=number, kind=fields["event"], data=json.loads(fields["data"])))
    return found


async def described(service: httpx2.AsyncClient, schema: str) -> set[str]:
    """Return the names of the fields that the description of the interface gives something."""
    schemas = (await service.get("/openapi.json")).json()["components"]["schemas"]
    assert set(schemas[schema]["properties"]) == set(schemas[schema]["required"])
    return set(schemas[schema]["properties"])
