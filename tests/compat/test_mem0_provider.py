"""Mem0's provider by its older name, against a fake of its platform."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from tertulia.compat.agent_framework import ChatAgent
from tertulia.compat.agent_framework.mem0 import Mem0Provider
from tertulia.errors import InvalidInput
from tests.compat.talk import agent_with, listening, texts
from tests.memory.context import fake_mem0


@pytest.fixture
async def mem0() -> AsyncIterator[fake_mem0.FakeMem0]:
    async with fake_mem0.running() as fake:
        yield fake


class Client:
    """A client of Mem0 that somebody has made."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Any]] = []
        self.told: list[Mapping[str, Any]] = []

    async def search(self, query: str, *, filters: Mapping[str, Any], top_k: int) -> Any:
        self.asked.append(filters)
        return {"results": [{"id": "m1", "memory": "likes tea"}]}

    async def add(self, messages: Sequence[Any], **scope: Any) -> None:
        scope.pop("metadata")
        self.told.append(scope)


async def test_memories_are_shown_quoted_under_their_heading(mem0: fake_mem0.FakeMem0) -> None:
    mem0.remember("likes tea", user_id="alice")
    llm = listening()
    provider = Mem0Provider(
        api_key=fake_mem0.KEY, user_id="alice", base_url=mem0.base_url, context_prompt="Known:"
    )
    agent: ChatAgent = agent_with(llm=llm, context_providers=provider)

    await agent.run("Who likes tea?")

    assert texts(llm.prompts[0]) == ['Known:\n- 2026-03-04: "likes tea"', "Who likes tea?"]
    await agent.close()


@pytest.mark.parametrize(
    ("others", "scope"),
    [
        ({}, {"run_id": "t1"}),
        ({"user_id": "alice"}, {"user_id": "alice", "run_id": "t1"}),
        ({"agent_id": "guide"}, {"agent_id": "guide", "run_id": "t1"}),
    ],
)
async def test_thread_id_narrows_what_is_known(others: dict[str, str], scope: dict[str, str]) -> None:
    client = Client()
    agent = agent_with(context_providers=Mem0Provider(client, thread_id="t1", **others))

    await agent.run("Hello")

    assert client.asked == [scope]
    assert client.told == [scope]


async def test_thread_id_goes_over_http_as_well(mem0: fake_mem0.FakeMem0) -> None:
    provider = Mem0Provider(api_key=fake_mem0.KEY, thread_id="t1", base_url=mem0.base_url)
    agent = agent_with(context_providers=provider)

    await agent.run("Hello")

    assert mem0.searches[0]["filters"] == {"run_id": "t1"}
    assert mem0.adds[0]["run_id"] == "t1"
    await agent.close()


def test_memories_of_nobody_in_particular_are_refused() -> None:
    with pytest.raises(InvalidInput, match="whose memories"):
        Mem0Provider(api_key="key")


@pytest.mark.parametrize("thread_id", [None, "t1"])
def test_without_a_key_it_is_said_where_one_is_missing(
    thread_id: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEM0_API_KEY", raising=False)
    monkeypatch.delenv("MEM0_BASE_URL", raising=False)

    with pytest.raises(InvalidInput, match="api_key"):
        Mem0Provider(user_id="alice", thread_id=thread_id)
