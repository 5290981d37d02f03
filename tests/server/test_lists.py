"""Lists are whole without a limit, and pages with one; nothing is lost or doubled between pages."""

from typing import Any

import httpx2
import pytest

from tertulia.messages import Flag, Message, Role, text_content
from tertulia.server import lists
from tertulia.server.exchanges import pair, with_pending
from tests.server.doing import a_conversation, an_agent, messages, say


def a_message(number: int, role: Role, text: str, *, flags: Flag = Flag.NONE) -> Message:
    return Message(id=f"m{number}{text}", role=role, content=text_content(text), number=number, flags=flags)


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


def test_what_follows_a_message_answers_it() -> None:
    log = [
        a_message(2, "assistant", "to an earlier page"),
        a_message(3, "user", "failed"),
        a_message(4, "user", "asked"),
        a_message(5, "assistant", "one"),
        a_message(6, "tool", "called"),
        a_message(7, "assistant", "two"),
    ]

    pairs = pair(log)

    assert [(one.asked.text, one.answer, one.last_number) for one in pairs] == [
        ("failed", None, 3),
        ("asked", "one\n\ntwo", 7),
    ]


def test_what_was_withdrawn_or_deleted_is_not_told() -> None:
    log = [
        a_message(1, "user", "a", flags=Flag.WITHDRAWN),
        a_message(2, "assistant", "b", flags=Flag.WITHDRAWN),
        a_message(3, "user", "c"),
        a_message(4, "assistant", "", flags=Flag.DELETED),
    ]

    assert [(one.asked.text, one.answer) for one in pair(log)] == [("c", None)]


def test_a_message_that_got_its_number_meanwhile_is_told_once() -> None:
    numbered, waiting = a_message(1, "user", "a"), a_message(0, "user", "b")

    told = with_pending(pair([numbered]), [numbered, waiting])

    assert [one.asked.text for one in told] == ["a", "b"]
