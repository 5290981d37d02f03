"""Old context providers: when they are asked and told, and whose what they know is."""

import asyncio
import json
import warnings
from collections.abc import Sequence
from typing import Any, Self

import pytest
from typing_extensions import override

import tertulia
from tertulia import RunContext, tool
from tertulia.compat.agent_framework import (
    AgentThread,
    ChatAgent,
    ChatMessage,
    Context,
    ContextProvider,
    Role,
)
from tertulia.errors import InvalidInput, ModelRefused
from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.sessions import ProviderRun
from tertulia.parts import ToolCall
from tests.compat.talk import agent_with, listening, texts


class Diary(ContextProvider):
    """Writes down what it is told, and tells all of it."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    @override
    async def thread_created(self, thread_id: str | None) -> None:
        self.entries.append("a new thread")

    @override
    async def invoking(self, messages: Any, **kwargs: Any) -> Context:
        return Context(instructions=f"Diary: {'; '.join(self.entries)}")

    @override
    async def invoked(
        self,
        request_messages: Any,
        response_messages: Any = None,
        invoke_exception: Exception | None = None,
        **kwargs: Any,
    ) -> None:
        answered = texts(response_messages) if response_messages else type(invoke_exception).__name__
        self.entries.append(f"{texts(request_messages)} {answered}")


class Remembering(Diary):
    """A diary that goes with its thread."""

    def serialize(self) -> Any:
        return self.entries

    def deserialize(self, state: Any) -> None:
        self.entries = list(state)


class Saying(ContextProvider):
    """Says what it was made for."""

    def __init__(self, context: Context | None, *, error: Exception | None = None) -> None:
        self._context, self._error = context, error
        self.asked: list[list[str]] = []

    @override
    async def invoking(self, messages: Any, **kwargs: Any) -> Context:
        self.asked.append(texts(messages))
        if self._error is not None:
            raise self._error
        return self._context  # type: ignore[return-value]  # as somebody may forget to return one

    @override
    async def invoked(self, request_messages: Any, *args: Any, **kwargs: Any) -> None:
        if self._error is not None:
            raise self._error


async def restarted(thread: AgentThread, agent: ChatAgent) -> AgentThread:
    """Return a thread as another process has it."""
    return await agent.deserialize_thread(json.loads(json.dumps(await thread.serialize())))


def seen(llm: ScriptedLLM) -> Sequence[str]:
    """Return what the model was shown last."""
    return texts(llm.prompts[-1])


async def test_context_is_shown_before_the_message_and_not_kept() -> None:
    llm = listening()
    note = ChatMessage(Role.USER, text="A quoted note.")
    providers = [Saying(Context(instructions="Be kind.", messages=[note])), Saying(None), Saying(Context())]
    agent = agent_with(llm=llm, instructions="Listen.", context_providers=providers)
    thread = agent.get_new_thread()

    await agent.run("one", thread=thread)
    await agent.run("two", thread=thread)

    (system, *rest) = llm.prompts[-1]
    assert system["content"].index("Listen.") < system["content"].index("Be kind.")
    assert texts(rest) == ["one", "heard 3", "A quoted note.", "two"]
    assert providers[1].asked == [["one"], ["two"]]


async def test_tools_of_a_context_can_be_used() -> None:
    @tool
    def dice() -> int:
        """Throw a die."""
        return 4

    llm = ScriptedLLM([ToolCall(id="c1", name="dice", arguments="{}"), "Four."])
    agent = agent_with(llm=llm, context_providers=Saying(Context(tools=[dice])))

    response = await agent.run("Throw")

    assert texts(response.messages) == ["", "", "Four."]
    assert seen(llm)[-1] == "4"


async def test_provider_is_told_of_answers_and_of_failures() -> None:
    diary = Diary()
    agent = agent_with(llm=ScriptedLLM(["Hello.", ModelRefused("no")]), context_providers=diary)
    thread = agent.get_new_thread()

    await agent.run("Hi", thread=thread)
    with pytest.raises(ModelRefused):
        await agent.run("And now?", thread=thread)

    assert diary.entries == ["a new thread", "['Hi'] ['Hello.']", "['And now?'] ModelRefused"]


async def test_failing_provider_costs_neither_answer_nor_history() -> None:
    agent = agent_with(context_providers=[Saying(None, error=OSError("the password is 4711")), Diary()])
    thread = agent.get_new_thread()

    response = await agent.run("one", thread=thread)

    failures = response.raw_representation.failures
    assert [(each.provider, each.stage) for each in failures] == [
        ("Saying", "before_run"),
        ("Saying", "after_run"),
    ]
    assert "4711" not in str(failures)
    assert thread.message_store is not None
    assert texts(await thread.message_store.list_messages()) == ["one", "heard 2"]


async def test_each_thread_has_its_own_provider_if_there_is_a_factory() -> None:
    llm = listening()
    agent = agent_with(llm=llm, context_providers=Diary)
    alices, bobs = agent.get_new_thread(), agent.get_new_thread()

    await asyncio.gather(agent.run("I am Alice", thread=alices), agent.run("I am Bob", thread=bobs))
    await agent.run("Who am I?", thread=bobs)

    assert "I am Bob" in seen(llm)[0]
    assert "Alice" not in str(seen(llm))


async def test_one_provider_for_all_threads_warns_once_it_tells_what_it_learnt_elsewhere() -> None:
    agent = agent_with(context_providers=Diary())
    alices, bobs, carols = (agent.get_new_thread() for _ in range(3))

    await agent.run("I am Alice", thread=alices)
    await agent.run("Still I", thread=alices)
    with pytest.warns(UserWarning, match="one Diary serves several threads") as told:
        await agent.run("I am Bob", thread=bobs)
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await agent.run("I am Carol", thread=carols)


async def test_one_provider_that_learns_nothing_serves_all_threads_in_silence() -> None:
    class Kind(ContextProvider):
        def __init__(self) -> None:
            self.client, self.words = object(), {"kind", "be"}

        @override
        async def invoking(self, messages: Any, **kwargs: Any) -> Context:
            return Context(instructions="Be kind.")

    agent = agent_with(context_providers=Kind())

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answers = [await agent.run("Hello", thread=agent.get_new_thread()) for _ in range(3)]

    assert [answer.text for answer in answers] == ["heard 2"] * 3


async def test_what_a_provider_knows_goes_with_its_thread() -> None:
    llm = listening()
    agent = agent_with(context_providers=[Remembering, Remembering])
    thread = agent.get_new_thread()
    await agent.run("I am Alice", thread=thread)
    later = agent_with(llm=llm, context_providers=[Remembering, Remembering])

    await later.run("Who am I?", thread=await restarted(thread, later))

    assert seen(llm)[0].count("['I am Alice'] ['heard 2']") == 2
    assert seen(llm)[0].count("a new thread") == 2


async def test_what_one_provider_knows_goes_with_the_only_thread_it_serves() -> None:
    llm = listening()
    agent = agent_with(context_providers=Remembering())
    thread = agent.get_new_thread()
    await agent.run("I am Alice", thread=thread)
    later = agent_with(llm=llm, context_providers=Remembering())

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            await later.run("Who am I?", thread=await restarted(thread, later))

    assert "I am Alice" in seen(llm)[0]


async def test_what_one_provider_knows_of_several_threads_goes_with_none() -> None:
    agent = agent_with(context_providers=Remembering())
    alices, bobs = agent.get_new_thread(), agent.get_new_thread()
    await agent.run("I am Alice", thread=alices)
    with pytest.warns(UserWarning, match="serves several threads"):
        await agent.run("I am Bob", thread=bobs)

    told = await bobs.serialize()

    assert "Alice" not in json.dumps(told)
    assert "context_providers" not in told


async def test_state_of_another_thread_is_not_given_to_one_provider_for_all() -> None:
    agent = agent_with(context_providers=Remembering())
    thread = agent.get_new_thread()
    await agent.run("I am Alice", thread=thread)
    shared = Remembering()
    later = agent_with(context_providers=shared)
    await later.run("I am Bob", thread=later.get_new_thread())

    await restarted(thread, later)

    assert "Alice" not in str(shared.entries)


async def test_class_that_makes_a_provider_from_its_state_is_asked_to() -> None:
    class Made(Diary):
        async def serialize(self) -> Any:
            return {"entries": self.entries}

        @classmethod
        async def deserialize(cls, state: Any) -> "Made":
            made = cls()
            made.entries = state["entries"]
            return made

    llm = listening()
    agent = agent_with(llm=llm, context_providers=Made)
    thread = agent.get_new_thread()
    await agent.run("I am Alice", thread=thread)

    await agent.run("Who am I?", thread=await restarted(thread, agent))

    assert "I am Alice" in seen(llm)[0]


async def test_our_own_providers_stand_beside_old_ones() -> None:
    class Weather(tertulia.ContextProvider):
        @override
        async def before_run(self, run: ProviderRun) -> RunContext | None:
            run.state["asked"] = run.state.get("asked", 0) + 1
            return RunContext(instructions=f"It rains for the {run.state['asked']}. time.")

    llm = listening()
    agent = agent_with(llm=llm, context_providers=[Diary, Weather()])
    thread = agent.get_new_thread()
    await agent.run("one", thread=thread)

    await agent.run("two", thread=await restarted(thread, agent))

    assert "It rains for the 2. time." in seen(llm)[0]


async def test_agent_begins_and_ends_with_its_providers() -> None:
    class Opened(Diary):
        @override
        async def __aenter__(self) -> Self:
            self.entries.append("begun")
            return self

        @override
        async def __aexit__(self, *_: object) -> None:
            self.entries.append("ended")

    diary = Opened()

    async with agent_with(context_providers=[diary, Diary]) as agent:
        await agent.run("Hi")

    assert (diary.entries[0], diary.entries[-1]) == ("begun", "ended")


@pytest.mark.parametrize("given", [7, "Diary", [Diary(), None]])
def test_what_is_no_provider_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInput, match="no context provider"):
        agent_with(context_providers=given)


def test_factory_that_makes_no_provider_is_refused_with_the_first_thread() -> None:
    agent = agent_with(context_providers=dict)

    with pytest.raises(InvalidInput, match="dict has made no context provider"):
        agent.get_new_thread()
