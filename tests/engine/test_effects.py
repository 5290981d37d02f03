"""What must not be done twice is journaled before it is begun, and asked about when nobody knows."""

import asyncio
from dataclasses import replace

import pytest

from tertulia.conversations import Claim, Commit, Conversation, RunStatus, Step
from tertulia.engine import ActiveRun, Decision, StepResult, Turn
from tertulia.engine.silence import GRACE_SECONDS
from tertulia.errors import NeedsAttention, UnknownOutcome
from tertulia.messages import now_us
from tertulia.stores import open_store
from tertulia.stores.base import Store
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import (
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_digest,
    a_submission,
    all_texts,
)
from tests.engine.kit import (
    SPENT,
    Clock,
    Doing,
    Gate,
    Rounds,
    Tally,
    a_plan,
    a_turn,
    act,
    an_engine,
    settled,
    submit,
)
from tests.engine.test_active import an_active_run

pytestmark = pytest.mark.usefixtures("quick")

EFFECT = "turn/1/tool/mail"


def acting(work: Tally | Gate, **more: object) -> Doing:
    """Return a performer that does something that must not be done twice, and says what came of it."""

    async def perform(run: ActiveRun) -> Turn:
        return a_turn((await act(run, EFFECT, work, **more)).output)

    return Doing(perform)


async def an_orphan(store: Store, conversation: Conversation, *steps: Step) -> Claim:
    """Have a run begun by a process that journals these steps and dies; its message is ``U``."""
    gone = a_claimant(lease_us=OVER_AT_ONCE)
    claim = await a_claimed_run(store, a_submission(conversation, "U", key="k"), claimant=gone)
    await store.runs.commit(claim.lease, Commit(steps=steps), None)
    return claim


def begun(*, external_id: str | None = None, identity: str = "same", ended_at: int = 0) -> Step:
    """Return the effect as somebody has begun it."""
    return Step(
        path=EFFECT,
        kind="model",
        identity=a_digest(identity),
        output='"sent before"' if ended_at else "",
        external_id=external_id,
        started_at=now_us(),
        ended_at=ended_at,
    )


async def test_effect_is_journaled_before_it_is_begun_and_when_it_has_ended() -> None:
    store, gate = InMemoryStore(), Gate()

    async with an_engine(store, acting(gate)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await gate.reached()
        [intent] = await store.runs.steps(0, ticket.run.id)
        gate.open()
        await ticket.finished()
        [effect] = await store.runs.steps(0, ticket.run.id)

    assert (intent.path, intent.ended_at, intent.output) == (EFFECT, 0, "")
    assert effect.ended_at >= effect.started_at >= intent.started_at


async def test_effect_that_has_ended_is_kept_before_anything_else_is_done() -> None:
    store, gate, work = InMemoryStore(), Gate(), Tally('"sent"')

    async def perform(run: ActiveRun) -> Turn:
        await act(run, EFFECT, work)
        await gate()
        return a_turn()

    async with an_engine(store, Doing(perform)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await gate.reached()
        [effect] = await store.runs.steps(0, ticket.run.id)

    assert (effect.output, bool(effect.ended_at)) == ('"sent"', True)


@pytest.mark.parametrize("url", ["memory://", "sqlite"])
async def test_heir_asks_what_became_of_an_effect_and_who_waits_is_told(url: str, sqlite_url: str) -> None:
    store, rounds, work = open_store(sqlite_url if url == "sqlite" else url), Rounds(), Tally()
    await store.open()
    conversation = await a_conversation(store)
    claim = await an_orphan(store, conversation, begun())

    async with an_engine(store, acting(work), rounds) as engine:
        ticket = await engine.submit(a_submission(conversation, "U", key="k"))
        await rounds.look()
        with pytest.raises(UnknownOutcome) as raised:
            await ticket.finished()
        run = await store.runs.get(0, claim.run.id)
        frames = await store.runs.frames(0, claim.run.id)
    await store.close()

    assert (run.status, raised.value.run_id, work.count) == (RunStatus.WAITING, run.id, 0)
    assert run.wait is not None
    assert (run.wait.kind, run.wait.path) == ("unknown_outcome", EFFECT)
    assert "run.waiting" in frames[-1].data


async def test_run_that_crashed_between_the_intent_and_its_effect_waits() -> None:
    clock, gate, rounds, work = Clock(), Gate(), Rounds(), Tally()
    store = InMemoryStore(now=clock)

    async with an_engine(store, acting(gate)) as gone, an_engine(store, acting(work), rounds) as heir:
        ticket = await submit(gone, await a_conversation(store))
        await gate.reached()
        clock.let_leases_run_out()
        await rounds.look()
        await settled(heir)
        run = await store.runs.get(0, ticket.run.id)

    assert (run.status, work.count) == (RunStatus.WAITING, 0)


@pytest.mark.parametrize(
    ("verdict", "value", "count", "answer"),
    [("retry", None, 1, '"done"'), ("done", {"id": 7}, 0, '{"id":7}')],
)
async def test_run_with_an_unknown_outcome_goes_on_as_somebody_decides(
    verdict: str, value: object, count: int, answer: str
) -> None:
    store, rounds, work = InMemoryStore(), Rounds(), Tally()
    conversation = await a_conversation(store)
    claim = await an_orphan(store, conversation, begun())

    async with an_engine(store, acting(work), rounds) as engine:
        await rounds.look()
        await settled(engine)
        ticket = await engine.decide(0, claim.run.id, Decision(verdict=verdict, value=value))
        end = await ticket.finished()

    run = await store.runs.get(0, claim.run.id)
    assert (end.status, work.count, run.wait) == (RunStatus.COMPLETED, count, None)
    assert await all_texts(store, conversation) == ["U", answer]


async def test_run_with_an_unknown_outcome_fails_if_somebody_wants_it_to() -> None:
    store, rounds, work = InMemoryStore(), Rounds(), Tally()
    claim = await an_orphan(store, await a_conversation(store), begun())

    async with an_engine(store, acting(work), rounds) as engine:
        await rounds.look()
        await settled(engine)
        ticket = await engine.decide(0, claim.run.id, Decision(verdict="fail"))
        with pytest.raises(UnknownOutcome):
            await ticket.finished()

    assert work.count == 0


@pytest.mark.parametrize(("policy", "status", "count"), [("retry", "completed", 1), ("fail", "failed", 0)])
async def test_plan_of_a_step_may_say_what_to_do_with_an_unknown_outcome(
    policy: str, status: str, count: int
) -> None:
    store, rounds, work = InMemoryStore(), Rounds(), Tally()
    claim = await an_orphan(store, await a_conversation(store), begun())

    async with an_engine(store, acting(work, on_unknown=policy), rounds) as engine:
        await rounds.look()
        await settled(engine)

    assert (await store.runs.get(0, claim.run.id)).status == status
    assert work.count == count


async def test_effect_that_is_tried_again_and_crashes_again_is_asked_about_again() -> None:
    clock, gate, rounds = Clock(), Gate(), Rounds()
    store, work = InMemoryStore(now=clock), Tally()
    conversation = await a_conversation(store)
    claim = await an_orphan(store, conversation, begun())

    async with an_engine(store, acting(gate), first := Rounds()) as gone:
        await first.look()
        await settled(gone)
        await gone.decide(0, claim.run.id, Decision(verdict="retry"))
        await gate.reached()
        clock.let_leases_run_out()
        async with an_engine(store, acting(work), rounds) as heir:
            await rounds.look()
            await settled(heir)
            again = await store.runs.get(0, claim.run.id)
            await (await heir.decide(0, claim.run.id, Decision(verdict="done", value="by hand"))).finished()

    assert (again.status, work.count) == (RunStatus.WAITING, 0)
    assert await all_texts(store, conversation) == ["U", '"by hand"']


async def test_effect_that_somebody_allowed_and_that_crashed_is_asked_about() -> None:
    clock, gate, rounds, work = Clock(), Gate(), Rounds(), Tally()
    store = InMemoryStore(now=clock)

    async def perform(run: ActiveRun) -> Turn:
        run.ask(EFFECT, kind="approval", message="Send it?")
        return a_turn((await act(run, EFFECT, work if run.run.epoch > 2 else gate)).output)

    async with an_engine(store, Doing(perform)) as gone, an_engine(store, Doing(perform), rounds) as heir:
        ticket = await submit(gone, await a_conversation(store))
        await settled(gone)
        await gone.decide(0, ticket.run.id, Decision(verdict="approve"))
        await gate.reached()
        clock.let_leases_run_out()
        await rounds.look()
        await settled(heir)
        run = await store.runs.get(0, ticket.run.id)
        await (await heir.decide(0, ticket.run.id, Decision(verdict="retry"))).finished()

    assert run.wait is not None
    assert (run.wait.kind, work.count) == ("unknown_outcome", 1)


@pytest.mark.parametrize(
    ("verdict", "count", "answer"), [("redo", 1, '"done"'), ("keep", 0, '"sent before"')]
)
async def test_run_whose_code_has_changed_goes_on_as_somebody_decides(
    verdict: str, count: int, answer: str
) -> None:
    store, rounds, work = InMemoryStore(), Rounds(), Tally()
    conversation = await a_conversation(store)
    claim = await an_orphan(store, conversation, begun(identity="other", ended_at=now_us()))

    async with an_engine(store, acting(work), rounds) as engine:
        await rounds.look()
        await settled(engine)
        waiting = await store.runs.get(0, claim.run.id)
        await (await engine.decide(0, claim.run.id, Decision(verdict=verdict))).finished()

    assert waiting.wait is not None
    assert (waiting.wait.kind, work.count) == ("needs_attention", count)
    assert await all_texts(store, conversation) == ["U", answer]


async def test_run_whose_code_has_changed_fails_if_somebody_wants_it_to() -> None:
    store, rounds, work = InMemoryStore(), Rounds(), Tally()
    claim = await an_orphan(store, await a_conversation(store), begun(identity="other", ended_at=1))

    async with an_engine(store, acting(work), rounds) as engine:
        await rounds.look()
        await settled(engine)
        ticket = await engine.decide(0, claim.run.id, Decision(verdict="fail"))
        with pytest.raises(NeedsAttention):
            await ticket.finished()

    assert work.count == 0


async def test_steps_beside_each_other_are_both_journaled() -> None:
    store, gates, hold = InMemoryStore(), [Gate(), Gate()], Gate()

    async def perform(run: ActiveRun) -> Turn:
        await asyncio.gather(*(act(run, f"turn/1/tool/{i}", gate) for i, gate in enumerate(gates)))
        await hold()
        return a_turn()

    async with an_engine(store, Doing(perform)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        await asyncio.gather(*(gate.reached() for gate in gates))
        intents = await store.runs.steps(0, ticket.run.id)
        for gate in reversed(gates):
            gate.open()
        await hold.reached()
        ended = await store.runs.steps(0, ticket.run.id)
        hold.open()
        end = await ticket.finished()

    assert [each.ended_at for each in intents] == [0, 0]
    assert all(each.ended_at and each.output == '"late"' for each in ended)
    assert end.usage == SPENT + SPENT


async def test_steps_beside_each_other_are_both_recalled() -> None:
    clock, hold, rounds = Clock(), Gate(), Rounds()
    store, works = InMemoryStore(now=clock), [Tally('"one"'), Tally('"two"')]

    async def perform(run: ActiveRun) -> Turn:
        results = await asyncio.gather(*(act(run, f"turn/1/tool/{i}", work) for i, work in enumerate(works)))
        if not run.is_resumed:
            await hold()
        return a_turn(" ".join(result.output for result in results))

    async with an_engine(store, Doing(perform)) as gone, an_engine(store, Doing(perform), rounds):
        ticket = await submit(gone, conversation := await a_conversation(store), "U")
        await hold.reached()
        clock.let_leases_run_out()
        await rounds.look()
        hold.open()
        await ticket.finished()

    assert [work.count for work in works] == [1, 1]
    assert await all_texts(store, conversation) == ["U", '"one" "two"']


async def test_run_may_be_silent_for_as_long_as_the_longest_of_its_steps_says() -> None:
    held, short, long = list[float](), Gate(), Gate()
    run = await an_active_run(InMemoryStore(), held)

    steps = [
        asyncio.create_task(run.step(path, gate, replace(a_plan(), within_seconds=seconds)))
        for path, gate, seconds in (("long", long, 500.0), ("short", short, 50.0))
    ]
    await asyncio.gather(long.reached(), short.reached())
    both = held[-1]
    short.open()
    await steps[1]
    one = held[-1]
    long.open()
    await steps[0]

    expected = [500 + GRACE_SECONDS, 500 + GRACE_SECONDS, GRACE_SECONDS]
    assert [both, one, held[-1]] == [pytest.approx(seconds, abs=20) for seconds in expected]


@pytest.mark.parametrize("has_effect", [False, True], ids=["model", "effect"])
async def test_work_that_was_begun_elsewhere_is_found_there_by_the_heir(has_effect: bool) -> None:
    clock, gate, rounds, found = Clock(), Gate(), Rounds(), list[str | None]()
    store, plan = InMemoryStore(now=clock), a_plan(has_effect=has_effect)

    async def perform(run: ActiveRun) -> Turn:
        async def work() -> StepResult:
            found.append(run.journal.begun(EFFECT))
            if found[-1] is None:
                await run.note(EFFECT, plan, external_id="resp_1")
                return await gate()
            return StepResult(output='"fetched"', usage=SPENT)

        return a_turn((await run.step(EFFECT, work, plan)).output)

    async with an_engine(store, Doing(perform)) as gone, an_engine(store, Doing(perform), rounds):
        ticket = await submit(gone, conversation := await a_conversation(store), "U")
        await gate.reached()
        [noted] = await store.runs.steps(0, ticket.run.id)
        clock.let_leases_run_out()
        await rounds.look()
        gate.open()
        await ticket.finished()
        [kept] = await store.runs.steps(0, ticket.run.id)

    assert (noted.external_id, noted.ended_at) == ("resp_1", 0)
    assert found == [None, "resp_1"]
    assert (kept.external_id, bool(kept.ended_at)) == ("resp_1", True)
    assert await all_texts(store, conversation) == ["U", '"fetched"']
