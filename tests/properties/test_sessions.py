"""Whatever was said and kept, a session is the same after it was saved and restored."""

import asyncio
import json
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tertulia import ids
from tertulia.agent import Agent, Session
from tertulia.conversations import DEFAULT_TENANT
from tertulia.errors import InvalidInput, NotAuthorized, SessionMismatch
from tertulia.llms.base import Prompt
from tertulia.llms.scripted import ScriptedLLM, ScriptedReply
from tertulia.memory.history.service import ServiceHistoryProvider
from tertulia.messages import Flag, Message
from tertulia.parts import Media, Part, Reasoning, Text, ToolCall, ToolResult
from tertulia.stores.in_memory import InMemoryStore
from tertulia.tools.functions import tool
from tests.agent.company import Notebook

KEY = b"sixteen bytes or more"
AGENT = {"name": "Host", "instructions": "Be kind."}

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)
names = st.text("abcdefgh_", min_size=1, max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
calls = st.builds(
    ToolCall, id=names, name=names, arguments=st.dictionaries(names, json_values, max_size=2).map(json.dumps)
)
parts: st.SearchStrategy[Part] = st.one_of(
    st.builds(Text, text=texts),
    st.builds(Reasoning, text=texts),
    calls,
    st.builds(ToolResult, call_id=names, name=names, text=texts, is_error=st.booleans()),
    st.builds(Media, kind=st.just("image"), media_type=st.just("image/png"), base64=st.just("aGk=")),
)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    return Message(
        id=ids.new_id(ids.MESSAGE),
        role=draw(st.sampled_from(["system", "user", "assistant", "tool"])),
        content=tuple(draw(st.lists(parts, max_size=4))),
        author=draw(st.none() | names),
        flags=draw(st.sampled_from([Flag.NONE, Flag.WITHDRAWN, Flag.INCOMPLETE, Flag.DELETED])),
        created_at=draw(st.integers(1, 2**50)),
    )


states = st.dictionaries(names, st.dictionaries(names, json_values, max_size=3), max_size=3)
users = st.none() | names


def an_agent() -> Agent:
    return Agent(ScriptedLLM(lambda _: "Yes."), **AGENT)  # type: ignore[arg-type]


async def a_session(agent: Agent, said: list[Message], kept: dict[str, Any], user: str | None) -> Session:
    session = agent.create_session(user=user)
    await session.append(said)
    runtime = await agent._host.runtime()
    for source, value in kept.items():
        await runtime.store.states.put(
            DEFAULT_TENANT, session.conversation_id, source, json.dumps(value), expected_version=0
        )
    return session


@settings(max_examples=60)
@given(said=st.lists(messages(), max_size=6), kept=states, user=users, is_signed=st.booleans())
def test_session_is_the_same_after_it_was_saved_and_restored(
    said: list[Message], kept: dict[str, Any], user: str | None, is_signed: bool
) -> None:
    async def round_trip() -> None:
        async with an_agent() as agent, an_agent() as other:
            session = await a_session(agent, said, kept, user)
            told = session.to_dict()
            travelled = json.loads(json.dumps(told))

            if is_signed:
                again = other.restore_signed(session.sign(KEY), KEY)
            else:
                again = other.restore_session(travelled)

            assert travelled == told
            assert await again.messages() == await session.messages()
            assert again.to_dict() == told
            assert (again.id, again.user) == (session.id, session.user)
            assert told.get("states", {}) == kept

    asyncio.run(round_trip())


@settings(max_examples=25)
@given(said=st.lists(messages(), max_size=6), kept=states, user=users, times=st.integers(1, 3))
def test_session_is_the_same_after_it_was_restored_into_a_store(
    said: list[Message], kept: dict[str, Any], user: str | None, times: int
) -> None:
    async def move(folder: str) -> None:
        stored = Agent(ScriptedLLM([]), store=f"sqlite:///{folder}/chat.db", **AGENT)  # type: ignore[arg-type]
        async with an_agent() as agent, stored:
            session = await a_session(agent, said, kept, user)
            for _ in range(times):
                again = stored.restore_session(session.to_dict())
                await again.messages()

            runtime = await stored._host.runtime()
            found = {name: await runtime.store.states.get(0, session.conversation_id, name) for name in kept}
            assert list(map(as_said, await again.messages())) == list(map(as_said, await session.messages()))
            assert {name: json.loads(state.value) for name, state in found.items() if state} == kept
            assert (again.id, again.user) == (session.id, session.user)

    with TemporaryDirectory() as folder:
        asyncio.run(move(folder))


def as_said(message: Message) -> tuple[object, ...]:
    return (message.id, message.number, message.role, message.content, message.author, message.flags)


@settings(max_examples=30)
@given(said=st.lists(texts.filter(str.strip), min_size=1, max_size=4), cut=st.integers(0, 4))
def test_restarts_between_any_turns_change_nothing(said: list[str], cut: int) -> None:
    async def turns(restarts: set[int]) -> list[list[dict[str, Any]]]:
        llm = ScriptedLLM(lambda prompt: f"You said {len(prompt.messages)}.")
        agent = Agent(llm, **AGENT)  # type: ignore[arg-type]
        session = agent.create_session()
        for place, text in enumerate(said):
            if place in restarts:
                told = session.to_dict()
                await agent.close()
                agent = Agent(llm, **AGENT)  # type: ignore[arg-type]
                session = agent.restore_session(told)
            await agent.run(text, session=session)
        await agent.close()
        return llm.prompts

    async def both() -> None:
        assert await turns(set()) == await turns({cut}) == await turns(set(range(5)))

    asyncio.run(both())


places = st.sampled_from(["log", "notebook", "answers", "conversation"])


def looks_when_told(prompt: Prompt) -> ScriptedReply:
    """Use a tool if that is asked for, and then say what was said."""
    last = prompt.messages[-1]
    if last.text.startswith("look"):
        return ToolCall(id=f"call {last.text}", name="look", arguments="{}")
    return "I saw." if last.role == "tool" else f"You said {last.text}."


@tool(is_idempotent=True)
def look() -> str:
    """Look."""
    return "seen"


@settings(max_examples=40)
@given(turns=st.lists(st.tuples(places, st.booleans()), min_size=1, max_size=6))
def test_history_that_moves_from_place_to_place_is_shown_whole_and_in_order(
    turns: list[tuple[str, bool]],
) -> None:
    async def talk() -> None:
        store, notebook = InMemoryStore(), Notebook()
        llm = ScriptedLLM(looks_when_told, keeps_answers=True)
        whole: list[tuple[str, str]] = []
        for number, (place, does_look) in enumerate(turns):
            history: dict[str, Any] = {"log": None, "notebook": notebook}
            kept = history[place] if place in history else ServiceHistoryProvider(keeps=place)  # type: ignore[arg-type]
            async with Agent(llm, name="Host", tools=[look], history=kept, store=store) as agent:
                said = f"{'look' if does_look else 'say'} {number}"
                session = agent.create_session("x")
                reply = await agent.run(said, session=session, move_history=True)
                service = session.service_session_id if place not in history else None
                seen = llm.kept[service] if service else [*llm.prompts[-1], _as_seen(reply.text)]

            whole += [("user", said), *([("assistant", ""), ("tool", "seen")] if does_look else [])]
            whole += [("assistant", reply.text)]
            assert [(each["role"], each["content"]) for each in seen] == whole
            _check_pairs(seen)

    asyncio.run(talk())


def _as_seen(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def _check_pairs(seen: Sequence[dict[str, Any]]) -> None:
    """Every call is followed by its result, and by nothing else before that."""
    due: list[str] = []
    for each in seen:
        if each["role"] == "tool":
            assert each["tool_call_id"] == due.pop(0)
        else:
            assert not due
            due += [call["id"] for call in each.get("tool_calls", ())]
    assert not due


TOLD: dict[str, Any] = {
    "v": 1,
    "type": "tertulia.session",
    "id": "mine",
    "conversation_id": "conv_01a1f9df4f57771cbdfae1d8948e7395",
    "agent": {"name": "Host", "digest": "x", "is_named": True},
    "messages": [{"id": "msg_01a1f9df4f5c778083a196f228b02f9e", "role": "user", "content": "Hi."}],
    "states": {"knowing": {"a": 1}},
    "state": {"history": "log", "service": {"upto": 1}},
    "version": 2,
}


@settings(max_examples=200)
@given(
    name=st.sampled_from([*TOLD, "user", "closed", "first_message", "service_session_id"]), value=json_values
)
def test_session_that_somebody_has_broken_is_refused_or_restored_and_nothing_else(
    name: str, value: object
) -> None:
    async def restore() -> None:
        async with an_agent() as agent:
            try:
                session = agent.restore_session({**TOLD, name: value}, force=True)
            except (InvalidInput, SessionMismatch):
                return
            json.dumps(session.to_dict())

    asyncio.run(restore())


@settings(max_examples=100)
@given(token=st.text(max_size=40) | st.binary(max_size=40).map(lambda raw: f"v1.{raw.hex()}.{raw.hex()}"))
def test_whatever_is_no_signed_session_is_refused(token: str) -> None:
    agent = an_agent()
    try:
        agent.restore_signed(token, KEY)
    except NotAuthorized:
        return
    raise AssertionError("it was taken")


@settings(max_examples=100)
@given(place=st.integers(0, 10_000), letter=st.sampled_from("AZaz09-_"))
def test_one_other_letter_spoils_a_signed_session(place: int, letter: str) -> None:
    agent = an_agent()
    token = agent.create_session().sign(KEY)
    place %= len(token)
    is_last = token[place + 1 : place + 2] in {"", "."}  # such a letter has bits that mean nothing
    if token[place] == letter or is_last:
        return
    spoiled = f"{token[:place]}{letter}{token[place + 1 :]}"

    try:
        agent.restore_signed(spoiled, KEY)
    except NotAuthorized:
        return
    raise AssertionError("it was taken")
