"""Conversations are closed, by request or by their agent, and say so until they are opened again."""

import asyncio
import re
from typing import Any

import httpx2
import pytest

from tertulia.testing.fake_openai import FakeOpenAI
from tests.server.conftest import Open
from tests.server.doing import (
    a_conversation,
    an_agent,
    begin,
    described,
    log_of,
    messages,
    say,
    told,
    until,
)


@pytest.fixture
async def service(open_service: Open) -> httpx2.AsyncClient:
    """A client of a service whose model says what it is told."""
    return await open_service(model="scripted:echo")


async def close(service: httpx2.AsyncClient, conversation: str, **body: object) -> dict[str, Any]:
    """Close a conversation; return how it is shown then."""
    response = await service.post(f"/v1/conversations/{conversation}/close", json=body or None)
    assert response.status_code == 200, response.text
    row: dict[str, Any] = response.json()
    return row


async def reopen(service: httpx2.AsyncClient, conversation: str) -> dict[str, Any]:
    """Open a conversation again; return how it is shown then."""
    response = await service.post(f"/v1/conversations/{conversation}/reopen")
    assert response.status_code == 200, response.text
    row: dict[str, Any] = response.json()
    return row


async def test_a_conversation_is_closed_and_opened_again(service: httpx2.AsyncClient) -> None:
    conversation = await a_conversation(service)
    fresh = (await service.get(f"/v1/conversations/{conversation}")).json()

    closed = await close(service, conversation, reason="The table is booked.")
    shown = (await service.get(f"/v1/conversations/{conversation}")).json()
    opened = await reopen(service, conversation)

    assert fresh["closed"] is None
    assert (closed["id"], closed["closed"], shown["closed"]) == (conversation, *["The table is booked."] * 2)
    assert opened == closed | {"closed": None}
    assert set(closed) == await described(service, "StoredConversation")


async def test_closing_and_opening_again_are_safe_to_repeat(service: httpx2.AsyncClient) -> None:
    conversation = await a_conversation(service)

    closed = [await close(service, conversation, reason=reason) for reason in ("first", "second")]
    opened = [await reopen(service, conversation) for _ in range(2)]

    assert [row["closed"] for row in (*closed, *opened)] == ["first", "first", None, None]


async def test_a_reason_need_not_be_given(service: httpx2.AsyncClient) -> None:
    conversation = await a_conversation(service)

    assert (await close(service, conversation))["closed"] == "it was closed on request"


@pytest.mark.parametrize("body", [{"reason": ""}, {"reason": "x" * 513}, {"reason": "\x00"}, {"why": "so"}])
async def test_a_reason_that_cannot_be_is_refused(service: httpx2.AsyncClient, body: dict[str, str]) -> None:
    conversation = await a_conversation(service)

    response = await service.post(f"/v1/conversations/{conversation}/close", json=body)

    assert response.status_code == 422
    assert (await service.get(f"/v1/conversations/{conversation}")).json()["closed"] is None


@pytest.mark.parametrize("how", ["close", "reopen"])
async def test_what_is_not_there_is_neither_closed_nor_opened(service: httpx2.AsyncClient, how: str) -> None:
    response = await service.post(f"/v1/conversations/nobodys/{how}")

    assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_a_message_for_a_closed_conversation_is_told_why_and_what_to_do(
    service: httpx2.AsyncClient,
) -> None:
    conversation = await a_conversation(service)
    await say(service, conversation, "one")
    await close(service, conversation, reason="The table is booked.")

    refused = [await send(service, conversation, "two") for send in (say, begin)]

    for response in refused:
        problem = response.json()
        assert (response.status_code, problem["code"]) == (409, "conversation_closed")
        assert problem["detail"] == (
            "this conversation has come to its end: The table is booked. "
            f"POST /v1/conversations/{conversation}/reopen opens it again."
        )
    assert [pair["user_message"] for pair in await messages(service, conversation)] == ["one"]


async def test_a_conversation_that_was_opened_again_goes_on(service: httpx2.AsyncClient) -> None:
    conversation = await a_conversation(service)
    await close(service, conversation)
    await reopen(service, conversation)

    response = await say(service, conversation, "here again")

    assert response.json() == {"conversation_id": conversation, "response": "here again", "closed": None}


async def test_a_branch_of_a_closed_conversation_is_open(service: httpx2.AsyncClient) -> None:
    conversation = await a_conversation(service)
    await say(service, conversation, "one")
    await close(service, conversation)

    branch = (await service.post(f"/v1/conversations/{conversation}/fork", json={})).json()

    assert branch["closed"] is None
    assert (await say(service, branch["id"], "two")).status_code == 200


@pytest.mark.parametrize(
    ("farewell", "notice"),
    [
        ("Thank you, and goodbye!", "Thank you, and goodbye!"),
        (None, "This conversation has come to its end: it was made for one turn."),
    ],
)
async def test_an_answer_that_ends_the_conversation_says_so_again_and_again(
    service: httpx2.AsyncClient, farewell: str | None, notice: str
) -> None:
    settings = {"max_turns": 1} | ({"farewell": farewell} if farewell else {})
    conversation = await a_conversation(service, settings=settings)

    answers = [(await say(service, conversation, "hello", key="k")).json() for _ in range(2)]
    refused = await say(service, conversation, "more")

    assert (
        answers
        == [
            {
                "conversation_id": conversation,
                "response": "hello",
                "closed": {"reason": "it was made for one turn", "notice": notice},
            }
        ]
        * 2
    )
    assert refused.status_code == 409
    assert "it was made for one turn" in refused.json()["detail"]
    assert set(answers[0]) == await described(service, "Answer")
    assert set(answers[0]["closed"]) == await described(service, "Closed")


async def test_what_is_said_in_farewell_is_no_message(service: httpx2.AsyncClient) -> None:
    conversation = await a_conversation(service, settings={"max_turns": 1, "farewell": "Goodbye!"})

    await say(service, conversation, "hello")

    assert "Goodbye!" not in str(await log_of(service, conversation))
    assert [pair["agent_message"] for pair in await messages(service, conversation)] == ["hello"]


async def test_a_request_may_bring_a_farewell_of_its_own(service: httpx2.AsyncClient) -> None:
    conversation = await a_conversation(service, settings={"max_turns": 1, "farewell": "Goodbye!"})

    response = await say(service, conversation, "hello", settings={"farewell": "See you!"})

    assert response.json()["closed"]["notice"] == "See you!"


async def test_a_stream_tells_that_its_run_has_ended_the_conversation(service: httpx2.AsyncClient) -> None:
    conversation = await a_conversation(service, settings={"max_turns": 2})

    streams = [told((await begin(service, conversation, text, stream=True)).text) for text in ("a", "b")]

    assert [events[-1].kind for events in streams] == ["run.finished"] * 2
    assert [events[-1].data["closed"] for events in streams] == [
        None,
        {
            "reason": "it was made for 2 turns",
            "notice": "This conversation has come to its end: it was made for 2 turns.",
        },
    ]


async def test_a_run_says_as_a_chat_does_that_it_has_ended_the_conversation(
    service: httpx2.AsyncClient,
) -> None:
    conversation = await a_conversation(service, settings={"max_turns": 2, "farewell": "Goodbye!"})

    first = (await begin(service, conversation, "hello")).json()
    last = (await begin(service, conversation, "bye")).json()

    assert first["closed"] is None
    assert last["closed"] == {"reason": "it was made for 2 turns", "notice": "Goodbye!"}
    assert (await service.get(f"/v1/runs/{first['id']}")).json() == first
    assert (await service.get(f"/v1/runs/{last['id']}")).json() == last


async def test_who_asks_for_the_events_later_is_told_as_well(service: httpx2.AsyncClient) -> None:
    conversation = await a_conversation(service, settings={"max_turns": 1})
    run = (await begin(service, conversation, "hello")).json()
    await reopen(service, conversation)

    events = told((await service.get(f"/v1/runs/{run['id']}/events")).text)

    assert events[-1].data["closed"]["reason"] == "it was made for one turn"


async def test_the_way_back_is_told_so_that_it_can_be_gone(service: httpx2.AsyncClient) -> None:
    agent = await an_agent(service)
    own = {"agent_id": agent["id"], "id": "a dinner/1?"}
    await service.post("/agents/create-conversation", json=own)
    run = (await begin(service, own["id"], "hi")).json()
    await close(service, run["conversation_id"])

    refused = await say(service, own["id"], "more")
    hint = re.search(r"POST (\S+) opens", refused.json()["detail"])
    assert hint is not None
    opened = await service.post(hint[1])

    assert (opened.status_code, opened.json()["alias"]) == (200, own["id"])
    assert (await say(service, own["id"], "more")).status_code == 200


async def test_what_waits_in_line_when_a_conversation_is_closed_can_be_asked_again(
    open_service: Open, model: FakeOpenAI
) -> None:
    service = await open_service()
    conversation = await a_conversation(service, settings={"max_turns": 1})
    model.latency = 0.1
    first = asyncio.create_task(begin(service, conversation, "one"))
    await until(lambda: model.open == 1)
    second = await begin(service, conversation, "two")

    problem = second.json()
    retry = f"/v1/runs/{problem['run_id']}/retry"
    refused = await service.post(retry)
    await reopen(service, conversation)
    again = await service.post(retry)

    assert (await first).json()["closed"]["reason"] == "it was made for one turn"
    assert (second.status_code, problem["code"]) == (409, "conversation_closed")
    for told_so in problem, refused.json():
        assert f"POST /v1/conversations/{conversation}/reopen" in told_so["detail"]
    assert again.json()["status"] == "completed"
