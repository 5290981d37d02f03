"""Threads: what is kept of them, what is restored, and what is refused."""

import asyncio
import json
import warnings
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest
from typing_extensions import override

from tertulia.compat.agent_framework import (
    AgentThread,
    ChatAgent,
    ChatMessage,
    ChatMessageStore,
    Role,
)
from tertulia.errors import InvalidInput, ModelRefused, ProviderError, SessionMismatch
from tertulia.llms.scripted import ScriptedLLM
from tertulia.parts import ToolCall
from tests.compat.talk import (
    DATABASES,
    BrokenStore,
    DatabaseMessageStore,
    TextStore,
    agent_with,
    listening,
    texts,
)


@pytest.fixture(autouse=True)
def databases() -> Iterator[None]:
    yield
    DATABASES.clear()


async def saved(thread: AgentThread) -> Any:
    """Return a thread as it comes back from a file."""
    return json.loads(json.dumps(await thread.serialize()))


async def kept(thread: AgentThread) -> list[str]:
    assert thread.message_store is not None
    return texts(await thread.message_store.list_messages())


async def test_each_message_is_shown_once_and_in_order() -> None:
    llm = listening()
    agent = agent_with(llm=llm, instructions="Listen.")
    thread = agent.get_new_thread()

    for said in ("one", "two", "three"):
        await agent.run(said, thread=thread)

    whole = ["Listen.", "one", "heard 2", "two", "heard 4", "three"]
    assert [texts(prompt) for prompt in llm.prompts] == [whole[:2], whole[:4], whole]
    assert await kept(thread) == [*whole[1:], "heard 6"]


async def test_three_equal_turns_are_three() -> None:
    llm = ScriptedLLM(lambda _: "pong")
    for store in (ChatMessageStore, TextStore):
        agent = agent_with(store, llm)
        thread = agent.get_new_thread()

        for _ in range(3):
            await agent.run("ping", thread=thread)

        assert await kept(thread) == ["ping", "pong"] * 3
        assert texts(llm.prompts[-1]) == ["ping", "pong", "ping", "pong", "ping"]


async def test_custom_store_is_found_again_by_its_own_state() -> None:
    agent = agent_with(lambda: DatabaseMessageStore("alices"))
    thread = agent.get_new_thread()
    await agent.run("I am Alice", thread=thread)
    llm = listening()
    later = agent_with(lambda: DatabaseMessageStore("a default"), llm)

    restored = await later.deserialize_thread(await saved(thread))
    await later.run("Who am I?", thread=restored)

    assert isinstance(restored.message_store, DatabaseMessageStore)
    assert restored.message_store.connection_string == "alices"
    assert texts(llm.prompts[0]) == ["I am Alice", "heard 1", "Who am I?"]


async def test_restored_thread_goes_its_own_way() -> None:
    agent = agent_with()
    thread = agent.get_new_thread()
    await agent.run("one", thread=thread)

    restored = await agent.deserialize_thread(await saved(thread))
    await agent.run("two", thread=thread)
    await agent.run("three", thread=restored)

    assert await kept(thread) == ["one", "heard 1", "two", "heard 3"]
    assert await kept(restored) == ["one", "heard 1", "three", "heard 3"]
    assert restored.id == thread.id


async def test_thread_of_the_older_framework_is_taken() -> None:
    llm = listening()
    agent = agent_with(llm=llm)
    call = {"type": "function_call", "call_id": "c1", "name": "now", "arguments": "{}"}
    second = {"type": "function_call", "call_id": "c2", "name": "day", "arguments": {}}
    results = [
        {"type": "function_result", "call_id": "c1", "result": "noon"},
        {"type": "function_result", "call_id": "c2", "result": {"day": 1}},
    ]
    messages = [
        {"type": "chat_message", "role": {"type": "role", "value": "user"}, "contents": ["When?"]},
        {"type": "chat_message", "role": {"value": "assistant"}, "contents": [call, second]},
        {"type": "chat_message", "role": {"value": "tool"}, "contents": results},
        {"role": "assistant", "contents": [{"type": "text", "text": "At noon."}], "author_name": "Clock"},
    ]
    old = {"service_thread_id": None, "chat_message_store_state": {"messages": messages}}

    thread = await agent.deserialize_thread(old)
    await agent.run("Thanks", thread=thread)

    assert texts(llm.prompts[0]) == ["When?", "", "noon", '{"day":1}', "At noon.", "Thanks"]


async def test_messages_in_a_custom_state_become_json_and_messages_again() -> None:
    class Lister(ChatMessageStore):
        @override
        async def serialize(self, **kwargs: Any) -> dict[str, Any]:
            return {"messages": self.messages, **kwargs}

        @override
        async def update_from_state(self, serialized_store_state: Any, **kwargs: Any) -> None:
            self.messages = serialized_store_state["messages"]

    llm = listening()
    agent = agent_with(Lister, llm)
    thread = agent.get_new_thread()
    await agent.run("one", thread=thread)

    state = await thread.serialize(mark="mine")
    restored = await agent.deserialize_thread(json.loads(json.dumps(state)))
    await agent.run("two", thread=restored)

    assert state["chat_message_store_state"]["mark"] == "mine"
    assert texts(llm.prompts[-1]) == ["one", "heard 1", "two"]


async def test_state_that_is_no_json_is_refused_by_name() -> None:
    class Closed(ChatMessageStore):
        @override
        async def serialize(self, **kwargs: Any) -> dict[str, Any]:
            return {"lock": object()}

    thread = agent_with(Closed).get_new_thread()

    with pytest.raises(InvalidInput, match="the state of Closed cannot be kept"):
        await thread.serialize()


async def test_message_stays_when_the_model_fails() -> None:
    agent = agent_with(TextStore, ScriptedLLM([ModelRefused("no"), "yes"]))
    thread = agent.get_new_thread()

    with pytest.raises(ModelRefused):
        await agent.run("Please?", thread=thread)
    await agent.run("Pretty please?", thread=thread)

    assert await kept(thread) == ["Please?", "Pretty please?", "yes"]


async def test_message_stays_when_the_reader_goes_away() -> None:
    agent = agent_with(llm=ScriptedLLM(["A long answer.", "Still here."], chunk=2))
    thread = agent.get_new_thread()

    async with aclosing(agent.run_stream("Tell me", thread=thread)) as updates:  # type: ignore[type-var]
        async for _ in updates:
            break
    await agent.run("Are you there?", thread=thread)

    said = await kept(thread)
    assert said[0] == "Tell me"
    assert said[-2:] == ["Are you there?", "Still here."]


async def test_stream_ends_with_the_whole_answer() -> None:
    agent = agent_with(llm=ScriptedLLM(["Hello there"], chunk=4))

    updates = [update async for update in agent.run_stream("Hi", thread=agent.get_new_thread())]

    assert [str(update) for update in updates] == ["Hell", "o th", "ere", ""]
    assert updates[-1].response is not None
    assert updates[-1].response.text == "Hello there"


async def test_stream_says_when_what_it_told_is_void() -> None:
    agent = agent_with(llm=ScriptedLLM(["seven, I think", {"age": 7}]), response_format={"age": "integer"})

    updates = [update async for update in agent.run_stream("How old?")]

    (place,) = [place for place, update in enumerate(updates) if update.starts_again]
    assert "".join(map(str, updates[:place])) == "seven, I think"
    assert "".join(map(str, updates[place:])) == '{"age":7}'


async def test_two_runs_at_the_same_time_are_both_kept_in_order() -> None:
    agent = agent_with()
    thread = agent.get_new_thread()

    await asyncio.gather(*(agent.run(said, thread=thread) for said in ("one", "two")))

    assert await kept(thread) == ["one", "heard 1", "two", "heard 3"]


async def test_without_a_thread_nothing_is_kept() -> None:
    llm, made = listening(), []
    agent = agent_with(lambda: made.append(1) or ChatMessageStore(), llm)  # type: ignore[func-returns-value]

    await agent.run("one")
    await agent.run([ChatMessage(Role.USER, text="two"), ChatMessage("assistant", ["2"]), "three"])

    assert [texts(prompt) for prompt in llm.prompts] == [["one"], ["two", "2", "three"]]
    assert not made


async def test_uses_of_tools_come_back_as_they_were() -> None:
    def dice() -> int:
        """Throw a die."""
        return 4

    llm = ScriptedLLM([ToolCall(id="c1", name="dice", arguments="{}"), "A four.", "Four."])
    agent = agent_with(llm=llm, tools=dice)
    thread = agent.get_new_thread()
    response = await agent.run("Throw", thread=thread)

    restored = await agent.deserialize_thread(await saved(thread))
    await agent.run("What was it?", thread=restored)

    assert [message.role for message in response.messages] == ["assistant", "tool", "assistant"]
    assert [shown["role"] for shown in llm.prompts[-1]] == ["user", "assistant", "tool", "assistant", "user"]
    assert llm.prompts[-1][1]["tool_calls"] == [{"id": "c1", "name": "dice", "arguments": "{}"}]


async def test_store_without_ids_and_tools_shows_each_message_once() -> None:
    def dice() -> int:
        """Throw a die."""
        return 4

    llm = ScriptedLLM([ToolCall(id="c1", name="dice", arguments="{}"), "A four.", "Four."])
    agent = agent_with(TextStore, llm, tools=dice)
    thread = agent.get_new_thread()

    await agent.run("Throw", thread=thread)
    await agent.run("What was it?", thread=thread)

    assert texts(llm.prompts[-1]) == ["Throw", "A four.", "What was it?"]


async def test_store_that_keeps_nothing_for_now_costs_no_answer_and_is_told_later() -> None:
    store = BrokenStore("add")
    agent = agent_with(lambda: store)
    thread = agent.get_new_thread()

    response = await agent.run("one", thread=thread)
    store.broken.clear()
    await agent.run("two", thread=thread)

    (first, *_) = response.raw_representation.failures
    assert first.provider == "chat_message_store"
    assert "4711" not in first.message
    assert texts(DATABASES["broken"]) == ["one", "heard 1", "two", "heard 3"]


async def test_thread_is_not_serialized_without_what_its_store_lacks() -> None:
    store = BrokenStore("add")
    agent = agent_with(lambda: store)
    thread = agent.get_new_thread()
    await agent.run("one", thread=thread)

    with pytest.raises(OSError, match="4711"):
        await thread.serialize()
    store.broken.clear()
    await thread.serialize()

    assert texts(DATABASES["broken"]) == ["one", "heard 1"]


async def test_message_that_was_kept_without_an_answer_is_not_kept_twice() -> None:
    class Interrupted(DatabaseMessageStore):
        times = 0

        @override
        async def add_messages(self, messages: Any) -> None:
            await super().add_messages(messages)
            self.times += 1
            if self.times == 1:
                raise TimeoutError

    agent = agent_with(lambda: Interrupted("flaky"))
    thread = agent.get_new_thread()

    await agent.run("one", thread=thread)

    assert texts(DATABASES["flaky"]) == ["one", "heard 1"]


async def test_store_that_cannot_be_read_fails_the_run_and_keeps_the_message() -> None:
    store = BrokenStore("list")
    agent = agent_with(lambda: store)
    thread = agent.get_new_thread()

    with pytest.raises(ProviderError, match="OSError") as failed:
        await agent.run("one", thread=thread)

    assert "4711" not in str(failed.value)
    assert texts(DATABASES["broken"]) == ["one"]


async def test_thread_of_another_agent_is_refused() -> None:
    agent, other = agent_with(name="one"), agent_with(name="other")
    thread = agent.get_new_thread()
    state = await saved(thread)

    with pytest.raises(SessionMismatch):
        await other.run("Hello", thread=thread)
    with pytest.raises(SessionMismatch, match="one of the agent 'one'"):
        await other.deserialize_thread(state)


@pytest.mark.parametrize("given", [{}, {"id": "t1"}, [], "text", {"session": {}, "v": 9}])
async def test_what_is_no_thread_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInput):
        await agent_with().deserialize_thread(given)


async def test_thread_at_a_service_elsewhere_is_not_taken() -> None:
    with pytest.raises(InvalidInput, match="kept by a service"):
        await agent_with().deserialize_thread({"service_thread_id": "resp_1"})


async def test_service_that_keeps_threads_is_told_only_what_is_new() -> None:
    llm = ScriptedLLM(["one", "two", "three"], keeps_answers=True)
    with pytest.warns(UserWarning, match="chat_message_store_factory is not used"):
        agent = agent_with(lambda: DatabaseMessageStore("unused"), llm, store=True)
    thread = agent.get_new_thread()

    await agent.run("1", thread=thread)
    await agent.run("2", thread=thread)
    restored = await agent.deserialize_thread(await saved(thread))
    await agent.run("3", thread=restored)

    assert [texts(prompt) for prompt in llm.prompts] == [["1"], ["2"], ["3"]]
    assert thread.message_store is None
    assert (thread.service_thread_id, restored.service_thread_id) == ("answer_2", "answer_3")
    assert not DATABASES


async def test_keeper_of_messages_is_not_changed_unnoticed() -> None:
    llm = ScriptedLLM(lambda _: "hi", keeps_answers=True)
    local, remote = agent_with(llm=llm, name="a"), agent_with(llm=llm, name="a", store=True)
    here, there = local.get_new_thread(), remote.get_new_thread()
    await local.run("1", thread=here)
    await remote.run("1", thread=there)

    with pytest.raises(SessionMismatch, match="kept by a message store"):
        await remote.deserialize_thread(await saved(here))
    with pytest.raises(SessionMismatch, match="kept by the model's service"):
        await local.deserialize_thread(await saved(there))


async def test_service_that_keeps_nothing_leaves_it_to_the_store() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent = agent_with(lambda: DatabaseMessageStore("used"), listening(), store=True)

    await agent.run("one", thread=agent.get_new_thread())

    assert texts(DATABASES["used"]) == ["one", "heard 1"]


def test_unknown_keyword_of_an_agent_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="'context_provider'"):
        ChatAgent(listening(), context_provider=[])  # type: ignore[call-arg]


async def test_unknown_keyword_of_a_run_is_a_type_error() -> None:
    agent = agent_with()

    with pytest.raises(TypeError, match="'tools'"):
        await agent.run("Hello", tools=[])  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'threads'"):
        async for _ in agent.run_stream("Hello", threads=None):  # type: ignore[call-arg]
            pass


async def test_settings_reach_the_model() -> None:
    llm = listening()
    agent = agent_with(llm=llm, temperature=0.5, stop="END")

    await agent.run("Hello", max_tokens=7, seed=None)

    settings = llm.asked[0].settings
    assert (settings.temperature, settings.stop, settings.max_tokens, settings.seed) == (
        0.5,
        ("END",),
        7,
        None,
    )


async def test_answer_of_a_format_has_its_value_and_its_cost() -> None:
    agent = agent_with(llm=ScriptedLLM([{"age": 7}]), response_format={"age": "integer"}, name="Reader")

    response = await agent.run("How old?")

    assert response.value == {"age": 7}
    assert response.usage_details.total_token_count > 0
    assert response.messages[0].author_name == "Reader"


async def test_nothing_said_is_refused() -> None:
    with pytest.raises(InvalidInput, match="say something"):
        await agent_with().run([])
