"""The message store in Redis by its older name, on a real server."""

import json
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tertulia.compat.agent_framework import ChatAgent
from tertulia.compat.agent_framework.redis import RedisChatMessageStore
from tests.compat.talk import agent_with, listening, texts


@pytest.fixture
async def agents() -> AsyncIterator[list[ChatAgent]]:
    """Agents that are closed in the end."""
    made: list[ChatAgent] = []
    yield made
    for agent in made:
        await agent.close()


async def test_thread_finds_its_own_id_again(redis_url: str, agents: list[ChatAgent]) -> None:
    llm = listening()
    agents += [agent_with(lambda: RedisChatMessageStore(redis_url)) for _ in range(2)]
    agents.append(agent_with(lambda: RedisChatMessageStore(redis_url), llm))
    thread, other = agents[0].get_new_thread(), agents[1].get_new_thread()
    await agents[0].run("I am Alice", thread=thread)
    await agents[1].run("I am Bob", thread=other)

    state = json.loads(json.dumps(await thread.serialize()))
    restored = await agents[2].deserialize_thread(state)
    await agents[2].run("Who am I?", thread=restored)

    assert texts(llm.prompts[0]) == ["I am Alice", "heard 1", "Who am I?"]
    assert redis_url not in json.dumps(state)
    assert "Alice" not in json.dumps(state)


async def test_second_thread_in_the_same_place_is_warned_of(redis_url: str, agents: list[ChatAgent]) -> None:
    agents += [
        agent_with(lambda: RedisChatMessageStore(redis_url, thread_id="user_session_123"), name="a")
        for _ in range(2)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        thread = agents[0].get_new_thread()
        await agents[0].run("I am Alice", thread=thread)
        state = await thread.serialize()
        await agents[0].deserialize_thread(state)
        restored = await agents[1].deserialize_thread(state)

    with pytest.warns(UserWarning, match="two threads keep their messages in one place") as told:
        shared = agents[1].get_new_thread()

    assert told[0].filename == __file__
    assert restored.message_store is not None
    assert shared.message_store is not None
    mine, others = restored.message_store, shared.message_store
    assert (
        texts(await mine.list_messages()) == texts(await others.list_messages()) == ["I am Alice", "heard 1"]
    )


async def test_only_so_many_messages_are_kept_from_a_user_on(redis_url: str, agents: list[ChatAgent]) -> None:
    agents.append(agent_with(lambda: RedisChatMessageStore(redis_url, max_messages=3)))
    thread = agents[0].get_new_thread()

    for said in ("one", "two", "three"):
        await agents[0].run(said, thread=thread)

    assert thread.message_store is not None
    kept = texts(await thread.message_store.list_messages())
    assert kept[0] in ("two", "three")
    assert kept[-1].startswith("heard")


async def test_stores_of_one_place_share_connections(redis_url: str) -> None:
    one, other = (RedisChatMessageStore(redis_url) for _ in range(2))
    elsewhere = RedisChatMessageStore(redis_url, key_prefix="another")

    assert one.shared_connections is other.shared_connections
    assert one.shared_connections is not elsewhere.shared_connections
    assert len({one.kept_at, other.kept_at, elsewhere.kept_at}) == 3
    await one.aclose()


@pytest.mark.parametrize("state", [None, {}, {"messages": []}])
async def test_state_of_nothing_leaves_the_store_as_it_is(redis_url: str, state: Any) -> None:
    store = RedisChatMessageStore(redis_url, thread_id="mine")

    await store.update_from_state(state)

    assert await store.serialize() == {"thread_id": "mine", "key_prefix": "chat_messages"}
