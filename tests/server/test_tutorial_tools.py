"""The tutorial's agents may have several models, tools and limits; conversations can be summarized."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from typing_extensions import override

from tertulia.app import App
from tertulia.conversations import DEFAULT_TENANT
from tertulia.errors import ModelBusy, ModelTimeout, NotFound, ShapeMismatch, TertuliaError
from tertulia.settings import Settings
from tests.server.conftest import Open, serving
from tests.server.doing import an_agent, described

ELSEWHERE = {
    "type": "mcp",
    "server_label": "docs",
    "server_url": "https://tools.example.com/mcp",
    "allowed_tools": ["search"],
    "require_approval": "never",
}


@pytest.fixture
async def service(open_service: Open) -> httpx2.AsyncClient:
    """A client of a service whose model says what it is told."""
    return await open_service(model="scripted:echo")


class Summing(App):
    """An app whose summaries are as they are told to be."""

    def __init__(self) -> None:
        super().__init__(Settings(database_url="memory://", model="scripted:echo", shutdown_seconds=0))
        self.summary: dict[str, Any] | TertuliaError = {"summary": "They cook.", "dish": "Paella"}
        self.asked: list[tuple[int, str]] = []

    @override
    async def summarize(self, conversation: str, *, tenant: int = DEFAULT_TENANT) -> dict[str, Any]:
        self.asked.append((tenant, conversation))
        if isinstance(self.summary, TertuliaError):
            raise self.summary
        return self.summary


@pytest.fixture
def summing() -> Summing:
    """The app behind ``summed``."""
    return Summing()


@pytest.fixture
async def summed(summing: Summing) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the service of ``summing``."""
    async with serving(summing) as client:
        yield client


async def test_an_agent_may_have_several_models(service: httpx2.AsyncClient) -> None:
    chain = ["scripted:echo", "scripted:text=Paella"]

    agent = await an_agent(service, model=chain)
    alone = await an_agent(service, model="scripted:echo")

    assert (agent["model"], alone["model"]) == (chain, "scripted:echo")
    listed = (await service.get("/agents/get-agents")).json()
    assert [each["model"] for each in listed] == [chain, "scripted:echo"]


async def test_an_agent_comes_back_with_its_tools_and_limits(service: httpx2.AsyncClient) -> None:
    limits = {"max_steps": 7, "max_cost": 0.25}

    agent = await an_agent(service, tools=[ELSEWHERE], limits=limits)
    plain = await an_agent(service)

    assert (agent["tools"], agent["limits"]) == ([ELSEWHERE], limits)
    assert (plain["tools"], plain["limits"], plain["model"]) == ([], {}, None)
    assert set(agent) == await described(service, "Agent")


async def test_a_server_of_tools_is_shown_with_what_was_left_out(service: httpx2.AsyncClient) -> None:
    short = {"type": "mcp", "server_label": "docs", "server_url": "https://tools.example.com/mcp"}

    agent = await an_agent(service, tools=[short])

    assert agent["tools"] == [short | {"require_approval": "always"}]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model": []}, "invalid_input"),
        ({"model": ["scripted:echo"] * 9}, "invalid_input"),
        ({"model": ["scripted:echo", "nobody:here"]}, "unknown_model"),
        ({"model": ["scripted:echo", "\x1b"]}, "invalid_input"),
        ({"tools": ["no such tool"]}, "unknown_tool"),
        ({"tools": ["mcp:nowhere"]}, "unknown_tool"),
        ({"tools": [""]}, "invalid_input"),
        ({"tools": [7]}, "invalid_input"),
        ({"tools": [{"type": "function", "name": "add"}]}, "invalid_input"),
        ({"tools": [ELSEWHERE | {"headers": {"Authorization": "Bearer x"}}]}, "invalid_input"),
        ({"tools": [ELSEWHERE | {"server_label": "a label"}]}, "invalid_input"),
        ({"tools": [ELSEWHERE | {"server_url": "http://127.0.0.1:1/mcp"}]}, "address_refused"),
        ({"tools": [ELSEWHERE | {"server_url": "file:///etc/passwd"}]}, "address_refused"),
        ({"limits": {"max_steps": 0}}, "invalid_input"),
        ({"limits": {"max_patience": 1}}, "invalid_input"),
    ],
)
async def test_an_agent_that_cannot_be_is_refused(
    service: httpx2.AsyncClient, change: dict[str, object], code: str
) -> None:
    usual = {"context": "", "first_message": "", "response_shape": "", "instructions": ""}

    response = await service.post("/agents/create-agent", json=usual | change)

    assert (response.status_code, response.json()["code"]) == (422, code)
    assert (await service.get("/agents/get-agents")).json() == []


async def test_a_summary_has_the_keys_of_the_shape_beside_its_own(
    summed: httpx2.AsyncClient, summing: Summing
) -> None:
    response = await summed.post("/agents/summarize-conversation", json={"conversation_id": "dinner"})

    assert response.status_code == 200
    assert response.json() == {"summary": "They cook.", "dish": "Paella", "conversation_id": "dinner"}
    assert summing.asked == [(DEFAULT_TENANT, "dinner")]


async def test_no_key_of_a_shape_takes_the_conversations_place(
    summed: httpx2.AsyncClient, summing: Summing
) -> None:
    summing.summary = {"summary": "They cook.", "conversation_id": "of the model's making"}

    response = await summed.post("/agents/summarize-conversation", json={"conversation_id": "dinner"})

    assert response.json()["conversation_id"] == "dinner"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("there is no such conversation"), 404),
        (ModelBusy(), 502),
        (ModelTimeout(), 504),
        (ShapeMismatch(), 502),
    ],
    ids=lambda value: value.code if isinstance(value, TertuliaError) else str(value),
)
async def test_a_summary_that_fails_is_told_as_a_chats_failure_is(
    summed: httpx2.AsyncClient, summing: Summing, error: TertuliaError, status: int
) -> None:
    summing.summary = error

    response = await summed.post("/agents/summarize-conversation", json={"conversation_id": "dinner"})

    assert (response.status_code, response.json()["code"]) == (status, error.code)
    assert "run_id" not in response.json()


@pytest.mark.parametrize("body", [{}, {"conversation_id": ""}, {"conversation_id": "\x00"}, {"id": "dinner"}])
async def test_a_summary_needs_a_conversation(
    summed: httpx2.AsyncClient, summing: Summing, body: dict[str, str]
) -> None:
    response = await summed.post("/agents/summarize-conversation", json=body)

    assert response.status_code == 422
    assert summing.asked == []
