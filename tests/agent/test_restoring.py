"""Sessions change the kind of store that they are kept in, and nothing of them is ever silently empty."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from tertulia.agent import Agent, Session
from tertulia.conversations import DEFAULT_TENANT
from tertulia.errors import ConversationClosed, NotFound, SessionMismatch, StoreUnavailable
from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.history.service import ServiceHistoryProvider
from tertulia.messages import Flag
from tertulia.stores.in_memory import InMemoryStore
from tests.agent.company import Knowing, Notebook, echo, shown, texts


class Counting(Knowing):
    """Counts the runs of a session, in the session's own state."""

    @override
    async def before_run(self, run: Any) -> None:
        run.state["runs"] = run.state.get("runs", 0) + 1


def an_agent(llm: ScriptedLLM | None = None, **given: Any) -> Agent:
    return Agent(llm or ScriptedLLM(echo), name="Host", context_providers=[Counting()], **given)


async def told_in_memory(*said: str, **given: Any) -> dict[str, Any]:
    """Return a session of a process that is gone, without a store, in which this was said."""
    async with an_agent(**given) as agent:
        session = agent.create_session(user="ann")
        for text in said:
            await agent.run(text, session=session)
        return through_a_file(session)


def through_a_file(session: Session) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(json.dumps(session.to_dict()))
    return told


async def state_of(agent: Agent, session: Session) -> Any:
    runtime = await agent._host.runtime()
    found = await runtime.store.states.get(DEFAULT_TENANT, session.conversation_id, "knowing")
    return None if found is None else json.loads(found.value)


async def test_session_without_a_store_is_put_into_the_store_of_who_restores_it(sqlite_url: str) -> None:
    told = await told_in_memory("one", "two")
    llm = ScriptedLLM(echo)
    async with an_agent(llm, store=sqlite_url) as agent:
        session = agent.restore_session(told)
        await agent.run("three", session=session)

        assert await texts(session) == ["one", "one", "two", "two", "three", "three"]
        assert shown(llm.prompts[0]) == ["one", "one", "two", "two", "three"]
        assert session.user == "ann"
        assert await state_of(agent, session) == {"runs": 3}
        id = session.id

    async with an_agent(store=sqlite_url) as later:
        assert len(await later.create_session(id).messages()) == 6


async def test_session_is_put_into_a_store_once_however_often_it_is_restored(sqlite_url: str) -> None:
    told = await told_in_memory("one")
    async with an_agent(store=sqlite_url) as agent, an_agent(store=sqlite_url) as other:
        await agent.run("two", session=agent.restore_session(told))

        await asyncio.gather(
            *(each.run("three", session=each.restore_session(told)) for each in (agent, other) for _ in "12")
        )

        again = agent.restore_session(told)
        assert await texts(again) == ["one", "one", "two", "two", *["three", "three"] * 4]
        assert await state_of(agent, again) == {"runs": 6}


async def test_calls_at_once_on_a_restored_session_come_after_what_was_said_before(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = await told_in_memory("one")
    async with an_agent(store=sqlite_url) as agent:
        runtime, session = await agent._host.runtime(), agent.restore_session(told)
        append, appended = runtime.store.conversations.append, []

        async def counting(*args: Any, **given: Any) -> Any:
            appended.append(args)
            return await append(*args, **given)

        monkeypatch.setattr(runtime.store.conversations, "append", counting)
        await asyncio.gather(*(agent.run("more", session=session) for _ in range(3)))

        assert len(appended) == 1
        assert await texts(session) == ["one", "one", *["more", "more"] * 3]


async def test_marks_go_into_the_store_with_what_was_said(sqlite_url: str) -> None:
    async with an_agent() as agent:
        session = agent.create_session()
        await agent.run("a slip", session=session)
        await agent.run("a secret", session=session)
        await session.withdraw(1)
        await session.erase(3)
        told = through_a_file(session)
    llm = ScriptedLLM(echo)
    async with an_agent(llm, store=sqlite_url) as agent:
        again = agent.restore_session(told)
        await agent.run("now", session=again)

        flags = [message.flags for message in await again.messages()]
    assert flags[:4] == [Flag.WITHDRAWN, Flag.NONE, flags[2], Flag.NONE]
    assert Flag.DELETED in flags[2]
    assert shown(llm.prompts[0]) == ["a slip", "a secret", "now"]
    assert [each["role"] for each in llm.prompts[0]] == ["assistant", "assistant", "user"]


async def test_closed_session_is_closed_in_the_store(sqlite_url: str) -> None:
    async with an_agent() as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        await session.close("it is over")
        told = through_a_file(session)
    async with an_agent(store=sqlite_url) as agent:
        with pytest.raises(ConversationClosed):
            await agent.run("two", session=agent.restore_session(told))


async def test_branch_is_put_into_the_store_in_which_its_stem_is(sqlite_url: str) -> None:
    async with an_agent() as agent:
        stem = agent.create_session()
        await agent.run("one", session=stem)
        branch = await stem.fork()
        await agent.run("two", session=branch)
        told = [through_a_file(each) for each in (stem, branch)]
    async with an_agent(store=sqlite_url) as agent:
        for _ in range(2):
            for each, expected in zip(told, (["one"] * 2, ["one", "one", "two", "two"]), strict=True):
                assert await texts(agent.restore_session(each)) == expected


async def test_saving_again_before_anything_is_done_loses_nothing(sqlite_url: str) -> None:
    told = await told_in_memory("one")
    async with an_agent(store=sqlite_url) as agent:
        session = agent.restore_session(told)
        at_once = through_a_file(session)
        read = await texts(session)
        afterwards = through_a_file(session)

    async with an_agent() as agent:
        assert read == await texts(agent.restore_session(at_once)) == ["one", "one"]
        with pytest.raises(SessionMismatch):
            agent.restore_session(afterwards)


async def test_store_that_fails_while_a_session_is_put_there_is_tried_again(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = await told_in_memory("one")
    async with an_agent(store=sqlite_url) as agent:
        runtime, session = await agent._host.runtime(), agent.restore_session(told)

        async def fail(*_args: object, **_given: object) -> None:
            raise StoreUnavailable("not now")

        with monkeypatch.context() as broken:
            broken.setattr(type(runtime.store.conversations), "append", fail)
            with pytest.raises(StoreUnavailable):
                await agent.run("two", session=session)
        meanwhile = through_a_file(session)
        await agent.run("two", session=session)

        async with an_agent() as without:
            assert await texts(without.restore_session(meanwhile)) == ["one", "one"]
        assert await texts(session) == ["one", "one", "two", "two"]


async def test_state_of_a_session_whose_history_is_elsewhere_goes_into_the_store(sqlite_url: str) -> None:
    notebook = Notebook()
    told = await told_in_memory("one", "two", history=notebook)
    llm = ScriptedLLM(echo)
    async with an_agent(llm, history=notebook, store=sqlite_url) as agent:
        session = agent.restore_session(told)
        await agent.run("three", session=session)

        assert await state_of(agent, session) == {"runs": 3}
    assert "messages" not in told
    assert shown(llm.prompts[0]) == ["one", "one", "two", "two", "three"]
    assert notebook.texts() == ["one", "one", "two", "two", "three", "three"]


async def test_session_that_a_service_keeps_is_shown_whole_from_a_store(sqlite_url: str) -> None:
    llm = ScriptedLLM(echo, keeps_answers=True)
    async with Agent(llm, name="Host", history=ServiceHistoryProvider()) as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        told = through_a_file(session)
    async with Agent(llm, name="Host", history=ServiceHistoryProvider(), store=sqlite_url) as agent:
        again = agent.restore_session(told)
        await agent.run("two", session=again)

        seen = llm.kept[again.service_session_id or ""]
    assert shown(seen) == ["one", "one", "two", "two"]


async def test_stored_session_is_refused_without_a_store(sqlite_url: str) -> None:
    async with an_agent(store=sqlite_url) as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        told = through_a_file(session)
        found = agent.create_session(session.id)
        await found.messages()

    async with an_agent() as agent:
        for each in (told, through_a_file(found)):
            with pytest.raises(SessionMismatch, match="kept in a store"):
                agent.restore_session(each)
            with pytest.raises(SessionMismatch, match="kept in a store"):
                agent.restore_session(each, force=True)


@pytest.mark.parametrize("id", [None, "mine"])
async def test_stored_session_is_not_found_in_another_store(
    id: str | None, sqlite_url: str, tmp_path: Path
) -> None:
    async with an_agent(store=sqlite_url) as agent:
        session = agent.create_session(id)
        await agent.run("one", session=session)
        told = through_a_file(session)

    llm = ScriptedLLM(echo)
    async with an_agent(llm, store=f"sqlite:///{tmp_path / 'other.db'}") as agent:
        again = agent.restore_session(told)
        uses = (
            lambda: agent.run("two", session=again),
            again.messages,
            lambda: again.append("two"),
            again.waiting,
            lambda: again.withdraw(1),
            again.fork,
            again.close,
        )
        for use in uses:
            with pytest.raises(NotFound, match="give the agent the store"):
                await use()
    assert llm.prompts == []


async def test_session_of_a_lent_store_in_memory_has_everything_with_it() -> None:
    async with an_agent(store=InMemoryStore()) as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        told = through_a_file(session)

    async with an_agent(store=InMemoryStore()) as other, an_agent() as without:
        for agent in (other, without):
            assert await texts(agent.restore_session(told)) == ["one", "one"]


async def test_session_in_which_nothing_was_said_is_restored_anywhere(sqlite_url: str) -> None:
    async with an_agent(store=sqlite_url) as agent, an_agent() as without:
        stored, in_memory = (through_a_file(each.create_session()) for each in (agent, without))

        assert await texts(agent.restore_session(in_memory)) == []
        assert await texts(without.restore_session(stored)) == []
        assert await texts(agent.restore_session(stored)) == []


async def test_branch_of_a_session_that_was_taken_over_by_force_goes_on(sqlite_url: str) -> None:
    async with an_agent(store=sqlite_url) as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        told = through_a_file(session)

    async with Agent(ScriptedLLM(echo), name="Heir", store=sqlite_url) as heir:
        branch = await heir.restore_session(told, force=True).fork()
        await heir.run("two", session=branch)

        assert await texts(branch) == ["one", "one", "two", "two"]


async def test_session_is_not_put_in_the_place_of_another_that_has_its_id(sqlite_url: str) -> None:
    async with Agent(ScriptedLLM(echo), name="Other", store=sqlite_url) as other:
        await other.run("a secret", session=other.create_session("x"))
    async with Agent(ScriptedLLM(echo), name="Host") as agent:
        session = agent.create_session("x")
        await agent.run("mine", session=session)
        told = through_a_file(session)

    async with Agent(ScriptedLLM(echo), name="Host", store=sqlite_url) as agent:
        again = agent.restore_session(told)
        with pytest.raises(SessionMismatch, match="another session"):
            await again.messages()
        with pytest.raises(SessionMismatch, match="another session"):
            await agent.run("more", session=again)

        assert again.to_dict()["messages"] == told["messages"]
