"""Lists are whole without a limit, and pages with one; nothing is lost or doubled between pages."""

from typing import Any

import httpx2
import pytest

from tertulia.server import lists
from tests.server.doing import a_conversation, an_agent, messages, say


async def turned(service: httpx2.AsyncClient, path: str, **query: str | int) -> list[Any]:
    """Return all rows, page by page."""
    rows: list[Any] = []
    response = await service.get(path, params=query)
    while True:
        assert response.status_code == 200, response.text
        rows += response.json()
        if "next" not in response.links:
            return rows
        response = await service.get(response.links["next"]["url"])


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_of_agents_together_are_the_whole(service: httpx2.AsyncClient, limit: int) -> None:
    made = [(await an_agent(service))["id"] for _ in range(6)]

    rows = await turned(service, "/agents/get-agents", limit=limit)

    assert [row["id"] for row in rows] == made


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_of_conversations_together_are_the_whole(service: httpx2.AsyncClient, limit: int) -> None:
    agent = await an_agent(service)
    bodies = [{"agent_id": agent["id"], "id": f"own {n}"} for n in range(6)]
    for body in bodies:
        await service.post("/agents/create-conversation", json=body)

    rows = await turned(service, "/agents/get-conversations", agent_id=agent["id"], limit=limit)

    assert [row["id"] for row in rows] == [body["id"] for body in bodies]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_of_messages_together_are_the_whole(service: httpx2.AsyncClient, limit: int) -> None:
    conversation = await a_conversation(service)
    for n in range(6):
        await say(service, conversation, str(n), settings={"timeout": 5})

    rows = await turned(service, "/agents/get-messages", conversation_id=conversation, limit=limit)

    assert rows == await messages(service, conversation)
    assert [row["user_message"] for row in rows] == [str(n) for n in range(6)]
    assert all(row["agent_message"] for row in rows)


async def test_a_long_list_without_a_limit_is_sent_whole(
    service: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "_BATCH", 2)
    conversation = await a_conversation(service)
    for n in range(5):
        await say(service, conversation, str(n))

    assert [row["user_message"] for row in await messages(service, conversation)] == [*"01234"]


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"after": "x"}, {"after": "-1"}]
)
async def test_a_page_that_cannot_be_is_422(service: httpx2.AsyncClient, query: dict[str, Any]) -> None:
    conversation = await a_conversation(service)

    response = await service.get("/agents/get-messages", params={"conversation_id": conversation, **query})

    assert response.status_code == 422


@pytest.mark.parametrize("path", ["get-agents", "get-conversations", "get-messages"])
@pytest.mark.parametrize(
    "after", ["zzz", "%00", "%ED%A0%80", "agent_", "conv_xyz", "AGENT_" + "0" * 32, "0" * 32, "1e3", "\u0661"]
)
async def test_a_place_that_no_link_named_is_422_and_says_where_to_take_it(
    service: httpx2.AsyncClient, path: str, after: str
) -> None:
    agent = await an_agent(service, name="bob")
    body = {"agent_id": agent["id"], "id": "talk"}
    await service.post("/agents/create-conversation", json=body)

    response = await service.get(f"/agents/{path}?agent_id=bob&conversation_id=talk&after={after}")

    assert response.status_code == 422, response.text
    assert "Link header" in response.json()["detail"]
