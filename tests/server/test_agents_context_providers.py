"""Agents that are stored choose what they are told from beyond their conversations."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tertulia.app import App
from tertulia.errors import InvalidInput
from tertulia.memory.context import KnowledgeProvider
from tertulia.parts import ToolCall
from tertulia.settings import Settings
from tertulia.testing.fake_openai import FakeOpenAI
from tests.server.conftest import Open, an_app
from tests.server.doing import a_conversation, an_agent, say

HANDBOOK = {"type": "knowledge", "collection": "handbook", "top_k": 2}
FACTS = {"type": "user_facts", "max_facts": 10}
USUAL = {"context": "You are a clerk.", "first_message": "", "response_shape": "", "instructions": ""}


async def test_they_are_shown_as_they_were_chosen(service: httpx2.AsyncClient) -> None:
    made = await an_agent(service, name="clerk", context_providers=[HANDBOOK, FACTS])

    shown = (await service.get("/v1/agents/clerk")).json()

    assert made["context_providers"] == shown["context_providers"] == [HANDBOOK, FACTS]


async def test_an_agent_that_chooses_none_has_none(service: httpx2.AsyncClient) -> None:
    assert (await an_agent(service))["context_providers"] == []


async def test_a_change_sets_all_of_them_or_leaves_them_as_they_are(service: httpx2.AsyncClient) -> None:
    await an_agent(service, name="clerk", context_providers=[HANDBOOK])

    changes: list[dict[str, Any]] = [
        {"instructions": "Be brief."},
        {"context_providers": [FACTS]},
        {"context_providers": []},
    ]
    rows = [(await service.post("/v1/agents/clerk", json=body)).json() for body in changes]

    assert [row["context_providers"] for row in rows] == [[HANDBOOK], [FACTS], []]
    assert [row["version"] for row in rows] == [2, 3, 4]


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        (
            [{"type": "crystal ball"}],
            "no context provider 'crystal ball'; there are: database, knowledge, user",
        ),
        ([{"type": "x" * 1000}], f"no context provider '{'x' * 50}'; there are: "),
        ([{"collection": "handbook"}], 'an object with a "type"'),
        ([{"type": 3}], 'an object with a "type"'),
        (
            [{"type": "knowledge", "colection": "handbook"}],
            "knowledge has no 'colection'; there are: collection,",
        ),
        ([{"type": "knowledge", "top_k": "five"}], "top_k of knowledge must be of the kind int"),
        ([{"type": "knowledge", "top_k": 10**30}], "top_k is 1 to "),
        ([{"type": "user_facts", "max_facts": "many"}], "whole numbers"),
        (
            [{"type": "database", "name": "shop"}],
            "no database of this name can be read here; there are: none",
        ),
        ([FACTS, FACTS], "two context providers are named 'UserFacts'"),
    ],
)
@pytest.mark.parametrize("path", ["/agents/create-agent", "/v1/agents/clerk"])
async def test_what_cannot_be_is_refused_and_said_what_there_is(
    service: httpx2.AsyncClient, path: str, chosen: list[dict[str, Any]], told: str
) -> None:
    await an_agent(service, name="clerk")

    response = await service.post(path, json=USUAL | {"context_providers": chosen})

    assert (response.status_code, response.json()["code"]) == (422, "invalid_input")
    assert told in response.json()["detail"]
    assert (await service.get("/v1/agents/clerk")).json()["version"] == 1


@pytest.mark.parametrize("chosen", ["knowledge", ["knowledge"], [HANDBOOK] * 17, None])
async def test_what_is_no_list_of_them_is_refused_where_it_stands(
    service: httpx2.AsyncClient, chosen: object
) -> None:
    body = USUAL | {"context_providers": chosen}

    response = await service.post("/agents/create-agent", json=body)

    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"][:2] == ["body", "context_providers"]


async def test_documents_are_quoted_to_who_has_chosen_them(
    app: App, served: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    await KnowledgeProvider("handbook", store=app.store).add("The canteen opens at noon.", name="canteen.txt")
    knowing = await a_conversation(served, context_providers=[HANDBOOK])
    plain = await a_conversation(served)

    for conversation in (knowing, plain):
        await say(served, conversation, "When does the canteen open?")

    shown = ["opens at noon" in json.dumps(request) for request in model.requests]
    assert shown == [True, False]


def a_shop(folder: Path) -> Path:
    """Make a database that agents may read, and the file that says so."""
    with closing(sqlite3.connect(folder / "shop.db")) as raw, raw:
        raw.execute("CREATE TABLE orders (fruit TEXT, pieces INTEGER)")
        raw.execute("INSERT INTO orders VALUES ('figs', 12)")
    file = folder / "databases.json"
    shop = {"url": f"sqlite:///{folder / 'shop.db'}", "tables": ["orders"]}
    file.write_text(json.dumps({"databases": {"shop": shop}}))
    return file


async def test_a_database_of_the_installation_is_read(
    open_service: Open, model: FakeOpenAI, tmp_path: Path
) -> None:
    service = await open_service(databases_file=a_shop(tmp_path))
    conversation = await a_conversation(service, context_providers=[{"type": "database", "name": "shop"}])

    await say(service, conversation, "hello")
    [tool] = model.requests[-1]["tools"]
    arguments = json.dumps({"sql": "SELECT pieces FROM orders WHERE fruit = 'figs'"})
    model.script([ToolCall(id="call_1", name=tool["function"]["name"], arguments=arguments), "Twelve."])
    answer = await say(service, conversation, "How many figs?")

    assert answer.json()["response"] == "Twelve."
    assert '{"pieces":12}' in model.requests[-1]["messages"][-1]["content"]


async def test_a_file_of_databases_that_is_none_keeps_the_server_from_starting(tmp_path: Path) -> None:
    (tmp_path / "databases.json").write_text("[]")

    with pytest.raises(InvalidInput, match=r"databases\.json must hold"):
        an_app(databases_file=tmp_path / "databases.json")


def test_the_file_of_databases_is_a_setting() -> None:
    assert Settings.model_validate({"databases_file": "there.json"}).databases_file == Path("there.json")
