"""Agents without a name share nothing that is kept, and what is kept of a user can be taken away."""

import re
from pathlib import Path
from typing import Any

import pytest

from tertulia.agent import Agent
from tertulia.errors import InvalidInput, NotFound, SessionMismatch
from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.history import FileHistoryProvider, InMemoryHistoryProvider
from tests.agent.company import Notebook, Remembering, echo, shown, texts

UNNAMED = re.compile(r"Agent-[0-9a-f]{8}")


def unnamed(instructions: str, llm: ScriptedLLM | None = None, **given: Any) -> Agent:
    return Agent(llm or ScriptedLLM(echo), instructions=instructions, **given)


async def test_unnamed_agents_on_one_store_do_not_share_sessions(sqlite_url: str) -> None:
    async with unnamed("Cook.", store=sqlite_url) as cook, unnamed("Sing.", store=sqlite_url) as singer:
        await cook.run("soup", session=cook.create_session("mine"))
        told = cook.create_session("mine").to_dict()
        for use in (
            lambda: singer.run("a song", session=singer.create_session("mine")),
            lambda: texts(singer.create_session("mine")),
        ):
            with pytest.raises(SessionMismatch, match="another agent"):
                await use()
        with pytest.raises(SessionMismatch):
            singer.restore_session(told)

        assert await texts(cook.create_session("mine")) == ["soup", "soup"]
        assert UNNAMED.fullmatch(cook.name) and UNNAMED.fullmatch(singer.name)
        assert cook.name != singer.name
        assert not cook.is_named


async def test_unnamed_agent_finds_its_sessions_again(sqlite_url: str) -> None:
    for _ in range(2):
        async with unnamed("Cook.", store=sqlite_url) as agent:
            session = agent.create_session("mine")
            await agent.run("soup", session=session)
            told = session.to_dict()
    async with unnamed("Cook.", store=sqlite_url) as agent:
        assert await texts(agent.create_session("mine")) == ["soup"] * 4
        assert await texts(agent.restore_session(told)) == ["soup"] * 4


async def test_unnamed_agents_do_not_share_what_is_known_of_users(sqlite_url: str) -> None:
    llm = ScriptedLLM(echo)
    for instructions in ("Cook.", "Sing.", "Cook."):
        agent = unnamed(instructions, llm, store=sqlite_url, context_providers=[Remembering()])
        async with agent:
            await agent.run(f"said to {instructions}", session=agent.create_session(user="ann"))

    assert "Remembered: said to Cook." not in shown(llm.prompts[1])
    assert "Remembered: said to Cook." in shown(llm.prompts[2])


async def test_unnamed_agents_do_not_share_a_history_elsewhere(tmp_path: Path) -> None:
    llm = ScriptedLLM(echo)
    for instructions in ("Cook.", "Sing."):
        async with unnamed(instructions, llm, history=FileHistoryProvider(tmp_path)) as agent:
            await agent.run(f"said to {instructions}", session=agent.create_session("mine"))

    assert shown(llm.prompts[1]) == ["Sing.", "said to Sing."]


async def test_agent_that_keeps_nothing_elsewhere_is_called_agent() -> None:
    assert unnamed("Cook.").name == "Agent"
    assert Agent(ScriptedLLM(echo), name="Agent", store="sqlite:///x.db").name == "Agent"
    assert UNNAMED.fullmatch(unnamed("Cook.", history=Notebook()).name)


async def test_what_is_known_of_a_user_is_taken_away(sqlite_url: str) -> None:
    llm = ScriptedLLM(echo)
    async with (
        Agent(llm, name="Host", store=sqlite_url, context_providers=[Remembering()]) as agent,
        Agent(llm, name="Guide", store=sqlite_url, context_providers=[Remembering()]) as other,
    ):
        for each, user in ((agent, "ann"), (agent, "ben"), (other, "ann")):
            await each.run("a secret", session=each.create_session(user=user))

        gone = await agent.forget_user("ann")
        for each, user in ((agent, "ann"), (agent, "ben"), (other, "ann")):
            await each.run("Well?", session=each.create_session(user=user))

        assert (gone, await agent.forget_user("nobody")) == (1, 0)
        nobodies: list[Any] = ["", 7, "a\nb"]
        for user in nobodies:
            with pytest.raises(InvalidInput, match="printable"):
                await agent.forget_user(user)
    known = ["Remembered: a secret" in shown(prompt) for prompt in llm.prompts[3:]]
    assert known == [False, True, True]


async def test_agent_of_a_server_without_tools_is_loaded_with_all_that_it_is(sqlite_url: str) -> None:
    given: dict[str, Any] = {
        "name": "Host",
        "instructions": "Be kind.",
        "context": "You are a host.",
        "first_message": "Welcome!",
        "response_shape": {"type": "object", "properties": {"n": {"type": "integer"}}},
        "limits": {"max_steps": 3},
        "settings": {"temperature": 0.5},
    }
    async with Agent('scripted:text={"n":1}', store=sqlite_url, **given) as agent:
        await agent.run("Hi.", session=agent.create_session("mine"))

    loaded = await Agent.load("Host", store=sqlite_url)
    async with loaded:
        reply = await loaded.run("Again.", session=loaded.create_session("mine"))

    assert loaded.definition == agent.definition
    assert reply.value == {"n": 1}
    with pytest.raises(NotFound):
        await Agent.load("Nobody", store=sqlite_url)


async def test_history_in_memory_alone_gives_an_agent_a_name_of_its_own() -> None:
    assert UNNAMED.fullmatch(unnamed("Cook.", history=InMemoryHistoryProvider()).name)
