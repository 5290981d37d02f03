"""Sessions are read, added to, branched and mended; each belongs to one user."""

import asyncio
from typing import Any

import pytest

from tertulia.agent import Agent, Session
from tertulia.errors import (
    ConversationBusy,
    ConversationClosed,
    InvalidInput,
    NotFound,
    ProviderError,
    SessionMismatch,
)
from tertulia.llms.scripted import ScriptedLLM
from tertulia.messages import Flag, Message
from tertulia.stores.in_memory import InMemoryStore
from tests.agent.company import Knowing, Notebook, Remembering, SlowLLM, echo, left_in_memory, shown, texts


@pytest.fixture(params=["memory", "sqlite"])
def where(request: pytest.FixtureRequest) -> str | None:
    """Where an agent's sessions live: here, or in a database."""
    return None if request.param == "memory" else str(request.getfixturevalue("sqlite_url"))


async def a_talk(agent: Agent, *said: str, id: str | None = None) -> Session:
    """Return a session in which this was said, and echoed."""
    session = agent.create_session(id)
    for text in said:
        await agent.run(text, session=session)
    return session


async def test_session_in_which_nothing_was_said_is_empty(where: str | None) -> None:
    async with Agent(ScriptedLLM(echo), store=where) as agent:
        session = agent.create_session()

        assert await session.messages() == []
        with pytest.raises(NotFound):
            await session.fork()
        with pytest.raises(NotFound):
            await session.withdraw(1)


async def test_long_session_is_read_to_its_beginning(where: str | None) -> None:
    async with Agent(ScriptedLLM(echo), store=where) as agent:
        session = agent.create_session()
        await session.append([f"{n}" for n in range(1201)])

        assert await texts(session) == [f"{n}" for n in range(1201)]
        assert [message.number for message in await session.messages()] == list(range(1, 1202))


async def test_what_is_appended_is_shown_and_answers_nothing(where: str | None) -> None:
    llm = ScriptedLLM(echo)
    async with Agent(llm, store=where) as agent:
        session = agent.create_session()
        said = Message.from_dict({"role": "assistant", "content": "I was there."})
        await session.append(["Where were you?", said])
        await session.append([said])
        before = len(llm.prompts)
        await agent.run("When?", session=session)

        assert before == 0
        assert shown(llm.prompts[0]) == ["Where were you?", "I was there.", "When?"]
        assert await texts(session) == ["Where were you?", "I was there.", "When?", "When?"]


async def test_nothing_is_appended_while_a_run_is_under_way(where: str | None) -> None:
    llm = SlowLLM()
    async with Agent(llm, store=where) as agent:
        session = agent.create_session()
        running = asyncio.create_task(agent.run("one", session=session))
        await llm.reached.wait()
        with pytest.raises(ConversationBusy):
            await session.append(["between"])
        if where is None:
            with pytest.raises(ConversationBusy):
                await session.replace([])
        llm.let.set()
        await running
        await session.close()
        with pytest.raises(ConversationClosed):
            await session.append(["after"])

        assert await texts(session) == ["one", "one"]


async def test_messages_are_replaced_where_they_live_in_this_process() -> None:
    llm = ScriptedLLM(echo)
    async with Agent(llm) as agent:
        session = await a_talk(agent, "one", "two")
        kept = await session.messages()
        await session.replace([*kept[:2], "new"])
        await agent.run("three", session=session)

        assert shown(llm.prompts[-1]) == ["one", "one", "new", "three"]
        assert [message.id for message in (await session.messages())[:2]] == [each.id for each in kept[:2]]


async def test_stored_messages_are_not_replaced(sqlite_url: str) -> None:
    async with Agent(ScriptedLLM(echo), store=sqlite_url) as agent:
        session = await a_talk(agent, "one")
        with pytest.raises(InvalidInput, match="withdraw"):
            await session.replace([])

        assert await texts(session) == ["one", "one"]


async def test_withdrawn_messages_are_shown_no_more_and_stay(where: str | None) -> None:
    llm = ScriptedLLM(echo)
    async with Agent(llm, store=where) as agent:
        session = await a_talk(agent, "one", "two")
        await session.withdraw(1, 2)
        await agent.run("three", session=session)

        assert shown(llm.prompts[-1]) == ["two", "two", "three"]
        assert (await texts(session))[:2] == ["one", "one"]
        assert (await session.messages())[0].flags & Flag.WITHDRAWN


async def test_erased_messages_leave_their_numbers(where: str | None) -> None:
    llm = ScriptedLLM(echo)
    async with Agent(llm, store=where) as agent:
        session = await a_talk(agent, "one", "two")
        await session.erase(1, 2)
        await agent.run("three", session=session)

        assert shown(llm.prompts[-1]) == ["two", "two", "three"]
        assert (await texts(session))[:2] == ["", ""]
        assert [message.number for message in await session.messages()] == [1, 2, 3, 4, 5, 6]
        with pytest.raises(NotFound):
            await session.erase(99)


@pytest.mark.parametrize("how", ["withdraw", "erase"])
async def test_what_is_hidden_here_is_not_shown_from_elsewhere(how: str) -> None:
    notebook, llm = Notebook(), ScriptedLLM(echo)
    async with Agent(llm, history=notebook) as agent:
        session = await a_talk(agent, "one", "two")
        with pytest.raises(ProviderError, match="Notebook"):
            await getattr(session, how)(1, 2)
        await agent.run("three", session=session)
        await agent.run("four", session=session)

    assert notebook.texts()[:2] == ["one", "one"]
    assert shown(llm.prompts[-2]) == ["two", "two", "three"]
    assert shown(llm.prompts[-1]) == ["two", "two", "three", "three", "four"]


async def test_fork_goes_its_own_way(where: str | None) -> None:
    llm = ScriptedLLM(echo)
    async with Agent(llm, store=where) as agent:
        session = await a_talk(agent, "one", "two")
        fork = await session.fork(2)
        named = await session.fork(id="copy")
        await agent.run("other", session=fork)
        await agent.run("three", session=session)

        assert await texts(fork) == ["one", "one", "other", "other"]
        assert await texts(session) == ["one", "one", "two", "two", "three", "three"]
        assert await texts(named) == ["one", "one", "two", "two"]
        assert (named.id, fork.user, len({fork.id, session.id, named.id})) == ("copy", None, 3)
        assert (await session.fork(id="copy")).conversation_id == named.conversation_id
        with pytest.raises(InvalidInput):
            await session.fork(99)


async def test_edit_answers_in_a_branch(where: str | None) -> None:
    llm = ScriptedLLM(echo)
    async with Agent(llm, store=where) as agent:
        session = await a_talk(agent, "one", "two")
        branch, reply = await session.edit(3, "zwei")

        assert reply.text == "zwei"
        assert shown(llm.prompts[-1]) == ["one", "one", "zwei"]
        assert await texts(branch) == ["one", "one", "zwei", "zwei"]
        assert await texts(session) == ["one", "one", "two", "two"]


async def test_first_message_of_a_session_can_be_said_otherwise(where: str | None) -> None:
    async with Agent(ScriptedLLM(echo), store=where) as agent:
        session = await a_talk(agent, "one")
        branch, _ = await session.edit(1, "eins")

        assert await texts(branch) == ["eins", "eins"]


async def test_session_is_found_again_by_the_id_that_was_chosen(where: str | None) -> None:
    async with Agent(ScriptedLLM(echo), store=where) as agent:
        session = await a_talk(agent, "one", id="Ann's")
        again = await a_talk(agent, "two", id="Ann's")

        assert await texts(session) == await texts(again) == ["one", "one", "two", "two"]
        assert (session.id, session.conversation_id) == ("Ann's", again.conversation_id)


@pytest.mark.parametrize("id", ["", "a\nb", "x" * 256])
def test_id_that_cannot_be_one_is_refused(id: str) -> None:
    with pytest.raises(InvalidInput):
        Agent(ScriptedLLM(echo)).create_session(id)


async def test_two_agents_do_not_share_a_session(sqlite_url: str) -> None:
    one = Agent(ScriptedLLM(echo), name="one", store=sqlite_url)
    other = Agent(ScriptedLLM(echo), name="other", store=sqlite_url)
    async with one, other:
        await a_talk(one, "mine", id="x")
        with pytest.raises(SessionMismatch):
            await a_talk(other, "mine", id="x")
        with pytest.raises(SessionMismatch):
            await other.create_session("x").messages()


async def test_session_is_one_users(where: str | None) -> None:
    knowing, llm = Knowing(), ScriptedLLM(echo)
    async with Agent(llm, store=where, context_providers=[knowing]) as agent:
        session = agent.create_session("x", user="ann")
        await agent.run("one", session=session)
        await agent.run("two", session=session, user="ann")
        with pytest.raises(InvalidInput):
            await agent.run("three", session=session, user="bob")
        with pytest.raises(SessionMismatch):
            await agent.run("three", session=agent.create_session("x", user="bob"))
        with pytest.raises(InvalidInput):
            await agent.run("three", session=agent.create_session("x"), user="bob")
        bobs = agent.create_session("x", user="bob")
        for use in (
            bobs.messages,
            lambda: bobs.append(["three"]),
            lambda: bobs.erase(1),
            bobs.fork,
            bobs.close,
        ):
            with pytest.raises(SessionMismatch, match="another user's"):
                await use()

        assert len(llm.prompts) == 2
    assert {run.user for run in knowing.runs} == {"ann"}


async def test_session_without_a_user_is_that_of_the_first_one_who_speaks(where: str | None) -> None:
    knowing, llm = Knowing(), ScriptedLLM(echo)
    async with Agent(llm, store=where, context_providers=[knowing]) as agent:
        session = agent.create_session()
        await agent.run("one", session=session, user="ann")
        assert session.user == "ann"
        with pytest.raises(InvalidInput):
            await agent.run("two", session=session, user="bob")
        nobodys = await a_talk(agent, "three")
        with pytest.raises(InvalidInput, match="nobody's"):
            await agent.run("four", session=nobodys, user="bob")

    assert [run.user for run in knowing.runs] == ["ann", None]


async def test_user_who_is_quicker_has_the_session(sqlite_url: str) -> None:
    knowing = Knowing()
    users = ("ann", "bob")
    async with Agent(ScriptedLLM(echo), store=sqlite_url, context_providers=[knowing]) as agent:
        runs = [agent.run("mine", session=agent.create_session("x", user=user)) for user in users]
        replies = await asyncio.gather(*runs, return_exceptions=True)

        assert sorted(type(reply).__name__ for reply in replies) == ["Reply", "SessionMismatch"]
        runtime = await agent._host.runtime()
        row = await runtime.store.conversations.get(0, "x")
        assert await texts(agent.create_session("x")) == ["mine", "mine"]
    answered = [
        user for user, reply in zip(users, replies, strict=True) if not isinstance(reply, BaseException)
    ]
    assert [row.user_id] == answered
    assert {run.user for run in knowing.runs} == {row.user_id}


async def test_branch_is_its_users(where: str | None) -> None:
    async with Agent(ScriptedLLM(echo), store=where, context_providers=[Remembering()]) as agent:
        session = agent.create_session(user="ann")
        await agent.run("one", session=session)
        fork = await session.fork()

        assert fork.user == "ann"
        with pytest.raises(InvalidInput):
            await agent.run("two", session=fork, user="bob")


async def test_session_that_is_dropped_leaves_nothing_in_memory() -> None:
    async with Agent(ScriptedLLM(echo), context_providers=[Remembering()]) as agent:
        session = await a_talk(agent, "one")
        named = await a_talk(agent, "two", id="x")
        same = agent.create_session("x")
        assert left_in_memory(agent) == 2

        del session
        assert left_in_memory(agent) == 1
        del named
        assert await texts(same) == ["two", "two"]
        del same
        assert left_in_memory(agent) == 0
        assert await (agent.create_session("x")).messages() == []


@pytest.mark.parametrize("first", ["parent", "branch"])
async def test_branches_leave_nothing_in_memory(first: str) -> None:
    async with Agent(ScriptedLLM(echo)) as agent:
        held: dict[str, Session] = {"parent": await a_talk(agent, "one")}
        held["branch"] = await held["parent"].fork()
        other = "branch" if first == "parent" else "parent"

        del held[first]
        left_in_memory(agent)
        assert await texts(held[other]) == ["one", "one"]
        del held[other]

        assert left_in_memory(agent) == 0


async def test_session_that_is_dropped_while_a_run_ends_leaves_nothing() -> None:
    llm = SlowLLM()
    async with Agent(llm) as agent:
        session: Any = agent.create_session()
        running = asyncio.create_task(agent.run("one", session=session))
        await llm.reached.wait()
        del session
        llm.let.set()
        await running
        del running

        assert left_in_memory(agent) == 0


async def test_garbage_may_be_collected_in_the_middle_of_a_write() -> None:
    async with Agent(ScriptedLLM(echo)) as agent:
        session: Any = await a_talk(agent, "one")
        memory = agent._host.memory
        assert isinstance(memory, InMemoryStore)

        with memory._state.lock:  # whoever writes has it, and may be the one who collects
            del session
            during = left_in_memory(agent)
        held = agent.create_session()

        assert during == 1
        assert left_in_memory(agent) == 0
        assert await held.messages() == []


async def test_session_that_is_taken_up_again_is_not_dropped() -> None:
    async with Agent(ScriptedLLM(echo)) as agent:
        session: Any = await a_talk(agent, "one", id="x")
        fork = await session.fork()
        del session
        left_in_memory(agent)  # it is needed by its branch
        again = agent.create_session("x")
        await agent.run("two", session=again)
        del fork
        left_in_memory(agent)
        agent.create_session("y")

        assert await texts(again) == ["one", "one", "two", "two"]


async def test_lent_store_in_memory_keeps_what_nobody_holds() -> None:
    store = InMemoryStore()
    async with Agent(ScriptedLLM(echo), store=store) as agent:
        session: Any = await a_talk(agent, "one", id="x")
        del session

        assert left_in_memory(agent) == 1
        assert await texts(agent.create_session("x")) == ["one", "one"]
