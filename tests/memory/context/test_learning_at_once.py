"""Learning in many sessions of one user at once: nothing of it is lost."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from typing_extensions import override

from tertulia import Agent
from tertulia.conversations import DEFAULT_TENANT
from tertulia.ids import RUN, new_id
from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.context.asking import Company, RunFacts
from tertulia.memory.context.base import ContextProvider
from tertulia.memory.context.locks import _of_this_loop, held
from tertulia.memory.context.user_facts import UserFacts
from tertulia.memory.sessions import Outcome, ProviderRun
from tertulia.memory.states import States, forget_user, user_scope
from tertulia.stores import open_store
from tertulia.stores.base import Store
from tertulia.testing.builders import a_conversation, an_agent
from tertulia.testing.context_contract import StatesInMemory, a_message, answered
from tests.agent.company import echo, shown

SESSIONS = 20


def learning() -> UserFacts:
    return UserFacts(lambda text, known: {text: True})


def a_run(conversation: str, text: str) -> RunFacts:
    return RunFacts(
        id=new_id(RUN),
        input=a_message(text),
        conversation_id=conversation,
        shown_id=conversation,
        agent="Parrot",
        user="ana",
        tenant=DEFAULT_TENANT,
    )


async def told(states: States, run: RunFacts) -> list[Any]:
    company = Company([learning()], states, within_seconds=30)
    await company.before(run)
    return await company.after(run, answered(run, "I see."))


async def test_all_that_is_learned_in_many_sessions_at_once_is_kept(store: Store) -> None:
    agent = await an_agent(store)
    runs = [a_run((await a_conversation(store, agent)).id, f"fact {n}") for n in range(SESSIONS)]

    failures = await asyncio.gather(*(told(States(store.states), run) for run in runs))

    kept = await store.states.get(DEFAULT_TENANT, user_scope("Parrot", "ana"), "UserFacts")
    assert [each for each in failures if each] == []
    assert kept is not None
    assert sorted(orjson.loads(kept.value)["facts"]) == sorted(f"fact {n}" for n in range(SESSIONS))


async def test_all_that_an_agent_learns_in_many_sessions_at_once_is_kept(store_url: str) -> None:
    llm = ScriptedLLM(echo)
    async with Agent(llm, name="Parrot", store=store_url, context_providers=[learning()]) as agent:
        sessions = [agent.create_session(user="ana") for _ in range(SESSIONS)]
        replies = await asyncio.gather(
            *(agent.run(f"fact {n}", session=each) for n, each in enumerate(sessions))
        )
        await agent.run("What now?", session=agent.create_session(user="ana"))

    [recalled, _] = shown(llm.prompts[-1])
    assert [reply.failures for reply in replies] == [()] * SESSIONS
    assert sorted(str(recalled).splitlines()[1:]) == sorted(f'{{"fact {n}":true}}' for n in range(SESSIONS))


async def test_those_who_share_no_lock_lose_nothing_either() -> None:
    store = open_store("memory://")
    agent = await an_agent(store)
    runs = [a_run((await a_conversation(store, agent)).id, f"fact {n}") for n in range(2 * SESSIONS)]

    async def some(chosen: list[RunFacts]) -> None:
        await asyncio.gather(*(told(States(store.states), run) for run in chosen))

    def another_loop(chosen: list[RunFacts]) -> Callable[[], None]:
        return lambda: asyncio.run(some(chosen))

    await asyncio.gather(
        asyncio.to_thread(another_loop(runs[:SESSIONS])), asyncio.to_thread(another_loop(runs[SESSIONS:]))
    )

    kept = await store.states.get(DEFAULT_TENANT, user_scope("Parrot", "ana"), "UserFacts")
    assert kept is not None
    assert len(orjson.loads(kept.value)["facts"]) == 2 * SESSIONS


async def test_who_changes_nothing_of_a_user_never_waits_for_another() -> None:
    all_are_there = asyncio.Barrier(SESSIONS)

    class Meeting(ContextProvider):
        @override
        async def after_run(self, run: ProviderRun, outcome: Outcome) -> None:
            await all_are_there.wait()
            run.state["met"] = True

    states = StatesInMemory()
    runs = [a_run(f"conv_{n}", "hello") for n in range(SESSIONS)]
    company = Company([Meeting()], States(states), within_seconds=30)
    failures = await asyncio.gather(*(company.after(run, answered(run, "hello")) for run in runs))

    assert failures == [[]] * SESSIONS
    assert len(states.kept) == SESSIONS


async def test_a_provider_within_itself_does_not_wait_for_ever() -> None:
    async with held("key", within_seconds=30) as first, held("key", within_seconds=0.001) as second:
        are_held = [first, second]
        were_wanted = set(_of_this_loop())

    assert are_held == [True, False]
    assert were_wanted == {"key"}
    assert not _of_this_loop()


async def test_locks_that_nobody_wants_are_gone_also_after_being_cancelled() -> None:
    async with held("key", within_seconds=30):
        waiting = asyncio.create_task(held("key", within_seconds=30).__aenter__())
        await asyncio.wait({waiting}, timeout=0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    assert not _of_this_loop()


async def test_what_is_kept_of_a_user_with_one_agent_can_be_taken_away(store: Store) -> None:
    run = a_run((await a_conversation(store)).id, "fact")
    others = [replace(run, agent="Owl"), replace(run, user="ben")]
    for each in (run, *others):
        await told(States(store.states), each)

    gone = await forget_user(store.states, tenant=DEFAULT_TENANT, agent="Parrot", user="ana")
    again = await forget_user(store.states, tenant=DEFAULT_TENANT, agent="Parrot", user="ana")

    left = [
        len(await store.states.all_of(DEFAULT_TENANT, user_scope(a, u)))
        for a, u in (("Parrot", "ana"), ("Owl", "ana"), ("Parrot", "ben"))
    ]
    assert (gone, again, left) == (1, 0, [0, 1, 1])
