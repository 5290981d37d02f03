"""Conversations show what stands in them, branch off, and take back what was said."""

import asyncio
from typing import Any

import httpx2
import pytest

from tertulia.app import App
from tertulia.conversations import DEFAULT_TENANT, Commit
from tertulia.ids import RUN, new_id
from tertulia.testing import builders
from tertulia.testing.fake_openai import FakeOpenAI
from tests.server.doing import a_conversation, an_agent, begin, described, log_of, said, until


async def a_talk(service: httpx2.AsyncClient, model: FakeOpenAI) -> str:
    """Have two questions asked and answered."""
    conversation = await a_conversation(service)
    model.script(["one", "two"])
    for text in "first", "second":
        assert (await begin(service, conversation, text)).status_code == 200
    return conversation


async def shown_to(model: FakeOpenAI) -> list[str]:
    """Return what the model was shown last, after the opening."""
    messages: Any = model.requests[-1]["messages"]
    return [message["content"] for message in messages[2:]]


async def test_a_conversation_tells_where_it_stands(service: httpx2.AsyncClient, model: FakeOpenAI) -> None:
    agent = await an_agent(service)
    await service.post("/agents/create-conversation", json={"agent_id": agent["id"], "id": "dinner"})
    model.fault("hang", times=1)
    first = (await begin(service, "dinner", "one", background=True)).json()
    await until(lambda: model.open == 1)
    second = (await begin(service, "dinner", "two", background=True)).json()

    busy = (await service.get("/v1/conversations/dinner")).json()
    await service.post(f"/v1/runs/{first['id']}/cancel")
    await service.get(f"/v1/runs/{second['id']}/events")
    idle = (await service.get(f"/v1/conversations/{busy['id']}")).json()

    assert (busy["object"], busy["alias"], busy["agent_id"]) == ("conversation", "dinner", agent["id"])
    assert (busy["parent_id"], busy["base"], busy["head"]) == (None, 0, 1)
    assert (busy["run"]["id"], busy["run"]["status"]) == (first["id"], "running")
    assert [(message["number"], message["run_id"]) for message in busy["pending"]] == [(None, second["id"])]
    assert set(busy) == await described(service, "StandingConversation")
    assert set(busy["pending"][0]) == await described(service, "Message")
    assert (idle["run"], idle["pending"], idle["head"]) == (None, [], 3)


async def test_the_run_that_took_a_failed_ones_place_is_the_one_that_holds(
    served: httpx2.AsyncClient, app: App
) -> None:
    conversation = await builders.a_conversation(app.store)
    claimant = builders.a_claimant(performers=("elsewhere",))
    asked = builders.a_submission(conversation, performer="elsewhere")
    failed = await builders.a_claimed_run(app.store, asked, claimant=claimant)
    await app.store.runs.commit(failed.lease, Commit(ending=builders.FAILED), None)
    again = await app.store.runs.retry(DEFAULT_TENANT, failed.run.id, new_id(RUN), claimant)

    told = (await served.get(f"/v1/conversations/{conversation.id}")).json()

    assert told["run"]["id"] == again.run.id


async def test_a_branch_without_a_word_of_its_own_is_held_by_nothing(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    conversation = await a_talk(service, model)
    model.fault("hang", times=1)
    running = (await begin(service, conversation, "third", background=True)).json()
    await until(lambda: model.open == 1)

    branch = (await service.post(f"/v1/conversations/{conversation}/fork", json={})).json()
    told = (await service.get(f"/v1/conversations/{branch['id']}")).json()
    await service.post(f"/v1/runs/{running['id']}/cancel")

    assert (told["head"], told["base"], told["run"]) == (5, 5, None)


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 3, 4, 9])
async def test_messages_are_told_page_by_page(
    service: httpx2.AsyncClient, model: FakeOpenAI, order: str, limit: int
) -> None:
    conversation = await a_talk(service, model)

    found: list[dict[str, Any]] = []
    page = await service.get(
        f"/v1/conversations/{conversation}/messages", params={"order": order, "limit": limit}
    )
    while True:
        found += page.json()["data"]
        if not page.json()["has_more"]:
            break
        page = await service.get(page.links["next"]["url"])

    whole = ["first", "one", "second", "two"]
    assert said(found) == (whole if order == "asc" else whole[::-1])
    assert sorted(message["number"] for message in found) == [1, 2, 3, 4]


async def test_a_message_is_told_with_all_that_belongs_to_it(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    conversation = await a_talk(service, model)

    asked, answer = await log_of(service, conversation, limit=2)

    assert (asked["object"], asked["role"], asked["turn"]) == ("message", "user", 0)
    assert (answer["role"], answer["turn"], answer["number"]) == ("assistant", 1, 2)
    assert answer["content"] == [{"type": "text", "text": "one"}]
    assert not answer["withdrawn"]
    assert not answer["incomplete"]
    assert not answer["deleted"]
    assert answer["created_at"].endswith("Z")


async def test_a_fork_goes_on_by_itself(service: httpx2.AsyncClient, model: FakeOpenAI) -> None:
    conversation = await a_talk(service, model)
    path, body = f"/v1/conversations/{conversation}/fork", {"at": 2, "id": "other"}

    made = await service.post(path, json=body)
    again = await service.post(path, json=body)
    await begin(service, "other", "third")

    assert made.status_code == 200, made.text
    assert (made.json()["parent_id"], made.json()["base"]) == (conversation, 2)
    assert again.json()["id"] == made.json()["id"]
    assert set(made.json()) == await described(service, "StoredConversation")
    assert await shown_to(model) == ["first", "one", "third"]
    assert said(await log_of(service, "other"))[:3] == ["first", "one", "third"]
    assert said(await log_of(service, conversation)) == ["first", "one", "second", "two"]


async def test_a_fork_with_a_key_is_made_once(service: httpx2.AsyncClient, model: FakeOpenAI) -> None:
    conversation = await a_talk(service, model)
    path, key = f"/v1/conversations/{conversation}/fork", {"Idempotency-Key": "k"}

    first = await service.post(path, json={"at": 2}, headers=key)
    again = await service.post(path, json={"at": 2}, headers=key)
    other = await service.post(path, json={"at": 1}, headers=key)
    plain = await service.post(path, json={"at": 2})

    assert again.json()["id"] == first.json()["id"] != plain.json()["id"]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"at": 5}, 422),
        ({"at": -1}, 422),
        ({"at": 2**60}, 422),
        ({"id": ""}, 422),
        ({"id": "conv_" + "0" * 32}, 422),
    ],
)
async def test_a_fork_that_cannot_be_is_refused(
    service: httpx2.AsyncClient, model: FakeOpenAI, body: dict[str, object], status: int
) -> None:
    conversation = await a_talk(service, model)

    response = await service.post(f"/v1/conversations/{conversation}/fork", json=body)

    assert response.status_code == status


async def test_a_fork_has_to_say_that_it_is_json(service: httpx2.AsyncClient, model: FakeOpenAI) -> None:
    conversation = await a_talk(service, model)

    response = await service.post(f"/v1/conversations/{conversation}/fork")

    assert response.status_code == 415


async def test_what_is_withdrawn_is_no_longer_shown_to_models(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    conversation = await a_talk(service, model)
    before = (await service.get(f"/v1/conversations/{conversation}")).json()["version"]

    response = await service.post(f"/v1/conversations/{conversation}/withdraw", json={"numbers": [1, 2]})
    await begin(service, conversation, "third")

    assert response.status_code == 200, response.text
    assert response.json()["version"] > before
    assert await shown_to(model) == ["second", "two", "third"]
    assert [message["withdrawn"] for message in await log_of(service, conversation)][:3] == [
        True,
        True,
        False,
    ]


async def test_an_erased_message_leaves_its_number(service: httpx2.AsyncClient, model: FakeOpenAI) -> None:
    conversation = await a_talk(service, model)
    branch = (await service.post(f"/v1/conversations/{conversation}/fork", json={})).json()["id"]

    response = await service.delete(f"/v1/conversations/{conversation}/messages/2")

    tombstone = response.json()
    assert response.status_code == 200, response.text
    assert (tombstone["number"], tombstone["deleted"], tombstone["content"]) == (2, True, [])
    for one in conversation, branch:
        assert said(await log_of(service, one)) == ["first", "", "second", "two"]


@pytest.mark.parametrize("number", ["0", "5", "9" * 30, "two"])
async def test_what_is_not_there_cannot_be_taken_back(
    service: httpx2.AsyncClient, model: FakeOpenAI, number: str
) -> None:
    conversation = await a_talk(service, model)

    erased = await service.delete(f"/v1/conversations/{conversation}/messages/{number}")
    body = '{"numbers": [' + number + "]}"
    withdrawn = await service.post(
        f"/v1/conversations/{conversation}/withdraw",
        content=body,
        headers={"content-type": "application/json"},
    )

    expected = 404 if number == "5" else 422
    assert (erased.status_code, withdrawn.status_code) == (expected, expected)


async def test_what_is_being_answered_cannot_be_taken_back(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    conversation = await a_conversation(service)
    model.fault("hang")
    asking = asyncio.create_task(begin(service, conversation, "hi"))
    await until(lambda: model.open == 1)

    response = await service.delete(f"/v1/conversations/{conversation}/messages/1")
    run_id = (await service.get(f"/v1/conversations/{conversation}")).json()["run"]["id"]
    await service.post(f"/v1/runs/{run_id}/cancel")
    await asking

    assert (response.status_code, response.json()["code"]) == (409, "conversation_busy")
    assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("GET", "/messages", None),
        ("POST", "/fork", {}),
        ("POST", "/withdraw", {"numbers": [1]}),
        ("DELETE", "/messages/1", None),
    ],
)
@pytest.mark.parametrize(("name", "status"), [("nowhere", 404), ("conv_" + "0" * 32, 404), ("%00", 422)])
async def test_an_unknown_conversation_is_told_as_such(
    service: httpx2.AsyncClient, method: str, path: str, body: object, name: str, status: int
) -> None:
    response = await service.request(method, f"/v1/conversations/{name}{path}", json=body)

    assert response.status_code == status
