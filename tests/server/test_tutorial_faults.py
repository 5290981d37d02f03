"""What went wrong with the tutorial's own service does not go wrong here, fault by fault."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

import tertulia
from tertulia.testing.fake_openai import FakeOpenAI
from tests.server.conftest import Open
from tests.server.doing import a_conversation, an_agent, messages, say, until


def shown(request: dict[str, Any]) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in request["messages"]]


async def test_1_an_unknown_conversation_is_404(service: httpx2.AsyncClient) -> None:
    response = await say(service, "nowhere", "hi")

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "not_found"


async def test_2_instructions_and_shape_reach_the_model(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    shape = {"recipes": "List of strings with the recipes"}
    conversation = await a_conversation(service, instructions="Ask about peanuts.", response_shape=shape)
    model.script([{"recipes": ["paella"]}])

    response = await say(service, conversation, "What shall we eat?")

    system = shown(model.requests[0])[0]
    assert system[0] == "system"
    assert "You are a chef." in system[1]
    assert "Ask about peanuts." in system[1]
    assert "recipes" in system[1]
    assert response.json()["response"] == '{"recipes":["paella"]}'


async def test_2_the_prompt_is_system_then_opening_then_history_then_the_message(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    conversation = await a_conversation(service)
    model.script(["first answer", "second answer"])

    await say(service, conversation, "first")
    await say(service, conversation, "second")

    assert shown(model.requests[1])[1:] == [
        ("assistant", "Hello!"),
        ("user", "first"),
        ("assistant", "first answer"),
        ("user", "second"),
    ]


async def test_3_every_conversation_has_its_own_time(service: httpx2.AsyncClient) -> None:
    agent = await an_agent(service)
    made = [await service.post("/agents/create-conversation", json={"agent_id": agent["id"]}) for _ in "ab"]

    times = [datetime.fromisoformat(one.json()["timestamp"]) for one in made]

    assert times[0] < times[1]
    assert timedelta(0) <= datetime.now(UTC) - times[0] < timedelta(minutes=1)


async def test_4_others_are_answered_while_a_model_thinks(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    conversations = [await a_conversation(service) for _ in "abc"]
    model.fault("hang", times=3)
    chats = [asyncio.create_task(say(service, one, "hi", settings={"timeout": 5})) for one in conversations]
    await until(lambda: model.open == 3)

    response = await service.get("/")

    assert response.status_code == 200
    assert not any(chat.done() for chat in chats)
    for chat in chats:
        chat.cancel()
    await asyncio.gather(*chats)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"kind": "429", "retry_after": 1000}, 502, "model_busy"),
        ({"kind": "503", "retry_after": 1000}, 502, "model_busy"),
        ({"kind": "hang"}, 504, "model_timeout"),
    ],
)
async def test_5_a_failing_model_is_told_as_what_it_is(
    service: httpx2.AsyncClient, model: FakeOpenAI, fault: dict[str, Any], status: int, code: str
) -> None:
    conversation = await a_conversation(service, settings={"timeout": 0.2})
    model.fault(**fault)

    response = await say(service, conversation, "hi")

    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["x-should-retry"] == "false"
    assert response.json()["run_id"].startswith("run_")
    assert "The message is kept" in response.json()["detail"]
    assert "sk-test" not in response.text


async def test_6_a_failure_keeps_the_message_and_stores_no_apology(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    conversation = await a_conversation(service)
    model.fault("429", retry_after=1000, times=1)
    await say(service, conversation, "one [[")

    response = await say(service, conversation, "two [[")

    assert response.json()["response"].startswith("m=2 ")
    assert [role for role, _ in shown(model.requests[-1])] == ["system", "assistant", "user", "user"]
    assert [
        (one["user_message"], one["agent_message"] is None) for one in await messages(service, conversation)
    ] == [
        ("one [[", True),
        ("two [[", False),
    ]


async def test_6_the_same_key_asks_again_about_the_message_that_is_kept(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    conversation = await a_conversation(service)
    model.fault("429", retry_after=1000, times=1)
    await say(service, conversation, "one [[", key="k")

    again = await say(service, conversation, "one [[", key="k")
    and_again = await say(service, conversation, "one [[", key="k")

    assert again.json() == and_again.json()
    assert again.json()["response"].startswith("m=1 ")
    assert len(await messages(service, conversation)) == 1


async def test_7_messages_at_once_are_answered_one_after_another(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    conversation = await a_conversation(service)

    responses = await asyncio.gather(*(say(service, conversation, f"{n} [[") for n in range(8)))

    assert [one.status_code for one in responses] == [200] * 8
    said = await messages(service, conversation)
    assert sorted(one["user_message"] for one in said) == sorted(f"{n} [[" for n in range(8))
    assert [one["agent_message"].split()[0] for one in said] == [f"m={n}" for n in range(1, 9)]


async def test_8_a_long_conversation_goes_on_and_is_shown_whole_in_its_order(
    open_service: Open, model: FakeOpenAI
) -> None:
    service = await open_service(context_tokens=600)
    conversation = await a_conversation(service)
    for n in range(20):
        response = await say(service, conversation, f"{n} " + "word " * 40)
        assert response.status_code == 200

    said = await messages(service, conversation)

    assert [int(one["user_message"].split()[0]) for one in said] == [*range(20)]
    assert len(model.requests[-1]["messages"]) < 20


async def test_9_the_model_and_its_settings_are_the_agents_choice(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    settings = {"temperature": 0.1, "max_tokens": 77}
    conversation = await a_conversation(service, model="openai-chat:other", settings=settings)

    await say(service, conversation, "hi", settings={"temperature": 0.9})

    asked = model.requests[0]
    assert asked["model"] == "other"
    assert asked["temperature"] == 0.9
    assert 77 in (asked.get("max_tokens"), asked.get("max_completion_tokens"))


async def test_10_conversations_outlive_the_process(open_service: Open, sqlite_url: str) -> None:
    service = await open_service(database_url=sqlite_url)
    conversation = await a_conversation(service)
    await say(service, conversation, "one [[")

    another = await open_service(database_url=sqlite_url)
    response = await say(another, conversation, "two [[")

    assert response.json()["response"].startswith("m=2 ")


def test_11_every_folder_of_the_package_is_a_package() -> None:
    folder = Path(tertulia.__file__).parent

    scripts = folder / "stores" / "sql" / "migrations" / "versions"  # read by alembic, imported by nobody
    holding_code = {file.parent for file in folder.rglob("*.py")} - {scripts}

    assert [one for one in holding_code if not (one / "__init__.py").exists()] == []


async def test_12_the_log_holds_no_messages(
    log: Callable[[], str], service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    conversation = await a_conversation(service, context="a secret context")
    await say(service, conversation, "a secret message", key="a-secret-key")
    model.fault("429", retry_after=1000)
    await say(service, conversation, "another secret message")

    written = log()

    assert "/agents/chat-agent" in written
    assert "secret" not in written
    assert "sk-test" not in written


async def test_13_an_empty_database_lists_nothing(service: httpx2.AsyncClient) -> None:
    response = await service.get("/agents/get-agents")

    assert (response.status_code, response.json()) == (200, [])


async def test_13_a_conversation_that_is_null_is_told_in_words(service: httpx2.AsyncClient) -> None:
    response = await service.post("/agents/chat-agent", json={"conversation_id": None, "message": "hi"})

    assert response.status_code == 422
    assert "agent_id" in response.json()["detail"]
