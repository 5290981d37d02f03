"""Runs are begun, waited for, followed, stopped, repeated and decided about."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from typing_extensions import override

from tertulia.app import App
from tertulia.conversations import Accepted, Claimant, Commit, Run, Submission, Wait, WaitKind
from tertulia.engine.journal import VERDICTS
from tertulia.errors import OutcomeUnknown, StoreUnavailable
from tertulia.events import TextDelta
from tertulia.runtime import RunOptions
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.in_memory.runs import InMemoryRuns
from tertulia.testing import builders
from tertulia.testing.fake_openai import FakeOpenAI
from tests.server.doing import a_conversation, an_agent, begin, described, log_of, said, told, until

NOBODY = "run_" + "0" * 32


async def ended(service: httpx2.AsyncClient, run_id: str) -> dict[str, Any]:
    """Return a run once it has ended, however that came."""
    events = await service.get(f"/v1/runs/{run_id}/events")
    assert told(events.text)[-1].kind == "run.finished"
    run: dict[str, Any] = (await service.get(f"/v1/runs/{run_id}")).json()
    return run


async def a_waiting_run(app: App, *, kind: WaitKind = "approval") -> str:
    """Have a run wait that this server could not carry out, so that nothing moves by itself."""
    conversation = await builders.a_conversation(app.store)
    wait = Wait(kind=kind, path="turn/1/tool/mail", message="Was the mail sent?", until=builders.LATER_US)
    claim = await builders.a_waiting_run(
        app.store,
        builders.a_submission(conversation, performer="elsewhere"),
        wait=wait,
        claimant=builders.a_claimant(performers=("elsewhere",)),
    )
    return claim.run.id


async def test_a_run_comes_back_with_what_was_said_in_it(service: httpx2.AsyncClient) -> None:
    conversation = await a_conversation(service)

    response = await begin(service, conversation, "hello [[", metadata={"from": "a test"})

    run = response.json()
    assert response.status_code == 200, response.text
    assert (run["object"], run["status"], run["n"]) == ("run", "completed", 1)
    assert run["input"]["number"] == 1
    assert run["metadata"] == {"from": "a test"}
    assert run["usage"]["model_calls"] == 1
    assert run["error"] is run["wait"] is run["stop"] is None
    assert run["created_at"] <= run["started_at"] <= run["ended_at"]
    assert said(run["messages"])[0].startswith("m=1 ")
    assert (await service.get(f"/v1/runs/{run['id']}")).json() == run
    assert set(run) == await described(service, "SpokenRun")
    assert set(run["usage"]) == await described(service, "Usage")


async def test_a_run_can_begin_a_conversation(service: httpx2.AsyncClient) -> None:
    agent = await an_agent(service, name="chef")

    response = await service.post("/v1/runs", json={"agent_id": "chef", "message": "hi"})

    conversation = await service.get(f"/v1/conversations/{response.json()['conversation_id']}")
    assert conversation.json()["agent_id"] == agent["id"]


async def test_a_run_in_the_background_is_answered_at_once(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    conversation = await a_conversation(service)
    model.latency = 0.1

    response = await begin(service, conversation, "hi", background=True)

    run = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == f"/v1/runs/{run['id']}"
    assert run["status"] in {"queued", "running"}
    assert (await ended(service, run["id"]))["status"] == "completed"


async def test_a_stream_tells_the_run_from_its_first_event_to_its_last(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    conversation = await a_conversation(service)
    model.script(["Paella, then figs."])

    response = await begin(service, conversation, "hi", stream=True)

    events = told(response.text)
    texts = [event.data["text"] for event in events if event.kind == "text.delta"]
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-accel-buffering"] == "no"
    assert [event.id for event in events] == list(range(len(events)))
    assert (events[0].kind, events[-1].kind) == ("run.started", "run.finished")
    assert all(event.kind == event.data["type"] for event in events)
    assert "".join(texts) == "Paella, then figs."
    assert said(events[-1].data["messages"]) == ["Paella, then figs."]
    assert events[-1].data["messages"] == await log_of(service, conversation, after=1)


async def test_a_failed_run_tells_its_problem_in_every_way(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    conversation = await a_conversation(service)
    model.fault("429", retry_after=1000, times=3)

    plain = await begin(service, conversation, "hi")
    stream = await begin(service, conversation, "hi", stream=True)
    later = await begin(service, conversation, "hi", background=True)

    assert plain.status_code == 503
    assert plain.headers["x-should-retry"] == "false"
    assert (plain.json()["code"], plain.json()["run_id"][:4]) == ("model_busy", "run_")
    assert told(stream.text)[-1].data["status"] == "failed"
    assert told(stream.text)[-1].data["error"]["code"] == "model_busy"
    run = await ended(service, later.json()["id"])
    assert (run["status"], run["error"]["code"], run["error"]["status"]) == ("failed", "model_busy", 503)
    assert f"/v1/runs/{run['id']}/retry" in run["error"]["detail"]


async def test_events_can_be_resumed_anywhere(service: httpx2.AsyncClient) -> None:
    conversation = await a_conversation(service)
    whole = told((await begin(service, conversation, "hi", stream=True)).text)
    path = f"/v1/runs/{whole[-1].data['id']}/events"

    by_query = await service.get(path, params={"starting_after": 0})
    by_header = await service.get(path, params={"starting_after": 0}, headers={"Last-Event-ID": "1"})
    again = await service.get(path)

    assert told(again.text) == whole
    assert told(by_query.text) == whole[1:]
    assert told(by_header.text) == whole[2:]


@pytest.mark.parametrize("after", ["many", "-1", "9" * 19])
async def test_a_place_that_is_no_number_is_422(service: httpx2.AsyncClient, after: str) -> None:
    response = await service.get(f"/v1/runs/{NOBODY}/events", params={"starting_after": after})

    assert response.status_code == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/events"),
        ("GET", "/steps"),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("POST", "/decide"),
    ],
)
@pytest.mark.parametrize("run_id", [NOBODY, "run_1", "%00", "é"])
async def test_an_unknown_run_is_404(
    service: httpx2.AsyncClient, method: str, path: str, run_id: str
) -> None:
    response = await service.request(
        method, f"/v1/runs/{run_id}{path}", json={"verdict": "fail"} if path == "/decide" else None
    )

    assert (response.status_code, response.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "body",
    [
        {"message": "hi"},
        {"message": "hi", "conversation_id": "c", "agent_id": "a"},
        {"message": "hi", "agent_id": "a", "edit": 1},
        {"message": "", "conversation_id": "c"},
        {"message": "hi", "conversation_id": "c", "edit": 0},
        {"message": "hi", "conversation_id": "c", "multitask_strategy": "shout"},
        {"message": "hi", "conversation_id": "c", "metadata": {"a": 1}},
        {"message": "hi", "conversation_id": "c", "metadata": {"a": "\x00"}},
        {"message": "hi", "conversation_id": "c", "metadata": {str(n): "" for n in range(17)}},
        {"message": "hi", "conversation_id": "c", "surprise": 1},
    ],
)
async def test_a_run_that_cannot_be_is_refused(service: httpx2.AsyncClient, body: dict[str, object]) -> None:
    response = await service.post("/v1/runs", json=body)

    assert response.status_code == 422


@pytest.mark.parametrize("path", ["/v1/runs", "/agents/chat-agent"])
async def test_a_request_may_set_itself_limits(
    service: httpx2.AsyncClient, model: FakeOpenAI, path: str
) -> None:
    conversation = await a_conversation(service, response_shape={"dish": "a text"}, limits={"max_steps": 9})
    model.script(["no JSON", {"dish": "Paella"}])

    body = {"conversation_id": conversation, "message": "hi", "limits": {"max_steps": 1}}
    response = await service.post(path, json=body)

    assert (response.status_code, response.json()["code"]) == (429, "budget_exceeded"), response.text
    run = (await service.get(f"/v1/runs/{response.json()['run_id']}")).json()
    assert run["limits"] == {"max_steps": 1}
    assert len(model.requests) == 1


@pytest.mark.parametrize("limits", [{"max_steps": 0}, {"max_patience": 1}, {"max_cost": "1"}, []])
@pytest.mark.parametrize("path", ["/v1/runs", "/agents/chat-agent"])
async def test_limits_that_cannot_be_are_refused(
    service: httpx2.AsyncClient, path: str, limits: object
) -> None:
    body = {"conversation_id": await a_conversation(service), "message": "hi", "limits": limits}

    assert (await service.post(path, json=body)).status_code == 422


async def test_another_limit_under_the_same_key_is_another_request(service: httpx2.AsyncClient) -> None:
    conversation = await a_conversation(service)
    first = await begin(service, conversation, "hi", key="k", limits={"max_steps": 5})

    again = await begin(service, conversation, "hi", key="k", limits={"max_steps": 5})
    other = await begin(service, conversation, "hi", key="k", limits={"max_steps": 6})

    assert again.json()["id"] == first.json()["id"]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


async def test_the_same_key_again_is_one_run_however_the_answer_comes(service: httpx2.AsyncClient) -> None:
    conversation = await a_conversation(service)

    first = await begin(service, conversation, "hi", key="k")
    again = await begin(service, conversation, "hi", key="k", background=True)
    stream = await begin(service, conversation, "hi", key="k", stream=True)
    other = await begin(service, conversation, "ho", key="k")

    assert again.json()["id"] == first.json()["id"]
    assert told(stream.text)[-1].data["id"] == first.json()["id"]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert len(await log_of(service, conversation)) == 2


async def test_the_same_key_with_another_edit_is_another_request(service: httpx2.AsyncClient) -> None:
    conversation = await a_conversation(service)
    for text in "first", "second":
        await begin(service, conversation, text)

    first = await begin(service, conversation, "changed", key="k", edit=3)
    again = await begin(service, conversation, "changed", key="k", edit=3)
    other = await begin(service, conversation, "changed", key="k", edit=1)

    assert again.json()["id"] == first.json()["id"]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


async def test_an_edited_message_is_said_in_a_branch(service: httpx2.AsyncClient, model: FakeOpenAI) -> None:
    conversation = await a_conversation(service)
    model.script(["one", "two", "other"])
    for text in "first", "second":
        await begin(service, conversation, text)

    response = await begin(service, conversation, "changed", edit=3)

    run = response.json()
    branch = (await service.get(f"/v1/conversations/{run['conversation_id']}")).json()
    assert response.status_code == 200, response.text
    assert (branch["parent_id"], branch["base"], branch["head"]) == (conversation, 2, 4)
    assert said(await log_of(service, branch["id"])) == ["first", "one", "changed", "other"]
    assert said(await log_of(service, conversation)) == ["first", "one", "second", "two"]


async def test_the_first_message_can_be_edited_too(service: httpx2.AsyncClient, model: FakeOpenAI) -> None:
    conversation = await a_conversation(service)
    await begin(service, conversation, "first")
    model.script(["other"])

    run = (await begin(service, conversation, "changed", edit=1)).json()

    assert said(await log_of(service, run["conversation_id"])) == ["changed", "other"]


@pytest.mark.parametrize(
    ("field", "header"),
    [
        ({"expected_head": 2}, {}),
        ({"multitask_strategy": "interrupt"}, {}),
        ({"multitask_strategy": "reject"}, {}),
        ({}, {"X-Expected-Head": "2"}),
        ({}, {"X-Multitask-Strategy": "rollback"}),
    ],
)
async def test_an_edit_takes_no_word_on_what_is_under_way(
    service: httpx2.AsyncClient, field: dict[str, object], header: dict[str, str]
) -> None:
    conversation = await a_conversation(service)
    await begin(service, conversation, "first")
    body = {"conversation_id": conversation, "message": "changed", "edit": 1, **field}

    response = await service.post("/v1/runs", json=body, headers=header)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_input")
    for name in "expected_head", "multitask_strategy":
        assert name in response.json()["detail"]
    assert (await begin(service, conversation, "changed", edit=1, multitask_strategy="enqueue")).is_success


@pytest.mark.parametrize(("number", "status"), [(2, 422), (3, 404)])
async def test_only_what_the_user_said_can_be_edited(
    service: httpx2.AsyncClient, number: int, status: int
) -> None:
    conversation = await a_conversation(service)
    await begin(service, conversation, "first")

    response = await begin(service, conversation, "changed", edit=number)

    assert response.status_code == status
    assert str(number) in response.json()["detail"]


async def test_a_run_is_cancelled_for_good(service: httpx2.AsyncClient, model: FakeOpenAI) -> None:
    conversation = await a_conversation(service)
    model.fault("hang")
    asking = asyncio.create_task(begin(service, conversation, "hi"))
    await until(lambda: model.open == 1)
    run_id = (await service.get(f"/v1/conversations/{conversation}")).json()["run"]["id"]

    cancelled = await service.post(f"/v1/runs/{run_id}/cancel")
    again = await service.post(f"/v1/runs/{run_id}/cancel", json={"keep_partial": True})

    answer = await asking
    assert (cancelled.status_code, again.status_code) == (200, 200)
    assert cancelled.json()["status"] == "cancelled"
    assert again.json() == cancelled.json()
    assert (answer.status_code, answer.json()["code"]) == (409, "run_cancelled")
    assert answer.json()["run_id"] == run_id
    assert said(await log_of(service, conversation)) == ["hi"]


@pytest.mark.parametrize("keep_partial", [True, False])
async def test_what_a_cancelled_run_has_said_so_far_is_kept_if_that_is_wanted(
    served: httpx2.AsyncClient, app: App, model: FakeOpenAI, keep_partial: bool
) -> None:
    conversation = await a_conversation(served)
    model.script(["Paella, then figs, then coffee."])
    model.tps = 20
    asking = asyncio.create_task(begin(served, conversation, "hi", stream=True))
    await until(lambda: model.open == 1)
    run_id = (await served.get(f"/v1/conversations/{conversation}")).json()["run"]["id"]
    async for numbered in await app.runtime.follow(run_id):
        if isinstance(numbered.event, TextDelta):
            break

    cancelled = await served.post(f"/v1/runs/{run_id}/cancel", json={"keep_partial": keep_partial})

    events = told((await asking).text)
    log = await log_of(served, conversation)
    assert cancelled.json()["status"] == events[-1].data["status"] == "cancelled"
    assert [message["incomplete"] for message in log] == [False, True][: 1 + keep_partial]
    assert events[-1].data["messages"] == log[1:]
    assert "Paella, then figs, then coffee.".startswith(said(log)[-1]) is keep_partial


async def test_what_waits_in_line_is_cancelled_without_a_trace_in_the_log(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    conversation = await a_conversation(service)
    model.fault("hang", times=1)
    first = (await begin(service, conversation, "one", background=True)).json()
    await until(lambda: model.open == 1)
    second = (await begin(service, conversation, "two", background=True)).json()

    cancelled = (await service.post(f"/v1/runs/{second['id']}/cancel")).json()
    await service.post(f"/v1/runs/{first['id']}/cancel")

    assert (cancelled["status"], cancelled["error"]["code"]) == ("cancelled", "run_cancelled")
    assert said(await log_of(service, conversation)) == ["one"]


@pytest.mark.parametrize("by", ["body", "header"])
@pytest.mark.parametrize(("strategy", "withdrawn"), [("interrupt", False), ("rollback", True)])
async def test_a_message_can_stop_what_is_being_answered(
    service: httpx2.AsyncClient, model: FakeOpenAI, by: str, strategy: str, withdrawn: bool
) -> None:
    conversation = await a_conversation(service)
    model.fault("hang", times=1)
    first = (await begin(service, conversation, "one [[", background=True)).json()
    await until(lambda: model.open == 1)

    body: dict[str, Any] = {"conversation_id": conversation, "message": "two [["}
    headers = {"X-Multitask-Strategy": strategy} if by == "header" else {}
    if by == "body":
        body["multitask_strategy"] = strategy
    answer = await service.post("/agents/chat-agent", json=body, headers=headers)

    log = await log_of(service, conversation)
    assert answer.status_code == 200, answer.text
    assert answer.json()["response"].startswith("m=1 " if withdrawn else "m=2 ")
    assert [message["withdrawn"] for message in log] == [withdrawn, False, False]
    assert (await ended(service, first["id"]))["status"] == "cancelled"


async def test_a_failed_run_is_repeated_in_its_place(service: httpx2.AsyncClient, model: FakeOpenAI) -> None:
    conversation = await a_conversation(service)
    model.fault("429", retry_after=1000, times=1)
    failed = (await begin(service, conversation, "hi")).json()["run_id"]
    path, key = f"/v1/runs/{failed}/retry", {"Idempotency-Key": "k"}

    first = await service.post(path, headers=key)
    again = await service.post(path, headers=key, json={"stream": True})
    late = await service.post(path)

    assert first.status_code == 200, first.text
    assert first.json()["status"] == "completed"
    assert told(again.text)[-1].data["id"] == first.json()["id"]
    assert (late.status_code, late.json()["code"]) == (409, "conversation_moved_on")
    assert len(await log_of(service, conversation)) == 2


async def test_a_retry_can_be_waited_for_elsewhere(service: httpx2.AsyncClient, model: FakeOpenAI) -> None:
    conversation = await a_conversation(service)
    model.fault("429", retry_after=1000, times=1)
    failed = (await begin(service, conversation, "hi")).json()["run_id"]

    response = await service.post(f"/v1/runs/{failed}/retry", json={"background": True})

    assert response.status_code == 202
    assert (await ended(service, response.json()["id"]))["status"] == "completed"


@pytest.mark.parametrize("limit", [1, 2, 7])
async def test_runs_are_listed_in_order_of_acceptance(service: httpx2.AsyncClient, limit: int) -> None:
    conversation = await a_conversation(service)
    made = [(await begin(service, conversation, str(n))).json()["id"] for n in range(4)]

    found: list[str] = []
    query: dict[str, Any] = {"conversation_id": conversation, "limit": limit}
    while True:
        page = await service.get("/v1/runs", params=query)
        found += [run["id"] for run in page.json()["data"]]
        if not page.json()["has_more"]:
            break
        assert page.json()["cursor"] in page.links["next"]["url"]
        query["after"] = page.json()["cursor"]

    assert found == made
    assert page.json()["object"] == "list"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({}, 422),
        ({"conversation_id": "x", "status": "waiting"}, 422),
        ({"status": "running"}, 422),
        ({"status": "waiting", "after": "7"}, 422),
        ({"status": "waiting", "limit": 0}, 422),
        ({"conversation_id": "nowhere"}, 404),
    ],
)
async def test_a_list_of_runs_that_cannot_be_is_refused(
    service: httpx2.AsyncClient, query: dict[str, Any], status: int
) -> None:
    assert (await service.get("/v1/runs", params=query)).status_code == status


async def test_a_run_that_waits_is_found_with_what_can_be_decided(
    served: httpx2.AsyncClient, app: App
) -> None:
    run_id = await a_waiting_run(app, kind="unknown_outcome")

    listed = (await served.get("/v1/runs", params={"status": "waiting"})).json()["data"]

    run = (await served.get(f"/v1/runs/{run_id}")).json()
    conversation = (await served.get(f"/v1/conversations/{run['conversation_id']}")).json()
    assert [one["id"] for one in listed] == [run_id]
    assert set(listed[0]) == await described(served, "Run")
    assert conversation["run"] == listed[0]
    assert run["status"] == "waiting"
    assert run["wait"] == {
        "kind": "unknown_outcome",
        "path": "turn/1/tool/mail",
        "message": "Was the mail sent?",
        "subject": None,
        "until": run["wait"]["until"],
        "verdicts": ["retry", "done", "fail"],
    }


@pytest.mark.parametrize("kind", ["needs_attention", "unknown_outcome"])
async def test_who_waits_for_a_run_that_waits_is_told_to_decide(
    served: httpx2.AsyncClient, app: App, kind: WaitKind
) -> None:
    conversation = await a_conversation(served)
    options = RunOptions(idempotency_key="k")
    await app.runtime.submit("hi", conversation=conversation, performer="elsewhere", options=options)
    [claim] = await app.store.runs.claim(builders.a_claimant(performers=("elsewhere",)), limit=1)
    wait = Wait(kind=kind, path="turn/1/tool/mail", message="Was it sent?", until=builders.LATER_US)
    await app.store.runs.commit(claim.lease, Commit(wait=wait), None)

    answer = await begin(served, conversation, "hi", key="k")

    assert (answer.status_code, answer.json()["code"]) == (409, kind)
    assert answer.json()["run_id"] == claim.run.id
    assert f"POST /v1/runs/{claim.run.id}/decide" in answer.json()["detail"]
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("kind", [kind for kind in VERDICTS if kind != "turn"])
async def test_a_decision_lets_a_run_go_on_once(served: httpx2.AsyncClient, app: App, kind: WaitKind) -> None:
    path = f"/v1/runs/{await a_waiting_run(app, kind=kind)}"

    place = (await served.get(path)).json()["wait"]["path"]
    unknown = await served.post(f"{path}/decide", json={"verdict": "perhaps", "path": place})
    decided = await served.post(f"{path}/decide", json={"verdict": VERDICTS[kind][0], "path": place})
    again = await served.post(f"{path}/decide", json={"verdict": VERDICTS[kind][0], "path": place})
    otherwise = {"verdict": VERDICTS[kind][-1], "value": "otherwise", "path": place}
    late = await served.post(f"{path}/decide", json=otherwise)

    assert again.status_code == 200, again.text
    assert (unknown.status_code, unknown.json()["code"]) == (422, "invalid_input")
    assert (decided.status_code, decided.json()["status"]) == (200, "running"), decided.text
    assert (late.status_code, late.json()["code"]) == (409, "not_waiting")
    assert "GET /v1/runs/" in late.json()["detail"]


async def test_an_approval_says_what_it_is_about(served: httpx2.AsyncClient, app: App) -> None:
    path = f"/v1/runs/{await a_waiting_run(app, kind='approval')}"

    refused = await served.post(f"{path}/decide", json={"verdict": "approve"})

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert "path" in refused.json()["detail"]
    assert (await served.get(path)).json()["status"] == "waiting"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ('"\\u0000"', "NUL"),
        ('{"a": [{"\\u0000": 1}]}', "NUL"),
        (json.dumps("x" * 65_535), "65536 bytes"),
        ("[" + "1," * 40_000 + "1]", "65536 bytes"),
        ("1" + 40 * "0", "64 bits"),
        ('"\\ud83d"', "surrogate"),
    ],
)
async def test_a_value_that_cannot_be_kept_is_refused_and_nothing_is_decided(
    served: httpx2.AsyncClient, app: App, value: str, why: str
) -> None:
    run_id = await a_waiting_run(app, kind="unknown_outcome")

    response = await served.post(
        f"/v1/runs/{run_id}/decide",
        content=f'{{"verdict": "done", "value": {value}}}',
        headers={"content-type": "application/json"},
    )

    assert (response.status_code, response.json()["code"]) == (422, "invalid_input")
    assert why in response.json()["detail"]
    assert (await served.get(f"/v1/runs/{run_id}")).json()["status"] == "waiting"


async def test_a_value_may_be_large(served: httpx2.AsyncClient, app: App) -> None:
    run_id = await a_waiting_run(app, kind="unknown_outcome")
    body = {"verdict": "done", "value": {"text": "x" * 65_000, "backslash": "\\u0000"}}

    response = await served.post(f"/v1/runs/{run_id}/decide", json=body)

    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    "value",
    ["null", '"text"', "[1.5, {}]", "1e400", "NaN", "1" + 40 * "0", '"\\u0000"', '{"a": [' * 60 + "]}" * 60],
)
async def test_no_value_of_a_decision_breaks_anything(
    served: httpx2.AsyncClient, app: App, value: str
) -> None:
    run_id = await a_waiting_run(app, kind="unknown_outcome")

    response = await served.post(
        f"/v1/runs/{run_id}/decide",
        content=f'{{"verdict": "done", "value": {value}}}',
        headers={"content-type": "application/json"},
    )

    assert response.status_code in {200, 422}, response.text


async def test_the_steps_of_a_run_are_told(served: httpx2.AsyncClient, app: App) -> None:
    conversation = await builders.a_conversation(app.store)
    claim = await builders.a_waiting_run(
        app.store,
        builders.a_submission(conversation, performer="elsewhere"),
        steps=(builders.a_step(), builders.an_intent()),
        claimant=builders.a_claimant(performers=("elsewhere",)),
    )

    listed = (await served.get(f"/v1/runs/{claim.run.id}/steps")).json()

    model, tool = listed["data"]
    assert (model["path"], model["output"]) == ("turn/1/model/1", {"text": "an answer"})
    assert model["usage"]["model_calls"] == 1
    assert (tool["kind"], tool["output"], tool["ended_at"]) == ("tool", None, None)
    assert set(tool) == await described(served, "Step")
    assert listed["has_more"] is False


async def test_a_server_that_is_about_to_stop_takes_nothing_new(served: httpx2.AsyncClient, app: App) -> None:
    conversation = await a_conversation(served)
    run_id = await a_waiting_run(app)
    app.drain()

    asked = await begin(served, conversation, "hi", key="k")
    said_here = await served.post(
        "/agents/chat-agent", json={"conversation_id": conversation, "message": "hi"}
    )
    followed = await served.get(f"/v1/runs/{run_id}/events")
    ready = await served.get("/readyz")

    for refused in asked, said_here:
        assert (refused.status_code, refused.json()["code"]) == (503, "stopping")
        assert int(refused.headers["retry-after"]) >= 1
        assert "x-should-retry" not in refused.headers
    assert told(followed.text)[-1].kind == "stream.resume"
    assert ready.status_code == 503
    assert await log_of(served, conversation) == []


class Losing(InMemoryRuns):
    """A ledger that is lost while it takes requests in, and stays away."""

    @override
    async def accept(self, submission: Submission, claimant: Claimant | None) -> Accepted:
        raise OutcomeUnknown("The database was lost.")

    @override
    async def get(self, tenant: int, run_id: str) -> Run:
        raise StoreUnavailable("The database is away.")


async def test_who_may_have_been_taken_in_is_told_that_nobody_knows(
    served: httpx2.AsyncClient, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tertulia.engine.engine.SETTLING_SECONDS", 0.01)
    conversation = await a_conversation(served)
    assert isinstance(app.store, InMemoryStore)
    app.store._runs = Losing(app.store.runs._state)

    asked = await begin(served, conversation, "hi")
    said_here = await served.post(
        "/agents/chat-agent", json={"conversation_id": conversation, "message": "hi"}
    )
    looked = await served.get(f"/v1/runs/{NOBODY}")

    for response in asked, said_here:
        assert (response.status_code, response.json()["code"]) == (503, "outcome_unknown")
        assert response.headers["x-should-retry"] == "false"
        assert "look first" in response.json()["detail"]
    assert (looked.status_code, looked.json()["code"]) == (503, "store_unavailable")
    assert int(looked.headers["retry-after"]) >= 1
    assert "x-should-retry" not in looked.headers
