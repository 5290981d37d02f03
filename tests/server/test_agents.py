"""Agents are changed while they are in use: by a part, once, and their conversations go on with them."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from tertulia.app import App
from tertulia.conversations import DEFAULT_TENANT
from tertulia.testing.fake_openai import FakeOpenAI
from tests.server.conftest import Open
from tests.server.doing import a_conversation, an_agent, begin, described, say

UNTOLD = {"object", "id", "version", "created_at"}


async def shown(service: httpx2.AsyncClient, agent: str) -> dict[str, Any]:
    response = await service.get(f"/v1/agents/{agent}")
    assert response.status_code == 200, response.text
    row: dict[str, Any] = response.json()
    return row


async def change(
    service: httpx2.AsyncClient, agent: str, *, key: str | None = None, **body: object
) -> httpx2.Response:
    headers = {"Idempotency-Key": key} if key is not None else {}
    return await service.post(f"/v1/agents/{agent}", json=body, headers=headers)


async def test_an_agent_is_found_by_its_id_and_by_its_name(service: httpx2.AsyncClient) -> None:
    made = await an_agent(service, name="chef", limits={"max_steps": 3}, settings={"seed": 1})

    by_id, by_name = await shown(service, made["id"]), await shown(service, "chef")

    assert by_id == by_name
    assert (by_id["object"], by_id["version"]) == ("agent", 1)
    assert {name: by_id[name] for name in by_id.keys() - UNTOLD} == {
        name: made[name] for name in made.keys() - {"id", "timestamp", "conversations"}
    }
    assert set(by_id) == await described(service, "StoredAgent")


@pytest.mark.parametrize(
    ("change_to", "kept"),
    [
        ({"name": "cook"}, {}),
        ({"context": "You are a cook."}, {}),
        ({"first_message": ""}, {}),
        ({"response_shape": {"dish": "a text"}}, {"response_shape": '{"dish":"a text"}'}),
        ({"instructions": "Be kind."}, {}),
        ({"model": "scripted:echo"}, {}),
        ({"model": ["scripted:echo", "local"]}, {}),
        ({"model": "scripted:echo, local"}, {"model": ["scripted:echo", "local"]}),
        ({"model": None}, {}),
        ({"settings": {"temperature": 1}}, {}),
        ({"tools": []}, {}),
        ({"limits": {"max_cost": 2}}, {}),
        ({"limits": {}, "settings": {}}, {}),
    ],
)
async def test_what_is_left_out_of_a_change_stays(
    service: httpx2.AsyncClient, change_to: dict[str, Any], kept: dict[str, Any]
) -> None:
    url = "https://tools.example.com/mcp"
    agent = await an_agent(
        service,
        name="chef",
        model="scripted:text=Soup",
        settings={"seed": 1, "top_p": 0.5},
        tools=[{"type": "mcp", "server_label": "docs", "server_url": url}],
        limits={"max_steps": 3},
    )
    before = await shown(service, agent["id"])

    response = await change(service, agent["id"], **change_to)

    assert response.status_code == 200, response.text
    assert response.json() == {**before, **change_to, **kept, "version": 2}
    assert await shown(service, agent["id"]) == response.json()


async def test_a_change_that_changes_nothing_makes_no_version(service: httpx2.AsyncClient) -> None:
    agent = await an_agent(service, name="chef")

    same = [await change(service, "chef", **body) for body in ({}, {"name": "chef", "model": None})]

    assert [response.json()["version"] for response in same] == [1, 1]
    assert same[0].json() == await shown(service, agent["id"])


async def test_the_same_change_again_with_its_key_changes_nothing_more(service: httpx2.AsyncClient) -> None:
    await an_agent(service, name="chef")

    first = await change(service, "chef", key="k", model="scripted:echo")
    again = await change(service, "chef", key="k", model="scripted:echo")

    assert again.json() == first.json()
    assert again.json()["version"] == 2


async def test_a_change_that_comes_again_late_takes_nothing_back(service: httpx2.AsyncClient) -> None:
    await an_agent(service, name="chef")
    await change(service, "chef", key="k", model="scripted:echo")
    newest = await change(service, "chef", model="local")

    late = await change(service, "chef", key="k", model="scripted:echo")
    other = await change(service, "chef", key="k", model=None)

    assert late.json() == newest.json()
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


async def test_null_and_nothing_are_different_changes(service: httpx2.AsyncClient) -> None:
    await an_agent(service, name="chef")
    await change(service, "chef", key="k", model=None)

    response = await change(service, "chef", key="k")

    assert (response.status_code, response.json()["code"]) == (422, "idempotency_mismatch")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": ""}, "invalid_input"),
        ({"name": "a:b"}, "invalid_input"),
        ({"name": None}, "invalid_input"),
        ({"name": "x" * 201}, "invalid_input"),
        ({"context": "\x00"}, "invalid_input"),
        ({"response_shape": '{"type": "object", "properties": 7}'}, "invalid_shape"),
        ({"model": "nobody:here"}, "unknown_model"),
        ({"model": "local, local"}, "invalid_input"),
        ({"model": []}, "invalid_input"),
        ({"settings": {"temperature": 9}}, "invalid_input"),
        ({"settings": None}, "invalid_input"),
        ({"tools": ["no such tool"]}, "unknown_tool"),
        ({"tools": None}, "invalid_input"),
        ({"limits": {"max_steps": 0}}, "invalid_input"),
        ({"version": 1}, "invalid_input"),
    ],
)
async def test_a_change_that_cannot_be_is_refused_whole(
    service: httpx2.AsyncClient, body: dict[str, Any], code: str
) -> None:
    agent = await an_agent(service, name="chef")
    before = await shown(service, agent["id"])

    response = await change(service, "chef", **{"instructions": "Be kind.", **body})

    assert (response.status_code, response.json()["code"]) == (422, code), response.text
    assert await shown(service, "chef") == before


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_that_cannot_be_is_refused(service: httpx2.AsyncClient, key: str) -> None:
    await an_agent(service, name="chef")

    response = await change(service, "chef", key=key, model="scripted:echo")

    assert response.status_code == 422
    assert (await shown(service, "chef"))["version"] == 1


async def test_no_agent_takes_the_name_of_another(service: httpx2.AsyncClient) -> None:
    for name in "chef", "guide":
        await an_agent(service, name=name)

    response = await change(service, "guide", name="chef")

    assert (response.status_code, response.json()["code"]) == (409, "duplicate_name")
    assert (await shown(service, "guide"))["version"] == 1


@pytest.mark.parametrize("agent", ["nobody", "agent_" + "0" * 32, "%00"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_agent_that_is_not_there_is_404(
    service: httpx2.AsyncClient, method: str, agent: str
) -> None:
    body = {"name": "somebody"} if method == "POST" else None

    response = await service.request(method, f"/v1/agents/{agent}", json=body)

    assert response.status_code == (422 if agent == "%00" else 404)


async def test_changes_at_once_are_all_kept(
    served: httpx2.AsyncClient, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's version comes between our reading and our writing."""
    agent = await an_agent(served, name="chef")
    read, came = app.store.agents.get, False

    async def read_then_overtaken(tenant: int, named: str, *, version: int | None = None) -> Any:
        nonlocal came
        found = await read(tenant, named, version=version)
        if not came:
            came = True
            theirs = replace(found.definition, context="Theirs.", first_message="Theirs.")
            await app.store.agents.update(tenant, found.id, theirs)
        return found

    monkeypatch.setattr(app.store.agents, "get", read_then_overtaken)

    response = await change(served, "chef", instructions="Ours.", first_message="Ours.")

    kept = (await read(DEFAULT_TENANT, agent["id"])).definition
    assert (kept.context, kept.first_message, kept.instructions) == ("Theirs.", "Ours.", "Ours.")
    assert response.json()["context"] == "Theirs."


async def test_changes_of_different_parts_at_once_are_all_kept(service: httpx2.AsyncClient) -> None:
    await an_agent(service, name="chef")
    parts = {"context": "C", "first_message": "F", "instructions": "I", "model": "scripted:echo"}

    await asyncio.gather(*(change(service, "chef", **{name: value}) for name, value in parts.items()))

    now = await shown(service, "chef")
    assert {name: now[name] for name in parts} == parts


def dawdling(work: Callable[..., Awaitable[Any]], chance: random.Random) -> Callable[..., Awaitable[Any]]:
    """Let others go first, now more of them and now fewer, before something is done and after it."""

    async def done(*args: Any, **named: Any) -> Any:
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        result = await work(*args, **named)
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        return result

    return done


@pytest.mark.parametrize("key", [None, "k"])
async def test_no_change_is_lost_in_whatever_order_three_are_carried_out(
    served: httpx2.AsyncClient, app: App, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    chance, stored = random.Random(7), app.store.agents  # noqa: S311
    monkeypatch.setattr(stored, "get", dawdling(stored.get, chance))
    monkeypatch.setattr(stored, "update", dawdling(stored.update, chance))
    parts = {"context": "C", "first_message": "F", "instructions": "I"}

    for name in (f"chef {n}" for n in range(60)):
        agent = await an_agent(served, name=name)
        changed = await asyncio.gather(
            *(change(served, agent["id"], key=key and part, **{part: text}) for part, text in parts.items())
        )

        now = await shown(served, agent["id"])
        assert [response.status_code for response in changed] == [200, 200, 200]
        assert {part: now[part] for part in parts} == parts
        assert sorted(response.json()["version"] for response in changed) == [2, 3, 4]
        for n in range(2, 5):  # and none is taken back in between
            before = (await stored.get(DEFAULT_TENANT, agent["id"], version=n - 1)).definition
            after = (await stored.get(DEFAULT_TENANT, agent["id"], version=n)).definition
            assert sum(getattr(before, part) != getattr(after, part) for part in parts) == 1


async def test_a_change_that_began_anew_is_known_by_its_key(
    served: httpx2.AsyncClient, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await an_agent(served, name="chef")
    overtake(app, monkeypatch, times=2)

    first = await change(served, "chef", key="k", instructions="Ours.")
    await change(served, "chef", instructions="Theirs.")
    again = await change(served, "chef", key="k", instructions="Ours.")

    assert (first.json()["version"], first.json()["instructions"]) == (4, "Ours.")
    assert (again.json()["version"], again.json()["instructions"]) == (5, "Theirs.")
    assert again.json() == await shown(served, agent["id"])


async def test_a_change_that_is_always_overtaken_is_refused_in_the_end(
    served: httpx2.AsyncClient, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    await an_agent(served, name="chef", instructions="As they were.")
    overtake(app, monkeypatch, times=1_000)

    response = await change(served, "chef", instructions="Ours.")

    assert (response.status_code, response.json()["code"]) == (409, "version_moved")
    assert (await shown(served, "chef"))["instructions"] == "As they were."


def overtake(app: App, monkeypatch: pytest.MonkeyPatch, *, times: int) -> None:
    """Have somebody else make a version after each of so many readings."""
    read, left = app.store.agents.get, iter(range(times))

    async def read_then_overtaken(tenant: int, named: str, *, version: int | None = None) -> Any:
        found = await read(tenant, named, version=version)
        if (n := next(left, None)) is not None:
            theirs = replace(found.definition, context=f"Theirs, {n}.")
            await app.store.agents.update(tenant, found.id, theirs)
        return found

    monkeypatch.setattr(app.store.agents, "get", read_then_overtaken)


def seen(request: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what a model was shown after the agent's own texts, on either wire."""
    turns = request.get("messages") or request["input"]
    texts = [(turn["role"], text_of(turn["content"])) for turn in turns]
    return [turn for turn in texts if turn[0] in {"user", "assistant"}]


def text_of(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


async def test_a_conversation_goes_on_whole_whichever_model_its_agent_is_given(
    open_service: Open, model: FakeOpenAI
) -> None:
    service = await open_service(model="scripted:echo")
    conversation = await a_conversation(service, name="chef", first_message="")
    model.script(["by chat", "by Responses", "by chat again"])
    said = [("user", "one"), ("assistant", "one")]
    await say(service, conversation, "one")

    for name, text, answer in (
        ("openai-chat:gpt-5", "two", "by chat"),
        ("openai:gpt-5-mini", "three", "by Responses"),
        (["openai-chat:gpt-5-nano", "scripted:echo"], "four", "by chat again"),
    ):
        changed = await change(service, "chef", model=name)
        run = (await begin(service, conversation, text)).json()

        said += [("user", text)]
        assert seen(model.requests[-1]) == said
        said += [("assistant", answer)]
        assert run["messages"][0]["content"] == [{"type": "text", "text": answer}]
        assert run["agent_version"] == changed.json()["version"]

    await change(service, "chef", model=None)
    assert (await say(service, conversation, "five")).json()["response"] == "five"
    assert len(model.requests) == 3
