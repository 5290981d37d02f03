"""History that a model's service keeps, over real HTTP: what is sent, and what is kept there."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tertulia.agent import Agent, Session
from tertulia.errors import ModelError, ModelRefused, ShapeMismatch
from tertulia.memory.history.service import Kept, ServiceHistoryProvider
from tertulia.parts import ToolCall
from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.tools.functions import tool

pytestmark = pytest.mark.usefixtures("openai")
either = pytest.mark.parametrize("keeps", ["answers", "conversation"])
SHAPE = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@tool(is_idempotent=True)
def look(where: str) -> str:
    """Look."""
    return f"seen {where}"


LOOK = ToolCall(id="c", name="look", arguments='{"where":"there"}')


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI(reply_chars=20) as server:
        yield server


@pytest.fixture
def openai(fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have ``openai:…`` be the fake."""
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)


def an_agent(keeps: Kept, **more: Any) -> Agent:
    return Agent("openai:gpt-x", name="Chef", history=ServiceHistoryProvider(keeps=keeps), **more)


def sent(fake: FakeOpenAI) -> list[list[str]]:
    """Return what was sent in each request, by role or kind."""
    return [[str(item.get("role") or item["type"]) for item in each["input"]] for each in fake.requests]


def leans(fake: FakeOpenAI) -> list[bool]:
    """Return of each request whether it goes on from something, of which it never names two."""
    for each in fake.requests:
        assert not (each.get("previous_response_id") and each.get("conversation"))
    return [bool(each.get("previous_response_id") or each.get("conversation")) for each in fake.requests]


def talk(fake: FakeOpenAI, session: Session) -> list[str]:
    """Return what the service has of a session, by role or kind."""
    assert session.service_session_id is not None
    kept = fake.shelf.answers.get(session.service_session_id)
    items = fake.shelf.talk(session.service_session_id).items if kept is None else kept.items()
    return [str(item.get("role") or item["type"]) for item in items]


@either
@pytest.mark.parametrize("call", ["run", "run_stream"])
async def test_only_new_messages_are_sent(fake: FakeOpenAI, keeps: Kept, call: str) -> None:
    async with an_agent(keeps, instructions="Be kind.") as agent:
        session = agent.create_session()
        for text in ("one", "two", "three"):
            if call == "run":
                await agent.run(text, session=session)
            else:
                assert [event async for event in agent.run_stream(text, session=session)]

        assert sent(fake) == [["user"], ["user"], ["user"]]
        assert [each["instructions"] for each in fake.requests] == ["Be kind."] * 3
        assert leans(fake) == [keeps == "conversation", True, True]
        assert all(each["store"] for each in fake.requests)
        assert talk(fake, session) == ["user", "assistant"] * 3


@either
async def test_uses_of_tools_follow_call_by_call(fake: FakeOpenAI, keeps: Kept) -> None:
    fake.script([LOOK, replace(LOOK, id="d"), "I saw.", "Bye."])
    async with an_agent(keeps, tools=[look]) as agent:
        session = agent.create_session()
        await agent.run("Look.", session=session)
        await agent.run("Bye.", session=session)

        assert sent(fake) == [["user"], ["function_call_output"], ["function_call_output"], ["user"]]
        uses = ["function_call", "function_call_output"]
        assert talk(fake, session) == ["user", *uses, *uses, "assistant", "user", "assistant"]


@either
async def test_expired_id_is_recovered_with_everything_sent_once(fake: FakeOpenAI, keeps: Kept) -> None:
    fake.script([LOOK, "I saw.", "Yes.", "Bye."])
    async with an_agent(keeps, tools=[look]) as agent:
        session = agent.create_session()
        await agent.run("Look.", session=session)
        fake.expire()
        reply = await agent.run("Did you?", session=session)
        await agent.run("Bye.", session=session)

        assert reply.text == "Yes."
        everything = ["user", "function_call", "function_call_output", "assistant", "user"]
        assert sent(fake)[-2:] == [everything, ["user"]]
        assert talk(fake, session) == [*everything, "assistant", "user", "assistant"]


@either
async def test_session_is_gone_on_with_in_another_process(fake: FakeOpenAI, keeps: Kept) -> None:
    agent = an_agent(keeps)
    session = agent.create_session()
    await agent.run("one", session=session)
    told = session.to_dict()
    await agent.close()

    async with an_agent(keeps) as other:
        again = other.restore_session(told)
        await other.run("two", session=again)

        assert sent(fake) == [["user"], ["user"]]
        assert talk(fake, again) == ["user", "assistant"] * 2


@either
async def test_withdrawn_message_begins_a_new_chain(fake: FakeOpenAI, keeps: Kept, sqlite_url: str) -> None:
    async with an_agent(keeps, store=sqlite_url) as agent:
        session = agent.create_session()
        await agent.run("a secret", session=session)
        await agent.run("two", session=session)
        await session.withdraw(1, 2)
        await agent.run("three", session=session)

        assert sent(fake)[-1] == ["user", "assistant", "user"]
        assert talk(fake, session) == ["user", "assistant"] * 2
    assert "a secret" not in str(fake.requests[-1])


@either
async def test_failure_in_the_middle_leaves_nothing_open(fake: FakeOpenAI, keeps: Kept) -> None:
    fake.script(["Hi.", LOOK, ModelRefused("no"), "Sorry."])
    async with an_agent(keeps, tools=[look]) as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        with pytest.raises(ModelError):
            await agent.run("two", session=session)
        reply = await agent.run("three", session=session)

        assert reply.text == "Sorry."
        uses = ["function_call", "function_call_output"]
        assert talk(fake, session) == ["user", "assistant", "user", *uses, "user", "assistant"]


@either
async def test_answer_without_the_shape_is_mended_and_not_told_twice(fake: FakeOpenAI, keeps: Kept) -> None:
    fake.script(['{"n":1}', "no", '{"n":2}', "no", "no", "no", '{"n":4}'])
    async with an_agent(keeps, response_shape=SHAPE) as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        mended = await agent.run("two", session=session)
        with pytest.raises(ShapeMismatch):
            await agent.run("three", session=session)
        reply = await agent.run("four", session=session)

        assert (mended.value, reply.value) == ({"n": 2}, {"n": 4})
        said = [str(item.get("content")) for each in fake.requests[-1:] for item in each["input"]]
        assert sum("three" in text for text in said) == 1
        assert sent(fake)[1:3] == [["user"], ["user"]]
