"""Uses of tools are approved over HTTP, each once, and who stands in line behind one is not kept waiting."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from tertulia.app import App
from tertulia.engine import Decision, journal
from tertulia.parts import ToolCall
from tertulia.server.waiting import finished
from tertulia.testing import builders
from tertulia.testing.fake_openai import FakeOpenAI
from tests.server import shop
from tests.server.conftest import Open
from tests.server.doing import a_conversation, begin, messages, say, until


@pytest.fixture
async def service(open_service: Open, monkeypatch: pytest.MonkeyPatch) -> httpx2.AsyncClient:
    """A client of a service that has a shop's tools."""
    monkeypatch.setattr(shop, "ORDERS", [])
    monkeypatch.setattr("tertulia.server.waiting.LOOK_SECONDS", 0.01)
    return await open_service(tools="tests.server.shop:order")


def call(fruit: str) -> ToolCall:
    return ToolCall(id=f"call_{fruit}", name="order", arguments=json.dumps({"fruit": fruit}))


async def an_order(service: httpx2.AsyncClient, model: FakeOpenAI, *fruits: str) -> dict[str, Any]:
    """Have an agent want to order these, all in one answer; return the run, which waits."""
    conversation = await a_conversation(service, tools=["order"])
    model.script([[call(fruit) for fruit in fruits], "All done."])
    response = await begin(service, conversation, "Order, please.")
    assert (response.status_code, response.json()["code"]) == (409, "needs_attention"), response.text
    [run] = (await service.get("/v1/runs", params={"status": "waiting"})).json()["data"]
    assert run["id"] == response.json()["run_id"]
    return dict(run)


async def decide(
    service: httpx2.AsyncClient, run: dict[str, Any], *, key: str | None = None, **body: object
) -> httpx2.Response:
    headers = {"Idempotency-Key": key} if key else {}
    sent = {"verdict": "approve", "path": run["wait"]["path"], **body}
    return await service.post(f"/v1/runs/{run['id']}/decide", json=sent, headers=headers)


async def standing(service: httpx2.AsyncClient, run: dict[str, Any], *status: str) -> dict[str, Any]:
    """Return a run once it has come to stand so, or waits for another decision."""
    while True:
        now: dict[str, Any] = (await service.get(f"/v1/runs/{run['id']}")).json()
        if now["status"] in status and (now["wait"] or {}).get("path") != run["wait"]["path"]:
            return now
        await asyncio.sleep(0)


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_decision_that_is_sent_again_approves_nothing_else(
    service: httpx2.AsyncClient, model: FakeOpenAI, key: str | None
) -> None:
    run = await an_order(service, model, "apples", "pears")
    first = await decide(service, run, key=key)
    second = await standing(service, run, "waiting")

    again = await decide(service, run, key=key)

    assert (first.status_code, again.status_code) == (200, 200), again.text
    assert again.json()["wait"] == second["wait"]
    assert (await service.get(f"/v1/runs/{run['id']}")).json()["wait"] == second["wait"]
    assert shop.ORDERS == []


async def test_with_a_key_the_same_decision_is_answered_once_the_run_has_ended_too(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    run = await an_order(service, model, "apples")
    await decide(service, run, key="k")
    ended = await standing(service, run, "completed")

    again = await decide(service, run, key="k")
    other = await decide(service, run, key="k", verdict="deny")

    assert again.status_code == 200, again.text
    assert (again.json()["id"], again.json()["status"]) == (ended["id"], "completed")
    assert (other.status_code, other.json()["code"]) == (409, "not_waiting")
    assert shop.ORDERS == ["apples"]


async def test_a_decision_about_something_else_is_refused(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    run = await an_order(service, model, "apples")

    response = await decide(service, run, path="turn/9/tool/9/9/approval")

    assert (response.status_code, response.json()["code"]) == (409, "not_waiting")
    assert (await service.get(f"/v1/runs/{run['id']}")).json()["status"] == "waiting"


@pytest.mark.parametrize(
    ("body", "key"),
    [({"path": None}, "k"), ({}, ""), ({}, "k" * 256), ({"path": ""}, None), ({"path": "x" * 501}, None)],
)
async def test_a_decision_that_cannot_be_known_again_is_refused(
    service: httpx2.AsyncClient, model: FakeOpenAI, body: dict[str, object], key: str | None
) -> None:
    run = await an_order(service, model, "apples")
    headers = {} if key is None else {"Idempotency-Key": key}
    sent = {"verdict": "approve", "path": run["wait"]["path"], **body}

    response = await service.post(f"/v1/runs/{run['id']}/decide", json=sent, headers=headers)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_input")
    assert (await service.get(f"/v1/runs/{run['id']}")).json()["status"] == "waiting"


async def test_what_was_approved_is_done_once_and_answered(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    run = await an_order(service, model, "apples")

    await decide(service, run)
    ended = await standing(service, run, "completed")

    assert ended["usage"]["tool_calls"] == 1
    assert shop.ORDERS == ["apples"]
    assert (await messages(service, run["conversation_id"]))[0]["agent_message"] == "All done."


@pytest.mark.parametrize("send", [say, begin])
async def test_who_speaks_behind_a_run_that_waits_is_told_so_at_once(
    service: httpx2.AsyncClient, model: FakeOpenAI, send: Any
) -> None:
    run = await an_order(service, model, "apples")

    response = await send(service, run["conversation_id"], "Hello?", key="k")

    problem = response.json()
    assert (response.status_code, problem["code"]) == (409, "needs_attention")
    assert problem["waiting_run_id"] == run["id"] != problem["run_id"]
    assert run["wait"]["message"] in problem["detail"]
    assert f"POST /v1/runs/{run['id']}/decide" in problem["detail"]
    assert "The message is kept" in problem["detail"]
    assert response.headers["x-should-retry"] == "false"
    model.script(["Here I am."])
    await decide(service, run)
    again = await send(service, run["conversation_id"], "Hello?", key="k")
    assert again.status_code == 200, again.text


async def test_who_stands_in_line_is_told_when_the_run_before_begins_to_wait(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    conversation = await a_conversation(service, tools=["order"])
    model.latency = 0.2
    model.script([call("apples"), "All done."])
    first = asyncio.create_task(begin(service, conversation, "Order, please."))
    await until(lambda: model.open == 1)

    second = await begin(service, conversation, "Hello?")

    run_id = (await first).json()["run_id"]
    assert (second.status_code, second.json()["code"]) == (409, "needs_attention")
    assert second.json()["waiting_run_id"] == run_id


async def test_who_stands_in_line_behind_one_that_works_is_answered(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    conversation = await a_conversation(service)
    model.latency = 0.05
    model.script(["one", "two", "three"])

    asked = [asyncio.create_task(say(service, conversation, text)) for text in ("a", "b", "c")]

    assert sorted([(await each).json()["response"] for each in asked]) == ["one", "three", "two"]


async def test_a_failure_is_told_to_who_stood_in_line(service: httpx2.AsyncClient, model: FakeOpenAI) -> None:
    conversation = await a_conversation(service)
    model.latency = 0.1
    first = asyncio.create_task(say(service, conversation, "a"))
    await until(lambda: model.open == 1)
    model.fault("429", retry_after=1000, times=1)

    second = await say(service, conversation, "b")

    assert (await first).status_code == 200
    assert (second.status_code, second.json()["code"]) == (502, "model_busy")


@pytest.mark.parametrize("key", [None, "k"])
async def test_with_a_key_nothing_is_decided_about_the_same_place_once_more(
    served: httpx2.AsyncClient, app: App, key: str | None
) -> None:
    """It was decided to try again, which ended its process too: only a person knows which time is meant."""
    path = "turn/1/tool/1/1"
    wait = replace(builders.a_wait(path=path), kind="unknown_outcome")
    before = journal.decided(wait, Decision(verdict="retry"), steps=(), epoch=0)
    claim = await builders.a_waiting_run(
        app.store,
        builders.a_submission(await builders.a_conversation(app.store), performer="elsewhere"),
        wait=wait,
        steps=(before,),
        claimant=builders.a_claimant(performers=("elsewhere",)),
    )
    run = {"id": claim.run.id, "wait": {"path": path}}

    response = await decide(served, run, key=key, verdict="retry")

    if key is None:
        assert (response.status_code, response.json()["status"]) == (200, "running"), response.text
    else:
        assert (response.status_code, response.json()["code"]) == (409, "not_waiting")
        assert "without an Idempotency-Key" in response.json()["detail"]


async def test_who_stands_in_line_is_sent_away_when_the_server_has_to_stop(
    served: httpx2.AsyncClient, app: App, model: FakeOpenAI
) -> None:
    conversation = await a_conversation(served)
    model.fault("hang")
    await begin(served, conversation, "one", background=True)
    await until(lambda: model.open == 1)
    ticket = await app.runtime.submit("two", conversation=conversation)
    waiting = asyncio.create_task(finished(ticket, app.store))
    await asyncio.wait({waiting}, timeout=0.05)

    waiting.cancel()

    assert await waiting is None
    assert not waiting.cancelling()
