"""What the tests of the service do all the time."""

import asyncio
from collections.abc import Callable
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
