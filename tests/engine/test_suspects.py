"""A run that may be what ends its processes runs alone, and not for ever."""

from collections.abc import Awaitable, Callable, Collection

import pytest

from tertulia.conversations import Conversation, RunStatus
from tertulia.engine import ActiveRun, Turn
from tertulia.engine.chores import SUSPECT_LOOKS
from tertulia.errors import RunGivenUp
from tertulia.stores.base import Store
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.rules import SUSPECT_ATTEMPTS
from tertulia.testing.builders import (
    OVER_AT_ONCE,
    a_claimant,
    a_conversation,
    a_queued_run,
    a_submission,
    an_agent,
)
from tests.engine.kit import Doing, Gate, Rounds, a_turn, an_engine, answering, settled, waiting_at


async def conversations(store: Store, *, count: int) -> list[Conversation]:
    agent = await an_agent(store)
    return [await a_conversation(store, agent) for _ in range(count)]


async def a_run_that_crashed(
    store: Store, conversation: Conversation, *, times: int, beside: Collection[str] = ()
) -> str:
    """Have a request accepted whose run has ended so many processes, not those ``beside``; return its id."""
    gone = a_claimant(lease_us=OVER_AT_ONCE)
    run_id = (await a_queued_run(store, a_submission(conversation, key="k"))).run.id
    for _ in range(times):
        is_suspect = (await store.runs.get(0, run_id)).attempt >= SUSPECT_ATTEMPTS
        [claim] = await store.runs.claim(gone, limit=9, busy_with=beside, suspects=is_suspect)
        assert claim.run.id == run_id
    return run_id


def noting(begun: list[str], gate: Callable[[], Awaitable[object]] | None = None) -> Doing:
    """Return a performer that notes which runs it carries out, and answers when its gate lets it."""

    async def perform(run: ActiveRun) -> Turn:
        begun.append(run.run.id)
        if gate is not None:
            await gate()
        return a_turn()

    return Doing(perform)


async def test_suspect_is_left_until_nothing_else_is_under_way() -> None:
    store, gate, rounds, begun = InMemoryStore(), Gate(), Rounds(), list[str]()
    one, other = await conversations(store, count=2)

    async with an_engine(store, noting(begun, gate), rounds) as engine:
        innocent = await engine.submit(a_submission(other))
        await gate.reached()
        suspect = await a_run_that_crashed(store, one, times=SUSPECT_ATTEMPTS)
        await rounds.look()
        beside = list(begun)
        gate.open()
        await innocent.finished()
        await settled(engine)
        await rounds.look()
        await settled(engine)

    assert beside == [innocent.run.id]
    assert begun == [innocent.run.id, suspect]
    assert (await store.runs.get(0, suspect)).status is RunStatus.COMPLETED


async def test_nothing_else_is_taken_over_beside_a_suspect() -> None:
    store, gate, rounds, begun = InMemoryStore(), Gate(), Rounds(), list[str]()
    one, other = await conversations(store, count=2)
    suspect = await a_run_that_crashed(store, one, times=SUSPECT_ATTEMPTS)

    async with an_engine(store, noting(begun, gate), rounds) as engine:
        await rounds.look()
        await gate.reached()
        innocent = await a_queued_run(store, a_submission(other))
        await rounds.look()
        beside = list(begun)
        gate.open()
        await settled(engine)
        await rounds.look()
        await settled(engine)

    assert beside == [suspect]
    assert begun == [suspect, innocent.run.id]


async def test_suspects_are_taken_one_by_one_and_innocents_when_none_is_under_way() -> None:
    store, gate, rounds, begun = InMemoryStore(), Gate(), Rounds(), list[str]()
    rows = await conversations(store, count=4)
    first = await a_run_that_crashed(store, rows[0], times=SUSPECT_ATTEMPTS)
    second = await a_run_that_crashed(store, rows[1], times=SUSPECT_ATTEMPTS, beside=[first])
    innocents = [(await a_queued_run(store, a_submission(row))).run.id for row in rows[2:]]

    async with an_engine(store, noting(begun, gate), rounds) as engine:
        await gate.reached()
        await rounds.look()
        alone = list(begun)
        gate.open()
        await settled(engine)
        for _ in range(3):
            await rounds.look()
            await settled(engine)

    assert alone in ([first], [second])
    assert sorted(begun) == sorted([first, second, *innocents])


async def test_engine_that_is_never_idle_takes_a_suspect_in_the_end() -> None:
    store, gate, rounds, begun = InMemoryStore(), Gate(), Rounds(), list[str]()
    one, other = await conversations(store, count=2)
    suspect = await a_run_that_crashed(store, one, times=SUSPECT_ATTEMPTS)

    async with an_engine(store, noting(begun, gate), rounds) as engine:
        await engine.submit(a_submission(other))
        await gate.reached()
        for _ in range(SUSPECT_LOOKS):
            await rounds.look()
        gate.open()
        await settled(engine)

    assert suspect in begun


async def test_run_that_has_ended_three_processes_is_given_up_and_who_waits_is_told() -> None:
    store, rounds, performer = InMemoryStore(), Rounds(), answering()
    [conversation] = await conversations(store, count=1)
    run_id = await a_run_that_crashed(store, conversation, times=3)

    async with an_engine(store, performer, rounds) as engine:
        ticket = await engine.submit(a_submission(conversation, key="k"))
        await rounds.look()
        with pytest.raises(RunGivenUp) as raised:
            await ticket.finished()

    assert (raised.value.run_id, performer.runs) == (run_id, [])


async def test_what_waits_behind_a_run_that_is_given_up_is_answered() -> None:
    store, rounds = InMemoryStore(), Rounds()
    [conversation] = await conversations(store, count=1)
    await a_run_that_crashed(store, conversation, times=3)

    async with an_engine(store, answering(), rounds) as engine:
        ticket = await engine.submit(a_submission(conversation))
        await rounds.look()
        end = await ticket.finished()

    assert end.status is RunStatus.COMPLETED


async def test_run_that_was_handed_over_often_is_no_suspect() -> None:
    store, gate = InMemoryStore(), Gate()
    one, other = await conversations(store, count=2)

    async with an_engine(store, waiting_at(gate)) as engine:
        ticket = await engine.submit(a_submission(one))
        await gate.reached()
    for _ in range(5):
        async with an_engine(store, waiting_at(gate), rounds := Rounds()) as engine:
            await engine.submit(a_submission(other))
            await rounds.look()
            await gate.reached()
    run = await store.runs.get(0, ticket.run.id)

    assert (run.status, run.epoch, run.attempt) == (RunStatus.RUNNING, 6, 0)
