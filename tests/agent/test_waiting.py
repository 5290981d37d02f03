"""A session that waits for somebody's decision says so to whoever comes after, before and after a restart."""

import asyncio
from typing import Any

import pytest

from tertulia.agent import Agent, Session, following
from tertulia.conversations import DEFAULT_TENANT, RunStatus
from tertulia.errors import ConversationBusy, NeedsAttention, NotWaiting
from tertulia.llms.scripted import ScriptedLLM
from tests.agent.company import SlowLLM, texts
from tests.agent.test_approving import paying, pays


@pytest.fixture(params=["memory", "store"])
def where(request: pytest.FixtureRequest, sqlite_url: str) -> str | None:
    """The store of an agent."""
    return None if request.param == "memory" else sqlite_url


def an_agent(paid: list[int], store: str | None = None) -> Agent:
    return Agent(ScriptedLLM(pays), name="Host", tools=[paying(paid)], store=store)


async def asked(agent: Agent, session: Session) -> NeedsAttention:
    """Have a run wait in a session; return what it needs."""
    with pytest.raises(NeedsAttention) as raised:
        await agent.run("Pay.", session=session)
    return raised.value


def needs(error: NeedsAttention | None) -> tuple[Any, ...]:
    assert error is not None
    return (error.run_id, error.path, error.subject, error.verdicts, str(error))


@pytest.mark.parametrize("call", ["run", "run_stream"])
async def test_message_behind_a_run_that_waits_is_told_what_that_one_needs(
    call: str, where: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)
    paid: list[int] = []
    async with an_agent(paid, where) as agent:
        session = agent.create_session()
        first = await asked(agent, session)

        with pytest.raises(NeedsAttention) as raised:
            if call == "run":
                await agent.run("Well?", session=session)
            else:
                [event async for event in agent.run_stream("Well?", session=session)]

        assert needs(raised.value) == needs(first)
        assert first.path and first.subject and "approve" in first.verdicts
        runtime = await agent._host.runtime()
        runs = await runtime.store.runs.page(DEFAULT_TENANT, session.conversation_id)
        assert [run.status for run in runs] == [RunStatus.WAITING, RunStatus.CANCELLED]
        reply = await agent.decide(str(first.run_id), "approve")

        assert (reply.text, paid) == ("Done: paid 3", [3])
        assert await texts(session) == ["Pay.", "", "", "Done: paid 3"]
        assert await session.waiting() is None


async def test_run_that_waits_is_looked_for_every_second() -> None:
    assert following.LOOK_SECONDS == 1.0


async def test_message_behind_a_run_that_works_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, look_ahead = asyncio.Event(), following._look_ahead

    async def looking(*given: Any) -> None:
        await look_ahead(*given)
        looked.set()

    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(following, "_look_ahead", looking)
    llm = SlowLLM()
    async with Agent(llm, name="Host") as agent:
        session = agent.create_session()
        first = asyncio.create_task(agent.run("one", session=session))
        await llm.reached.wait()
        second = asyncio.create_task(agent.run("two", session=session))
        looked.clear()
        await looked.wait()
        llm.let.set()

        assert [(await each).text for each in (first, second)] == ["one", "two"]


async def test_session_tells_after_a_restart_what_it_waits_for(sqlite_url: str) -> None:
    paid: list[int] = []
    async with an_agent(paid, sqlite_url) as agent:
        session = agent.create_session("mine", user="ann")
        first = await asked(agent, session)
        told = session.to_dict()

    async with an_agent(paid, sqlite_url) as later:
        for again in (later.restore_session(told), later.create_session("mine")):
            found = await again.waiting()
            assert needs(found) == needs(first)
        with pytest.raises(ConversationBusy):
            await later.run("Well?", session=again, multitask_strategy="reject")

        reply = await later.decide(str(first.run_id), "deny", path=first.path)

        assert reply.text.startswith("Done: ")
        assert (await again.waiting(), paid) == (None, [])
        with pytest.raises(NotWaiting):
            await later.decide(str(first.run_id), "deny")


async def test_session_in_which_nothing_waits_says_so(where: str | None) -> None:
    async with Agent(ScriptedLLM(lambda _: "Yes."), name="Host", store=where) as agent:
        session = agent.create_session()
        before = await session.waiting()
        await agent.run("Hi.", session=session)

        assert (before, await session.waiting()) == (None, None)


async def test_branch_of_a_session_that_waits_waits_for_nothing(where: str | None) -> None:
    async with an_agent([], where) as agent:
        session = agent.create_session()
        await asked(agent, session)
        branch = await session.fork(1)

        assert await branch.waiting() is None
        assert await session.waiting() is not None
