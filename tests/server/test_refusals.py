"""What cannot be is refused, in the words of who sent it."""

from typing import Any

import httpx2
import pytest

from tests.server.doing import a_conversation, an_agent

AGENT = {"context": "", "first_message": "", "response_shape": "", "instructions": ""}
SERVER = {"type": "mcp", "server_label": "docs", "server_url": "https://tools.example.com/mcp"}


async def refused(service: httpx2.AsyncClient, **change: object) -> dict[str, Any]:
    response = await service.post("/agents/create-agent", json=AGENT | change)
    assert response.status_code == 422, response.text
    problem: dict[str, Any] = response.json()
    return problem


@pytest.mark.parametrize(
    ("change", "places"),
    [
        ({"model": 7}, [["body", "model"]]),
        ({"model": ["local", 7]}, [["body", "model"], ["body", "model", 1]]),
        ({"model": "\x1b"}, [["body", "model"]]),
        ({"tools": [7]}, [["body", "tools", 0]]),
        ({"tools": ["a", ""]}, [["body", "tools", 1]]),
        ({"response_shape": 7}, [["body", "response_shape"]]),
        ({"settings": 7}, [["body", "settings"]]),
        ({"surprise": 7}, [["body", "surprise"]]),
        ({"context": None}, [["body", "context"]]),
    ],
)
async def test_a_refusal_names_places_as_they_were_sent(
    service: httpx2.AsyncClient, change: dict[str, object], places: list[list[str | int]]
) -> None:
    problem = await refused(service, **change)

    found = [error["loc"] for error in problem["errors"]]
    assert [place for n, place in enumerate(found) if place not in found[:n]] == places
    for word in "function-after", "constrained", "dict[", "list[":
        assert word not in problem["detail"]


async def test_what_is_missing_is_named(service: httpx2.AsyncClient) -> None:
    response = await service.post("/agents/create-agent", json={"context": "str"})

    found = [error["loc"] for error in response.json()["errors"]]
    assert found == [["body", name] for name in ("first_message", "response_shape", "instructions")]


async def test_a_place_inside_an_object_of_the_senders_is_named(service: httpx2.AsyncClient) -> None:
    body = {"conversation_id": "c", "message": "hi", "metadata": {"str": "x" * 513}}

    response = await service.post("/v1/runs", json=body)

    assert [error["loc"] for error in response.json()["errors"]] == [["body", "metadata", "str"]]


@pytest.mark.parametrize("body", [b"[]", b"7", b'"text"', b"null"])
async def test_what_is_no_object_is_refused_as_a_whole(service: httpx2.AsyncClient, body: bytes) -> None:
    response = await service.post(
        "/agents/create-agent", content=body, headers={"content-type": "application/json"}
    )

    assert response.status_code == 422
    assert [error["loc"] for error in response.json()["errors"]] == [["body"]]


@pytest.mark.parametrize(
    ("text", "chain"),
    [
        ("scripted:echo, local", ["scripted:echo", "local"]),
        ("scripted:echo,scripted:text=Well, then", ["scripted:echo", "scripted:text=Well, then"]),
        ("scripted:text=Well, then", "scripted:text=Well, then"),
        (" scripted:echo ", "scripted:echo"),
    ],
)
async def test_a_text_with_commas_between_models_is_a_chain(
    service: httpx2.AsyncClient, text: str, chain: object
) -> None:
    assert (await an_agent(service, model=text))["model"] == chain


@pytest.mark.parametrize(
    ("model", "word"),
    [
        ("local, scripted:echo, local", "'local'"),
        (["scripted:echo", "scripted:echo"], "'scripted:echo'"),
        (["scripted:echo", " scripted:echo"], "'scripted:echo'"),
        (", ".join(f"scripted:text={n}" for n in range(9)), "8 models"),
        ("scripted:echo, scripted:text=" + "x" * 200, "200 characters"),
        ("scripted:text=" + "x" * 200, "200 characters"),
        ("local, nobody:here", "nobody"),
    ],
)
async def test_a_chain_that_cannot_be_is_refused(
    service: httpx2.AsyncClient, model: object, word: str
) -> None:
    assert word in (await refused(service, model=model))["detail"]


@pytest.mark.parametrize(
    "change",
    [
        {"allowed_tools": ["x" * 129]},
        {"allowed_tools": [""]},
        {"allowed_tools": ["a\x1bb"]},
        {"allowed_tools": [7]},
        {"allowed_tools": "search"},
        {"allowed_tools": [f"t{n}" for n in range(129)]},
        {"server_url": "https://tools.example.com/" + "x" * 2000},
        {"server_url": "https://tools.example.com/\n"},
    ],
)
async def test_a_server_of_tools_says_no_more_than_it_may(
    service: httpx2.AsyncClient, change: dict[str, object]
) -> None:
    problem = await refused(service, tools=[SERVER | change])

    assert problem["code"] == "invalid_input"
    assert len(problem["detail"]) < 200


async def test_a_server_of_tools_may_say_as_much(service: httpx2.AsyncClient) -> None:
    most = SERVER | {"allowed_tools": [f"{n:0>128}" for n in range(128)], "require_approval": "always"}

    assert (await an_agent(service, tools=[most]))["tools"] == [most]


async def test_a_chain_in_a_text_is_asked_in_its_order(service: httpx2.AsyncClient) -> None:
    conversation = await a_conversation(service, model="scripted:text=First, scripted:echo")

    response = await service.post(
        "/agents/chat-agent", json={"conversation_id": conversation, "message": "hi"}
    )

    assert response.json()["response"] == "First"
