"""Steps are done once, kept, and recalled by whoever goes on with the run."""

import asyncio
from dataclasses import replace

import pytest
from typing_extensions import override

from tertulia.conversations import RunStatus, StoredJob
from tertulia.engine import POINTS, ActiveRun, StepResult, Turn, Worker
from tertulia.errors import ModelBusy, NeedsAttention
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import a_conversation, a_job, all_texts, an_agent
from tertulia.usage import Usage
from tests.engine.kit import (
    SPENT,
    Clock,
    Doing,
    Gate,
    Noted,
    Rounds,
    Tally,
    a_turn,
    act,
    an_engine,
    say,
    settled,
    step,
    submit,
    waiting_at,
    with_runs,
)


async def test_step_is_journaled_before_the_next_one_begins() -> None:
    store, gate, first = InMemoryStore(), Gate(), Tally('"one"')

    async with an_engine(store, waiting_at(gate, before=first)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await gate.reached()
        journaled = await store.runs.steps(0, ticket.run.id)
        gate.open()
        await ticket.finished()

    assert [(each.path, each.output) for each in journaled] == [("turn/1/model/1", '"one"')]


async def test_journaled_step_is_recalled_after_a_takeover() -> None:
    clock, gate, rounds, first = Clock(), Gate(), Rounds(), Tally('"one"')
    store, recalled = InMemoryStore(now=clock), list[str]()

    async def resume(run: ActiveRun) -> Turn:
        recalled.append((await step(run, "turn/1/model/1", first)).output)
        return a_turn()

    async with an_engine(store, waiting_at(gate, before=first)) as gone:
        ticket = await submit(gone, await a_conversation(store))
        await gate.reached()
        clock.let_leases_run_out()
        async with an_engine(store, Doing(resume), rounds):
            await rounds.look()
            gate.open()
            end = await ticket.finished()

    assert (first.count, recalled) == (1, ['"one"'])
    assert end.usage == SPENT


async def test_step_within_a_run_is_recalled_under_its_path() -> None:
    store, work = InMemoryStore(), Tally()

    async def twice(run: ActiveRun) -> Turn:
        results = [await step(run, "turn/1/model/1", work) for _ in range(2)]
        assert results[0] == results[1]
        return a_turn()

    async with an_engine(store, Doing(twice)) as engine:
        end = await (await submit(engine, await a_conversation(store))).finished()

    assert (work.count, end.usage.model_calls) == (1, 1)


async def test_changed_code_needs_attention_and_repeats_nothing() -> None:
    store, work = InMemoryStore(), Tally()
    conversation = await a_conversation(store)

    async def changing(run: ActiveRun) -> Turn:
        await step(run, "turn/1/model/1", work)
        await step(run, "turn/1/model/1", work, identity="other")
        return a_turn()

    async with an_engine(store, Doing(changing)) as engine:
        ticket = await submit(engine, conversation, "U")
        with pytest.raises(NeedsAttention):
            await ticket.finished()

    assert work.count == 1
    assert await all_texts(store, conversation) == ["U"]


async def test_work_that_fails_leaves_no_trace() -> None:
    store = InMemoryStore()

    async def fail() -> StepResult:
        raise ModelBusy(retry_after=3.0)

    async def stubborn(run: ActiveRun) -> Turn:
        with pytest.raises(ModelBusy):
            await step(run, "turn/1/model/1", fail)
        await step(run, "turn/1/model/1", Tally())
        return a_turn()

    async with an_engine(store, Doing(stubborn)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        end = await ticket.finished()

    assert end.usage == SPENT
    assert [each.path for each in await store.runs.steps(0, ticket.run.id)] == ["turn/1/model/1"]


async def test_usage_counts_every_step_and_what_a_crash_has_wasted() -> None:
    clock, gate, rounds = Clock(), Gate(), Rounds()
    store, works = InMemoryStore(now=clock), [Tally(), Tally()]

    async def two_steps(run: ActiveRun) -> Turn:
        for i, work in enumerate(works):
            await step(run, f"turn/1/model/{i}", work)
        return a_turn()

    async with an_engine(store, waiting_at(gate)) as gone, an_engine(store, Doing(two_steps), rounds):
        ticket = await submit(gone, await a_conversation(store))
        await gate.reached()
        clock.let_leases_run_out()
        await rounds.look()
        gate.open()
        end = await ticket.finished()

    assert [work.count for work in works] == [1, 1]
    assert end.usage == SPENT + SPENT + Usage(wasted_calls=1)


async def test_turns_are_kept_one_by_one() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async def perform(run: ActiveRun) -> Turn:
        [kept] = await run.commit_turn(a_turn("A1"))
        assert (kept.number, run.conversation.head) == (2, 2)
        await step(run, "turn/2/model/1", gate)
        return a_turn("A2", number=2)

    async with an_engine(store, Doing(perform)) as engine:
        ticket = await submit(engine, conversation, "U")
        await gate.reached()
        before = await all_texts(store, conversation)
        gate.open()
        end = await ticket.finished()

    assert before == ["U", "A1"]
    assert [(message.text, message.number) for message in end.messages] == [("A1", 2), ("A2", 3)]


async def test_numbers_of_a_last_turn_do_not_depend_on_the_run_that_follows() -> None:
    store, gate = InMemoryStore(), Gate()
    conversation = await a_conversation(store)

    async with an_engine(store, waiting_at(gate)) as engine:
        tickets = [await submit(engine, conversation, f"U{i}") for i in range(2)]
        gate.open()
        ends = await asyncio.gather(*(ticket.finished() for ticket in tickets))

    assert [end.messages[0].number for end in ends] == [2, 4]


async def test_every_point_is_passed_and_is_known(quick: None) -> None:
    store, rounds, hanging, passed = InMemoryStore(), Rounds(), Gate(), list[str]()
    runs, agent = with_runs(store, Noted(store.runs._state)), await an_agent(store)
    conversation, asking = [await a_conversation(store, agent) for _ in range(2)]

    async def perform(run: ActiveRun) -> Turn:
        await step(run, "turn/1/model/1", Tally())
        run.pass_point("step.speaking")
        await act(run, "turn/1/tool/mail", Tally())
        if run.conversation.id == asking.id:
            run.ask("turn/1/ask", kind="approval", message="May I?")
        if not run.is_resumed:
            await run.commit_turn(a_turn("A1"))
            say(run, "A")
            await hanging()
        return replace(a_turn("A2", number=2), jobs=(a_job(),))

    async with an_engine(store, Doing(perform), probe=passed.append) as gone:
        ticket = await submit(gone, conversation)
        await hanging.reached()
        await runs.hold(ticket.run.id, events=3)
        waiting = await submit(gone, asking)
        await settled(gone, active=1)
        await gone.cancel(0, waiting.run.id)
    worker = _Passing()
    async with an_engine(
        store, Doing(perform), rounds, probe=passed.append, workers={"index": worker}
    ) as heir:
        await rounds.look()
        await settled(heir)
        await worker.reached.wait()
        await asyncio.gather(*heir._jobs._under_way)

    assert set(passed) == set(POINTS)
    assert passed[:3] == ["accept.before", "accept.after", "run.begin"]
    assert passed[-4:] == ["end.before", "end.after", "job.before", "job.after"]


async def test_usage_of_several_turns_and_owners_is_counted_once() -> None:
    clock, gate, rounds = Clock(), Gate(), Rounds()
    store, works = InMemoryStore(now=clock), [Tally() for _ in range(3)]

    async def perform(run: ActiveRun) -> Turn:
        for i, work in enumerate(works[:2]):
            await step(run, f"turn/{i}/model/1", work)
            if run.conversation.head == i + 1:
                await run.commit_turn(a_turn(f"A{i}", number=i))
        if not run.is_resumed:
            await gate()
        await step(run, "turn/2/model/1", works[2])
        return a_turn("A2", number=2)

    async with an_engine(store, Doing(perform)) as gone, an_engine(store, Doing(perform), rounds) as heir:
        ticket = await submit(gone, await a_conversation(store))
        await gate.reached()
        before = (await store.runs.get(0, ticket.run.id)).usage
        clock.let_leases_run_out()
        await rounds.look()
        await settled(heir)
        after = (await store.runs.get(0, ticket.run.id)).usage

    assert [work.count for work in works] == [1, 1, 1]
    assert before == SPENT + SPENT
    assert after == SPENT + SPENT + SPENT + Usage(wasted_calls=1)


async def test_run_has_ended_once_its_end_is_told() -> None:
    store = InMemoryStore()

    async with an_engine(store, waiting_at(gate := Gate())) as engine:
        gate.open()
        ticket = await submit(engine, await a_conversation(store))
        end = await ticket.finished()
        run = await store.runs.get(0, ticket.run.id)

    assert (run.status, run.last_number) == (RunStatus.COMPLETED, end.messages[-1].number)


class _Passing(Worker):
    """Does every job, and says so."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()

    @override
    async def do(self, job: StoredJob) -> None:
        self.reached.set()
