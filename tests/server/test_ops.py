"""What operators and browsers see of the service."""

import hashlib
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx2
import pytest

import tertulia.server
from tertulia.agent_settings import ModelSettings
from tertulia.app import App
from tertulia.engine import VERDICTS
from tertulia.server.factory import create_app
from tertulia.server.run_forms import Decide
from tertulia.settings import Settings
from tertulia.stores import Health
from tests.server.doing import an_agent

VENDOR = Path(tertulia.server.__file__).parent / "vendor"


@pytest.mark.parametrize(
    "path",
    ["/", "/livez", "/readyz", "/docs", "/docs/start.js", "/openapi.json", "/agents/", "/agents/get-agents"],
)
async def test_head_is_get_without_the_body(service: httpx2.AsyncClient, path: str) -> None:
    get, head = await service.get(path), await service.head(path)

    assert (get.status_code, head.status_code) == (200, 200)
    assert head.headers["content-length"] == str(len(get.content))
    assert get.content
    assert head.content == b""


async def test_head_is_refused_where_get_is(service: httpx2.AsyncClient) -> None:
    assert (await service.head("/agents/chat-agent")).status_code == 405


@pytest.mark.parametrize("path", ["/livez/", "/docs/", "/agents/get-agents/"])
async def test_a_slash_at_the_end_changes_nothing(service: httpx2.AsyncClient, path: str) -> None:
    assert (await service.get(path)).text == (await service.get(path.rstrip("/"))).text


async def test_it_is_not_ready_when_its_database_is_gone() -> None:
    app = App(Settings(database_url="memory://"))
    api = create_app(app)
    transport = httpx2.ASGITransport(api)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        app.health = gone  # type: ignore[method-assign]  # the one thing that is told to the route
        response = await client.get("/readyz")

    assert (response.status_code, response.json()["detail"]) == (503, "The database is gone.")


async def gone() -> Health:
    return Health(ready=False, detail="The database is gone.")


async def test_the_first_page_suits_who_asks(service: httpx2.AsyncClient) -> None:
    as_json = await service.get("/", headers={"accept": "application/json"})
    as_page = await service.get("/", headers={"accept": "text/html,*/*"})

    assert "message" in as_json.json()
    assert as_page.headers["content-type"].startswith("text/html")
    assert "http://localhost/agents/create-agent" in as_page.text
    assert as_page.headers["vary"] == "accept"


async def test_the_requests_on_the_first_page_work(service: httpx2.AsyncClient) -> None:
    page = (await service.get("/", headers={"accept": "text/html"})).text

    for path, body in re.findall(r"curl \S+(/agents/\S+) .*? -d '(.*?)'", page, re.DOTALL):
        response = await service.post(path, json=json.loads(body))
        assert response.status_code == 200, response.text


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_load_only_what_is_served_here(service: httpx2.AsyncClient, path: str) -> None:
    page = (await service.get(path, headers={"accept": "text/html"})).text

    for link in re.findall(r'(?:src|href)="([^"]+)"', page):
        if not link.startswith("data:"):
            assert "//" not in link
            assert (await service.get(f"/{link}")).status_code == 200
    assert not re.search(r"<script(?! src)|<style| style=| on\w+=", page)


def test_vendored_files_are_what_they_say() -> None:
    for package in json.loads((VENDOR / "VENDOR.json").read_text(encoding="utf-8")):
        for name, digest in package["sha256"].items():
            assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest


async def test_the_interface_is_described_as_it_is(service: httpx2.AsyncClient) -> None:
    described: dict[str, Any] = (await service.get("/openapi.json")).json()
    routes = {
        (path, method): route
        for path, methods in described["paths"].items()
        for method, route in methods.items()
    }

    chat = routes["/agents/chat-agent", "post"]
    assert set(routes) == {
        ("/", "get"),
        ("/livez", "get"),
        ("/readyz", "get"),
        ("/agents/", "get"),
        ("/agents/create-agent", "post"),
        ("/agents/get-agents", "get"),
        ("/agents/create-conversation", "post"),
        ("/agents/get-conversations", "get"),
        ("/agents/get-messages", "get"),
        ("/agents/chat-agent", "post"),
        ("/agents/summarize-conversation", "post"),
        ("/v1/agents/{agent_id}", "get"),
        ("/v1/agents/{agent_id}", "post"),
        ("/v1/knowledge/{collection}", "delete"),
        ("/v1/runs", "get"),
        ("/v1/runs", "post"),
        ("/v1/runs/{run_id}", "get"),
        ("/v1/runs/{run_id}/steps", "get"),
        ("/v1/runs/{run_id}/events", "get"),
        ("/v1/runs/{run_id}/cancel", "post"),
        ("/v1/runs/{run_id}/retry", "post"),
        ("/v1/runs/{run_id}/decide", "post"),
        ("/v1/conversations/{conversation_id}", "get"),
        ("/v1/conversations/{conversation_id}/messages", "get"),
        ("/v1/conversations/{conversation_id}/messages/{number}", "delete"),
        ("/v1/conversations/{conversation_id}/fork", "post"),
        ("/v1/conversations/{conversation_id}/withdraw", "post"),
        ("/v1/conversations/{conversation_id}/close", "post"),
        ("/v1/conversations/{conversation_id}/reopen", "post"),
        ("/v1/knowledge", "get"),
        ("/v1/knowledge/{collection}/documents", "get"),
        ("/v1/knowledge/{collection}/documents", "post"),
        ("/v1/knowledge/{collection}/documents/{document_id}", "get"),
        ("/v1/knowledge/{collection}/documents/{document_id}", "delete"),
        ("/v1/knowledge/{collection}/search", "post"),
        ("/v1/jobs", "get"),
        ("/v1/jobs/{job_id}", "get"),
        ("/v1/jobs/{job_id}/retry", "post"),
    }
    assert {parameter["name"] for parameter in chat["parameters"]} == {
        "Idempotency-Key",
        "X-Multitask-Strategy",
        "X-Expected-Head",
    }
    assert chat["requestBody"]["content"]["application/json"]["schema"]["required"] == ["message"]
    assert {"200", "404", "409", "422", "502", "504"} <= set(chat["responses"])
    assert all("operationId" in route for route in routes.values())


async def test_every_decision_there_is_has_its_example(service: httpx2.AsyncClient) -> None:
    described: dict[str, Any] = (await service.get("/openapi.json")).json()

    route = described["paths"]["/v1/runs/{run_id}/decide"]["post"]
    body = route["requestBody"]["content"]["application/json"]
    examples = {name: example["value"] for name, example in body["examples"].items()}
    told = {(name.partition(":")[0], value["verdict"]) for name, value in examples.items()}
    assert told == {(kind, verdict) for kind, verdicts in VERDICTS.items() for verdict in verdicts}
    assert all(Decide.model_validate(value) for value in examples.values())
    assert all(f"`{kind}`: " in body["schema"]["properties"]["verdict"]["description"] for kind in VERDICTS)


async def test_what_is_prefilled_to_be_tried_out_works(service: httpx2.AsyncClient) -> None:
    described = (await service.get("/openapi.json")).json()

    for path in ("/agents/create-agent", "/agents/create-conversation", "/agents/chat-agent", "/v1/runs"):
        form = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        response = await service.post(path, json=form["example"])
        assert response.status_code == 200, response.text


async def test_the_description_holds_together(service: httpx2.AsyncClient) -> None:
    text = (await service.get("/openapi.json")).text
    described = json.loads(text)

    schemas = described["components"]["schemas"]
    assert {name for name in re.findall(r'"#/components/schemas/(\w+)"', text)} == set(schemas)
    assert "$defs" not in text
    for methods in described["paths"].values():
        for route in methods.values():
            assert {"400", "405", "421", "500"} <= set(route["responses"])
            for status, response in route["responses"].items():
                if int(status) >= 400:
                    shape = response["content"]["application/problem+json"]["schema"]
                    assert shape == {"$ref": "#/components/schemas/Problem"}


async def test_the_described_settings_are_the_settings(service: httpx2.AsyncClient) -> None:
    paths = (await service.get("/openapi.json")).json()["paths"]
    form = paths["/agents/create-agent"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    described = form["properties"]["settings"]["anyOf"][0]

    assert set(described["properties"]) == {f.name for f in fields(ModelSettings)}
    for name, rule in described["properties"].items():
        kind = int if rule.get("type") == "integer" else float
        for bound in (kind(rule[end]) for end in ("minimum", "maximum") if end in rule):
            assert ModelSettings.parse({name: bound}).given() == {name: bound}
    for text in "x", "x" * described["properties"]["stop"]["anyOf"][0]["maxLength"]:
        assert ModelSettings.parse({"stop": text}).stop == (text,)


async def test_a_chat_is_described_with_one_of_its_addresses(service: httpx2.AsyncClient) -> None:
    paths = (await service.get("/openapi.json")).json()["paths"]

    form = paths["/agents/chat-agent"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert form["oneOf"] == [{"required": ["conversation_id"]}, {"required": ["agent_id"]}]


async def test_ready_is_as_described(service: httpx2.AsyncClient) -> None:
    described = (await service.get("/openapi.json")).json()["components"]["schemas"]["Ready"]

    assert set((await service.get("/readyz")).json()) == set(described["required"])


async def test_answers_are_as_described(service: httpx2.AsyncClient) -> None:
    described = (await service.get("/openapi.json")).json()["components"]["schemas"]["Agent"]

    agent = await an_agent(service)

    assert set(agent) == set(described["properties"]) == set(described["required"])
