"""Agents work in any event loop, and let go of everything when they, or the loop, are gone."""

import asyncio
import gc
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import tertulia
from tertulia import ids
from tertulia.agent import Agent
from tertulia.agent.hosting import registered
from tertulia.definitions import StoredAgent
from tertulia.errors import NotFound, StoreUnavailable
from tertulia.llms.scripted import ScriptedLLM
from tertulia.stores import open_store
from tertulia.stores.in_memory import InMemoryStore
from tests.agent.company import SlowLLM, echo, texts

SOURCES = Path(tertulia.__file__).parents[1]
PROGRAM = """
import asyncio, gc, sys, threading, weakref
from tertulia import Agent
from tertulia.llms.scripted import ScriptedLLM

STORE = sys.argv[1] or None

def make(**more):
    return Agent(ScriptedLLM(lambda p: p.messages[-1].text), name="Host", store=STORE, **more)

async def talk(agent, *said):
    session = agent.create_session("x")
    for text in said:
        print((await agent.run(text, session=session)).text)
"""


def told(program: str, *, where: str = "") -> str:
    """Return what a program prints that must not have anything to complain about."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM + program, where],
        env={"PYTHONPATH": str(SOURCES), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    complaints = [
        line
        for line in done.stderr.splitlines()
        # In this mode, whatever takes a tenth of a second is remarked upon.
        if not line.startswith("Executing <") and "took" not in line
    ]
    assert (done.returncode, complaints) == (0, [])
    return done.stdout


@pytest.fixture(params=["memory", "sqlite"])
def where(request: pytest.FixtureRequest) -> str:
    return "" if request.param == "memory" else str(request.getfixturevalue("sqlite_url"))


def threads() -> set[threading.Thread]:
    gc.collect()
    return {each for each in threading.enumerate() if not each.name.startswith("asyncio_")}


def test_program_ends_in_silence_without_closing_anything(where: str) -> None:
    program = """
agent = make()
asyncio.run(talk(agent, "one"))
"""

    assert told(program, where=where) == "one\n"


def test_program_ends_in_silence_having_closed_everything(where: str) -> None:
    program = """
async def main():
    async with make() as agent:
        await talk(agent, "one")
        await agent.run("alone")
    print(sorted(t.name for t in threading.enumerate() if not t.name.startswith("asyncio_")))
asyncio.run(main())
"""

    assert told(program, where=where) == "one\n['MainThread']\n"


def test_program_ends_in_silence_when_its_session_is_left_in_the_middle(where: str) -> None:
    program = """
async def main():
    agent = Agent(ScriptedLLM(["word " * 50], chunk=5, delay=0.001), name="Host", store=STORE)
    async for event in agent.run_stream("Tell me.", session=agent.create_session()):
        if type(event).__name__ == "TextDelta":
            print("left")
            break
asyncio.run(main())
"""

    assert told(program, where=where) == "left\n"


def test_program_that_fails_tells_its_own_error_only(where: str) -> None:
    program = """
async def main():
    await talk(make(), "one")
    raise ZeroDivisionError
try:
    asyncio.run(main())
except ZeroDivisionError:
    print("failed")
"""

    assert told(program, where=where) == "one\nfailed\n"


def test_agent_serves_several_event_loops_one_after_the_other(where: str) -> None:
    program = """
agent = make()
for n in range(3):
    asyncio.run(talk(agent, f"{n}"))
async def count():
    print(len(await agent.create_session("x").messages()))
asyncio.run(count()) if STORE else None
print(sorted(t.name for t in threading.enumerate() if t is not threading.main_thread()))
"""

    printed = told(program, where=where).splitlines()

    assert printed[:3] == ["0", "1", "2"]
    assert printed[3:] == (["6", "[]"] if where else ["[]"])


def test_agent_that_is_dropped_stops_its_engine(where: str) -> None:
    program = """
async def main():
    gc.disable()
    before = set(threading.enumerate())
    agent = make()
    await talk(agent, "one")
    await agent.run("alone")
    gone, working = weakref.ref(agent), len(set(threading.enumerate()) - before)
    del agent
    # Errors of a database hold what they came through; but for them, all is let go of at once.
    gc.collect() if STORE else None
    while any(not t.name.startswith("asyncio_") for t in set(threading.enumerate()) - before):
        await asyncio.sleep(0.01)
    print(gone(), working > 0)
asyncio.run(asyncio.wait_for(main(), 20))
"""

    assert told(program, where=where) == "one\nNone True\n"


def test_agent_of_a_loop_that_was_just_closed_keeps_no_thread(where: str) -> None:
    program = """
loop = asyncio.new_event_loop()
agent = make()
loop.run_until_complete(talk(agent, "one"))
loop.run_until_complete(loop.shutdown_asyncgens())
loop.run_until_complete(loop.shutdown_default_executor())
loop.close()
print([t.name for t in threading.enumerate() if t is not threading.main_thread()])
"""

    assert told(program, where=where) == "one\n[]\n"


def test_session_is_kept_from_loop_to_loop() -> None:
    agent = Agent(ScriptedLLM(echo))
    session = agent.create_session()

    async def say(text: str) -> list[str]:
        await agent.run(text, session=session)
        return await texts(session)

    asyncio.run(say("one"))

    assert asyncio.run(say("two")) == ["one", "one", "two", "two"]


async def test_closed_agent_opens_again(where: str) -> None:
    agent = Agent(ScriptedLLM(echo), name="Host", store=where or None)
    session = agent.create_session()
    for text in ("one", "two"):
        await agent.run(text, session=session)
        await agent.close()
        await agent.close()

    assert await texts(session) == ["one", "one", "two", "two"]
    await agent.close()


async def test_closing_leaves_no_thread_behind(sqlite_url: str) -> None:
    before = threads()
    agent = Agent(ScriptedLLM(echo), store=sqlite_url)
    await agent.run("one", session=agent.create_session())
    await agent.run("alone")
    during = threads()
    await agent.close()

    assert during > before
    assert threads() == before


async def test_lent_store_is_not_closed(sqlite_url: str) -> None:
    before, store = threads(), open_store(sqlite_url)
    await store.open()
    during = threads()
    try:
        async with Agent("scripted:echo", name="Host", store=store) as agent:
            session = agent.create_session()
            await agent.run("one", session=session)
        async with await Agent.load("Host", store=store) as loaded:
            await loaded.run("alone")

        assert threads() == during
        assert (await store.health()).ready
        assert len(await store.conversations.messages(0, session.conversation_id)) == 2
    finally:
        await store.close()
    assert threads() == before


async def test_lent_store_that_is_not_open_yet_is_opened(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    try:
        async with Agent(ScriptedLLM(echo), store=store) as agent:
            assert (await agent.run("one", session=agent.create_session())).text == "one"
    finally:
        await store.close()


async def test_run_under_way_when_its_agent_is_closed_is_gone_on_with_by_the_next(sqlite_url: str) -> None:
    slow = SlowLLM()
    first = Agent(slow, name="Host", store=sqlite_url)
    session = first.create_session("x")
    running = asyncio.create_task(first.run("one", session=session))
    await slow.reached.wait()
    running.cancel()
    await first.close()
    with pytest.raises(asyncio.CancelledError):
        await running

    async with Agent(ScriptedLLM(echo), name="Host", store=sqlite_url) as second:
        again = second.create_session("x")
        await second.run("two", session=again)

        assert await texts(again) == ["one", "two", "two"]


async def test_two_tasks_open_an_agent_once(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    def opening(url: str) -> Any:
        opened.append(url)
        return open_store(url)

    monkeypatch.setattr("tertulia.agent.hosting.open_store", opening)
    async with Agent(ScriptedLLM(echo), store=sqlite_url) as agent:
        runs = [agent.run("one", session=agent.create_session()) for _ in range(10)]
        await asyncio.gather(*runs)

    assert opened.count(sqlite_url) == 1


async def test_store_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    place = tmp_path / "later"
    agent = Agent(ScriptedLLM(echo), store=f"sqlite:///{place / 'chat.db'}")
    session = agent.create_session()
    before = threads()
    place.write_text("a file where a folder should be")
    with pytest.raises(StoreUnavailable):
        await agent.run("one", session=session)
    assert threads() == before
    place.unlink()
    place.mkdir()

    async with agent:
        assert (await agent.run("two", session=session)).text == "two"


async def test_agents_of_one_name_are_one_however_many_come_at_once(sqlite_url: str) -> None:
    agents = [Agent(ScriptedLLM(echo), name="Host", store=sqlite_url) for _ in range(4)]
    try:
        await asyncio.gather(*(agent.run("Hi.", session=agent.create_session("x")) for agent in agents))
        session = agents[0].create_session("x")

        assert await texts(session) == ["Hi."] * 8
    finally:
        await asyncio.gather(*(agent.close() for agent in agents))


async def test_agent_that_another_process_has_just_made_is_found() -> None:
    store = InMemoryStore()
    definition = Agent("scripted:echo", name="Host").definition
    made = await store.agents.create(0, ids.new_id(ids.AGENT), definition)
    get, looked = store.agents.get, []

    async def get_too_early(*given: Any, **more: Any) -> StoredAgent:
        looked.append(given)
        if len(looked) == 1:
            raise NotFound("there is no such agent yet")
        return await get(*given, **more)

    store.agents.get = get_too_early  # type: ignore[method-assign]

    assert (await registered(store, definition)).id == made.id
    assert len(looked) == 2


async def test_definition_is_brought_up_to_date_and_no_version_is_made_for_nothing(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    await store.open()
    try:
        one = Agent("scripted:echo", name="Host", instructions="Be kind.").definition
        other = Agent("scripted:echo", name="Host", instructions="Be rude.").definition

        found = [await registered(store, each) for each in (one, one, other, other)]

        assert [each.version for each in found] == [1, 1, 2, 2]
        assert len({each.id for each in found}) == 1
    finally:
        await store.close()


async def test_session_that_is_held_by_two_ids_lives_until_both_are_gone() -> None:
    async with Agent(ScriptedLLM(echo), name="Host") as agent:
        session = agent.create_session("x")
        await agent.run("one", session=session)
        same = agent.create_session(session.conversation_id)
        await agent.run("two", session=same)

        del same
        gc.collect()

        assert await texts(session) == ["one", "one", "two", "two"]
        conversation_id = session.conversation_id
        del session
        gc.collect()
        assert not agent._host.has(conversation_id)
