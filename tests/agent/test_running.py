"""Agents answer, in sessions and by themselves, and are never changed by that."""

import asyncio
import copy
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict, override

from tertulia.agent import Agent, AgentRunFinished
from tertulia.agent_settings import ModelSettings, RunLimits
from tertulia.errors import (
    BudgetExceeded,
    ConversationBusy,
    ConversationClosed,
    HeadMoved,
    IdempotencyMismatch,
    InvalidInput,
    InvalidShape,
    RunCancelled,
    SessionMismatch,
    UnknownModel,
)
from tertulia.events import TextDelta, TurnFinished
from tertulia.llms.base import Finished
from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.history import FileHistoryProvider, InMemoryHistoryProvider, Recording
from tertulia.memory.history.service import ServiceHistoryProvider
from tertulia.memory.reducers import TruncationReducer
from tertulia.messages import Flag, Message
from tertulia.parts import Media, Text, ToolCall
from tertulia.stores.in_memory import InMemoryStore
from tertulia.tools.functions import tool
from tertulia.usage import Usage
from tests.agent.company import Knowing, Notebook, SlowLLM, echo, left_in_memory, roles, shown, texts


class Meal(BaseModel):
    dish: str
    guests: int = Field(ge=1)


@dataclass
class Order:
    dish: str
    guests: int


class Wish(TypedDict):
    dish: str


class Pay:
    """A tool, as somebody may think."""


async def test_session_goes_on_with_what_was_said() -> None:
    llm = ScriptedLLM(["Hello, Ann.", "Ann."])
    async with Agent(llm, name="Host", instructions="Be kind.") as agent:
        session = agent.create_session()

        await agent.run("I am Ann.", session=session)
        reply = await agent.run("Who am I?", session=session)

    assert reply.text == "Ann."
    assert shown(llm.prompts[1]) == ["Be kind.", "I am Ann.", "Hello, Ann.", "Who am I?"]


async def test_three_equal_turns_are_three() -> None:
    async with Agent(ScriptedLLM(lambda _: "pong")) as agent:
        session = agent.create_session()
        for _ in range(3):
            await agent.run("ping", session=session)

        assert await texts(session) == ["ping", "pong"] * 3


async def test_three_equal_turns_are_three_at_a_history_provider() -> None:
    notebook = Notebook()
    llm = ScriptedLLM(lambda _: "pong")
    async with Agent(llm, history=notebook) as agent:
        session = agent.create_session()
        for _ in range(3):
            await agent.run("ping", session=session)

    assert notebook.texts() == ["ping", "pong"] * 3
    assert len(llm.prompts[-1]) == 5


async def test_nothing_is_known_without_a_session() -> None:
    llm = ScriptedLLM(echo)
    async with Agent(llm) as agent:
        session = agent.create_session()
        await agent.run("in the session", session=session)

        await agent.run("alone")
        await agent.run("alone again")

        assert [len(prompt) for prompt in llm.prompts] == [1, 1, 1]
        assert await texts(session) == ["in the session", "in the session"]
        assert left_in_memory(agent) == 1


async def test_nothing_is_kept_without_a_session(sqlite_url: str) -> None:
    notebook = Notebook()
    async with Agent(ScriptedLLM(echo), store=sqlite_url, history=notebook) as agent:
        await agent.run("alone")
        runtime = await agent._host.runtime()
        stored = await agent._host.agent()

        assert await runtime.store.conversations.page(0, stored.id) == []
        assert notebook.kept == {}


async def test_agent_is_not_changed_by_being_run() -> None:
    @tool(is_idempotent=True)
    def look() -> str:
        """Look."""
        return "seen"

    knowing = Knowing()
    llm = ScriptedLLM([ToolCall(id="1", name="look", arguments="{}"), "Yes.", "No."])
    async with Agent(llm, name="Host", tools=[look], context_providers=[knowing]) as agent:
        before = (agent.digest, repr(agent), copy.copy(agent.definition), sorted(vars(agent)), agent._parts)

        await agent.run("Look.", session=agent.create_session())
        await agent.run("Look.")

        assert (agent.digest, repr(agent), agent.definition, sorted(vars(agent)), agent._parts) == before


async def test_reply_tells_all_that_there_is_to_know() -> None:
    @tool(is_idempotent=True)
    def look(where: str) -> str:
        """Look."""
        return f"seen {where}"

    spent = Usage(input_tokens=10, output_tokens=5, model_calls=1)
    call = ToolCall(id="c", name="look", arguments='{"where":"there"}')
    script = [
        Finished(text="", model="m", calls=(call,), usage=spent, finish_reason="tool_calls"),
        Finished(text="Only half", model="m", usage=spent, finish_reason="length"),
    ]
    async with Agent(ScriptedLLM(script), tools=[look]) as agent:
        session = agent.create_session()
        reply = await agent.run("Look.", session=session)

        assert reply.text == "Only half"
        assert [message.role for message in reply.messages] == ["assistant", "tool", "assistant"]
        assert reply.messages == tuple((await session.messages())[1:])
        assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.model_calls) == (20, 10, 2)
        assert (reply.finish_reason, reply.value, reply.closed, reply.failures) == ("length", None, None, ())
        assert reply.conversation_id == session.conversation_id
        assert {message.run_id for message in reply.messages} == {reply.run_id}


async def test_providers_do_not_cost_the_reason_why_the_model_stopped() -> None:
    cut = Finished(text="Only half", model="m", finish_reason="length")
    async with Agent(ScriptedLLM([cut]), context_providers=[Knowing()]) as agent:
        reply = await agent.run("Tell me.")

    assert reply.finish_reason == "length"


async def test_stream_and_run_are_one_path() -> None:
    async with Agent(ScriptedLLM(["Good morning."] * 2, chunk=4)) as agent:
        session = agent.create_session()
        events = [event async for event in agent.run_stream("Hi.", session=session)]
        reply = await agent.run("Hi.", session=session)

    last = events[-1]
    assert isinstance(last, AgentRunFinished)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Good morning."
    assert [event.message.text for event in events if isinstance(event, TurnFinished)] == ["Good morning."]
    assert last.reply.text == reply.text == "Good morning."
    assert last.messages == last.reply.messages


@pytest.mark.parametrize(
    ("shape", "text", "value"),
    [
        (Meal, '{"dish":"soup","guests":2}', Meal(dish="soup", guests=2)),
        (Order, '{"dish":"soup","guests":2}', Order("soup", 2)),
        (Wish, '{"dish":"soup"}', {"dish": "soup"}),
        ({"type": "object", "properties": {"n": {"type": "integer"}}}, '{"n":1}', {"n": 1}),
        ('{"type":"object","properties":{"n":{"type":"integer"}}}', '{"n":1}', {"n": 1}),
        (list[int], "[1,2]", [1, 2]),
    ],
    ids=["pydantic", "dataclass", "typed dict", "schema", "text of a schema", "list"],
)
async def test_value_is_of_the_type_that_was_asked_for(shape: Any, text: str, value: object) -> None:
    async with Agent(ScriptedLLM([text]), response_shape=shape) as agent:
        reply = await agent.run("What shall I cook?")

    assert reply.value == value
    assert type(reply.value) is type(value)


@pytest.mark.parametrize("call", ["run", "run_stream"])
async def test_unknown_keyword_raises(call: str) -> None:
    async with Agent(ScriptedLLM(echo)) as agent:
        with pytest.raises(TypeError, match=r"'sesion'.*multitask_strategy"):
            if call == "run":
                await agent.run("Hi.", sesion=agent.create_session())  # type: ignore[call-arg]
            else:
                [event async for event in agent.run_stream("Hi.", sesion=None)]  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            Agent(ScriptedLLM(echo), context_provider=Knowing())  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            agent.create_session(thread_id="x")  # type: ignore[call-arg]


async def test_session_of_another_agent_is_refused() -> None:
    async with Agent(ScriptedLLM(echo), name="A") as one, Agent(ScriptedLLM(echo), name="A") as other:
        with pytest.raises(SessionMismatch, match="restore it with this one"):
            await other.run("Hi.", session=one.create_session())


@pytest.mark.parametrize(
    "said",
    [
        "Look at this.",
        Text(text="Look at this."),
        ["Look at ", Text(text="this.")],
        Message.from_dict({"role": "user", "content": "Look at this."}),
        [Media(kind="image", media_type="image/png", base64="aGk="), "Look at this."],
    ],
    ids=["text", "part", "parts", "message", "media"],
)
async def test_much_can_be_said(said: Any) -> None:
    llm = ScriptedLLM(["I see."])
    async with Agent(llm) as agent:
        await agent.run(said)

    assert shown(llm.prompts[0]) == ["Look at this."]


@pytest.mark.parametrize(
    "said",
    ["", "  ", [], "a\x00", 7, Message.from_dict({"role": "assistant", "content": "I say."})],
    ids=["empty", "blank", "nothing", "nul", "number", "assistant"],
)
async def test_what_cannot_be_said_is_refused_and_nothing_is_kept(said: Any) -> None:
    async with Agent(ScriptedLLM(echo)) as agent:
        session = agent.create_session()
        with pytest.raises(InvalidInput):
            await agent.run(said, session=session)

        assert await session.messages() == []


async def test_idempotency_key_gives_the_same_answer_and_asks_once() -> None:
    llm = ScriptedLLM(["first", "second"])
    async with Agent(llm) as agent:
        session = agent.create_session()
        one = await agent.run("Hi.", session=session, idempotency_key="k")
        other = await agent.run("Hi.", session=session, idempotency_key="k")
        with pytest.raises(IdempotencyMismatch):
            await agent.run("Other.", session=session, idempotency_key="k")

        assert (one.run_id, one.text) == (other.run_id, other.text)
        assert len(llm.prompts) == 1
        assert await texts(session) == ["Hi.", "first"]


async def test_reject_refuses_while_a_run_is_under_way_and_enqueue_waits() -> None:
    llm = SlowLLM()
    async with Agent(llm) as agent:
        session = agent.create_session()
        stream = agent.run_stream("one", session=session)
        await anext(stream)
        await llm.reached.wait()

        with pytest.raises(ConversationBusy):
            await agent.run("two", session=session, multitask_strategy="reject")
        llm.let.set()
        reply = await agent.run("three", session=session)
        assert [event async for event in stream]

        assert reply.text == "three"
        assert await texts(session) == ["one", "one", "three", "three"]


async def test_rollback_withdraws_what_it_takes_the_place_of() -> None:
    llm = SlowLLM()
    async with Agent(llm) as agent:
        session = agent.create_session()
        stream = agent.run_stream("one", session=session)
        await anext(stream)
        await llm.reached.wait()
        second = asyncio.create_task(agent.run("two", session=session, multitask_strategy="rollback"))
        await llm.left.wait()
        llm.let.set()
        await second
        with pytest.raises(RunCancelled):
            [event async for event in stream]

        assert shown(llm.prompts[-1]) == ["two"]
        assert [bool(each.flags & Flag.WITHDRAWN) for each in await session.messages()] == [
            True,
            False,
            False,
        ]


async def test_metadata_and_settings_and_limits_are_those_of_the_run() -> None:
    llm = ScriptedLLM(echo)
    async with Agent(llm, settings={"temperature": 0.1, "max_tokens": 50}) as agent:
        session = agent.create_session()
        settings = ModelSettings(temperature=0.9)
        reply = await agent.run("Hi.", session=session, settings=settings, metadata={"who": "me"})
        runtime = await agent._host.runtime()
        run = await runtime.store.runs.get(0, reply.run_id)

    assert llm.asked[0].settings.temperature == 0.9
    assert llm.asked[0].settings.max_tokens == 50
    assert run.options["metadata"] == {"who": "me"}


@pytest.mark.parametrize("given", [RunLimits(max_steps=1), {"max_steps": 1}])
async def test_limits_of_a_run_are_beside_those_of_the_agent(given: Any) -> None:
    @tool(is_idempotent=True)
    def look() -> str:
        """Look."""
        return "seen"

    llm = ScriptedLLM(lambda _: ToolCall(id="c", name="look", arguments="{}"))
    async with Agent(llm, tools=[look], limits={"max_steps": 9}) as agent:
        with pytest.raises(BudgetExceeded):
            await agent.run("Look.", limits=given)
        assert len(llm.prompts) == 1
        with pytest.raises(BudgetExceeded):
            await agent.run("Look.", limits={"max_steps": 99})

    assert len(llm.prompts) <= 1 + 9


async def test_expected_head_that_has_moved_is_refused() -> None:
    async with Agent(ScriptedLLM(echo)) as agent:
        session = agent.create_session()
        await agent.run("one", session=session, expected_head=0)
        with pytest.raises(HeadMoved):
            await agent.run("two", session=session, expected_head=1)

        assert (await agent.run("two", session=session, expected_head=2)).text == "two"


async def test_closed_session_takes_no_message_until_it_is_opened_again() -> None:
    async with Agent(ScriptedLLM(echo)) as agent:
        session = agent.create_session()
        await session.close("enough")
        with pytest.raises(ConversationClosed, match="enough"):
            await agent.run("one", session=session)

        assert (await agent.run("two", session=session, reopen=True)).text == "two"
        await session.close()
        await session.reopen()
        assert (await agent.run("three", session=session)).text == "three"


@pytest.mark.parametrize(
    "given",
    [
        {"llm": "nobody:nothing"},
        {"llm": []},
        {"llm": ["scripted:echo", 7]},
        {"response_shape": {"$ref": "#/nowhere"}},
        {"response_shape": object()},
        {"tools": [7]},
        {"context_providers": [Knowing(), Knowing()]},
        {"history": [Notebook(name="a"), Notebook(name="b")]},
        {"history": [Notebook(), Recording(Notebook())]},
        {"history": [Notebook(), ServiceHistoryProvider()]},
        {"history": ServiceHistoryProvider(), "llm": "scripted:echo"},
        {"history": InMemoryHistoryProvider(), "store": "sqlite:///x.db"},
        {"history": ServiceHistoryProvider(), "reducers": [TruncationReducer(max_messages=3)]},
        {"limits": {"max_steps": 0}},
        {"settings": {"temprature": 1}},
    ],
    ids=",".join,
)
def test_what_cannot_go_together_is_refused_at_construction(given: dict[str, Any]) -> None:
    with pytest.raises((InvalidInput, InvalidShape, UnknownModel)):
        Agent(**{"llm": ScriptedLLM(echo, keeps_answers=True), **given})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"llm": 7}, "an object of type int is no model: give provider:model, or a model itself"),
        ({"llm": ScriptedLLM}, "the class ScriptedLLM is no model: give provider:model, or a model itself"),
        ({"tools": [7]}, "an object of type int is no tool; give functions"),
        ({"tools": "pay"}, "tools are objects, not texts"),
        ({"tools": Pay}, "tools: Pay is a class; make one of it"),
        ({"context_providers": [Knowing]}, r"context_providers: Knowing is a class; make one of it: Knowing"),
        ({"context_providers": Knowing}, "Knowing is a class"),
        ({"history": Notebook}, "history: Notebook is a class"),
        ({"history": [Notebook(), InMemoryHistoryProvider]}, "InMemoryHistoryProvider is a class"),
        ({"history": 7}, "an object of type int is no history provider: subclass HistoryProvider"),
        ({"reducers": [TruncationReducer]}, "reducers: TruncationReducer is a class"),
        ({"reducers": [7]}, "an object of type int is no reducer"),
        ({"store": InMemoryStore}, "the class InMemoryStore is no store: give a URL"),
        ({"store": 7}, "an object of type int is no store: give a URL"),
        (
            {"history": ServiceHistoryProvider(), "settings": {"store": False}},
            "settings say that the service is not to keep answers",
        ),
        ({"instructions": 7}, "instructions, context and first_message are texts"),
        ({"context_tokens": 7}, "context_tokens is a whole number, 256 at least"),
    ],
)
def test_what_is_given_in_the_wrong_place_is_refused_with_a_sentence(
    given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        Agent(**{"llm": ScriptedLLM(echo, keeps_answers=True), **given})


async def test_service_may_keep_answers_if_the_settings_do_not_speak_of_it() -> None:
    llm = ScriptedLLM(echo, keeps_answers=True)
    for settings in ({}, {"store": True}):
        async with Agent(llm, history=ServiceHistoryProvider(), settings=settings) as agent:
            session = agent.create_session()
            await agent.run("Hi.", session=session)

            assert session.service_session_id is not None


async def test_names_of_models_that_stand_in_for_one_another() -> None:
    async with Agent(["scripted:text=one", "scripted:echo"]) as agent:
        assert (await agent.run("Hi.")).text == "one"


async def test_first_message_is_shown_and_not_numbered() -> None:
    llm = ScriptedLLM(echo)
    async with Agent(llm, first_message="Welcome!") as agent:
        session = agent.create_session()
        await agent.run("Hi.", session=session)

        assert [message.number for message in await session.messages()] == [1, 2]
    assert (roles(llm.prompts[0]), shown(llm.prompts[0])) == (["assistant", "user"], ["Welcome!", "Hi."])


async def test_reducers_shape_what_is_shown_and_the_log_stays() -> None:
    llm = ScriptedLLM(echo)
    async with Agent(llm, reducers=[TruncationReducer(max_messages=2)]) as agent:
        session = agent.create_session()
        for text in ("one", "two", "three"):
            await agent.run(text, session=session)

        assert len(await session.messages()) == 6
    assert len(llm.prompts[-1]) <= 2
    assert shown(llm.prompts[-1])[-1] == "three"


async def test_agent_that_is_stored_is_loaded_by_its_name(sqlite_url: str) -> None:
    first = Agent("scripted:text=Hello.", name="Host", instructions="Be kind.", store=sqlite_url)
    async with first:
        session = first.create_session("mine")
        await first.run("Hi.", session=session)

    async with await Agent.load("Host", store=sqlite_url) as loaded:
        again = loaded.create_session("mine")
        await loaded.run("Again.", session=again)

        assert loaded.definition == first.definition
        assert await texts(again) == ["Hi.", "Hello.", "Again.", "Hello."]


async def test_agent_that_needs_its_program_is_not_loaded(sqlite_url: str) -> None:
    async with Agent(ScriptedLLM(echo), name="Host", store=sqlite_url) as agent:
        await agent.run("Hi.", session=agent.create_session())

    with pytest.raises(InvalidInput, match="make it in code"):
        await Agent.load("Host", store=sqlite_url)


async def test_closing_closes_everything_even_where_something_cannot_be_closed(tmp_path: Any) -> None:
    closed: list[str] = []

    class Stubborn(Knowing):
        @override
        async def close(self) -> None:
            closed.append("stubborn")
            raise OSError("stuck")

    class Willing(Knowing):
        @override
        async def close(self) -> None:
            closed.append("willing")

    class Bare:
        """Has nothing to close."""

    providers = [Willing(name="willing"), Stubborn(name="stubborn"), Bare()]
    history = FileHistoryProvider(tmp_path)
    agent = Agent(ScriptedLLM(echo), context_providers=providers, history=history)  # type: ignore[arg-type]
    await agent.run("Hi.", session=agent.create_session())

    with pytest.raises(OSError, match="stuck"):
        await agent.close()

    assert sorted(closed) == ["stubborn", "willing"]
