"""How every store keeps the steps of a run."""

from dataclasses import replace

import pytest

from tertulia.conversations import DEFAULT_TENANT, Commit, Step
from tertulia.ids import RUN, new_id
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_digest,
    a_finish,
    a_step,
    a_submission,
    an_intent,
)

TENANT = DEFAULT_TENANT


def _ended(intent: Step, output: str = '"sent"') -> Step:
    return replace(intent, output=output, ended_at=intent.started_at + 1)


@pytest.mark.asyncio
class JournalContract:
    """What is journaled stands: only what has not ended, or is another thing, makes room."""

    async def test_steps_are_journaled_in_order(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
        steps = [a_step(f"turn/1/model/{i}") for i in range(1, 13)]

        await store.runs.commit(claim.lease, Commit(steps=tuple(steps[:5])), None)
        for step in steps[5:]:
            await store.runs.commit(claim.lease, Commit(steps=(step,)), None)

        assert await store.runs.steps(TENANT, claim.run.id) == steps

    async def test_all_of_a_step_is_kept(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
        steps = (replace(a_step(), external_id="resp_ü 1"), an_intent(), replace(an_intent("x"), output="{}"))

        await store.runs.commit(claim.lease, Commit(steps=steps), None)

        assert await store.runs.steps(TENANT, claim.run.id) == list(steps)

    async def test_step_that_has_ended_is_not_replaced_by_its_like(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
        first, other = a_step(output='"first"'), a_step("other")
        await store.runs.commit(claim.lease, Commit(steps=(first,)), None)

        for again in (
            replace(first, output='"second"'),
            replace(first, ended_at=0),
            replace(first, kind="tool", external_id="x"),
        ):
            await store.runs.commit(claim.lease, Commit(steps=(again, other)), None)

        assert await store.runs.steps(TENANT, claim.run.id) == [first, other]

    async def test_step_with_another_identity_takes_its_place(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
        first, second = a_step("turn/1/model/1"), a_step("turn/1/model/2")
        changed = replace(first, output='"changed"', identity=a_digest("changed"), external_id="x")
        await store.runs.commit(claim.lease, Commit(steps=(first, second)), None)

        await store.runs.commit(claim.lease, Commit(steps=(changed,)), None)

        assert await store.runs.steps(TENANT, claim.run.id) == [changed, second]

    async def test_intent_makes_room_for_what_became_of_it(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
        intent, step = an_intent(), a_step()
        await store.runs.commit(claim.lease, Commit(steps=(intent, step)), None)

        await store.runs.commit(claim.lease, Commit(steps=(_ended(intent),)), None)
        await store.runs.commit(claim.lease, Commit(steps=(_ended(intent, '"twice"'), intent)), None)

        assert await store.runs.steps(TENANT, claim.run.id) == [_ended(intent), step]

    async def test_intent_makes_room_for_a_newer_one(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
        intent = an_intent()
        known = replace(intent, external_id="resp_1")

        for step in (intent, known):
            await store.runs.commit(claim.lease, Commit(steps=(step,)), None)

        assert await store.runs.steps(TENANT, claim.run.id) == [known]

    async def test_intent_with_another_identity_takes_the_place_of_a_step(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
        step = a_step()
        changed = replace(step, identity=a_digest("changed"), ended_at=0, output="")

        for journaled in (step, changed):
            await store.runs.commit(claim.lease, Commit(steps=(journaled,)), None)

        assert await store.runs.steps(TENANT, claim.run.id) == [changed]

    async def test_intent_and_its_end_may_come_together(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
        intent = an_intent()

        await store.runs.commit(claim.lease, Commit(steps=(intent, a_step(), _ended(intent))), None)

        assert [step.path for step in await store.runs.steps(TENANT, claim.run.id)] == [
            intent.path,
            a_step().path,
        ]
        assert (await store.runs.steps(TENANT, claim.run.id))[0] == _ended(intent)

    async def test_steps_of_different_runs_do_not_meet(self, store: Store) -> None:
        conversation, claimant = await a_conversation(store), a_claimant()
        first = await a_claimed_run(store, a_submission(conversation), claimant=claimant)
        await store.runs.commit(first.lease, replace(a_finish(), steps=(a_step(output="1"),)), None)

        second = await a_claimed_run(store, a_submission(conversation), claimant=claimant)
        await store.runs.commit(second.lease, Commit(steps=(a_step(output="2"),)), None)

        assert [s.output for s in await store.runs.steps(TENANT, first.run.id)] == [""]
        assert [s.output for s in await store.runs.steps(TENANT, second.run.id)] == ["2"]

    async def test_intents_come_with_a_run_that_is_taken_over(self, store: Store) -> None:
        gone = a_claimant(lease_us=OVER_AT_ONCE)
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)), claimant=gone)
        steps = (a_step(), an_intent())
        await store.runs.commit(claim.lease, Commit(steps=steps), None)

        [new] = await store.runs.claim(a_claimant(), limit=9)

        assert new.steps == steps

    async def test_what_steps_brought_is_forgotten_at_the_end(self, store: Store) -> None:
        claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
        early, intent, late = a_step("turn/1/model/1"), an_intent(), a_step("turn/1/model/2")
        await store.runs.commit(claim.lease, Commit(steps=(early, intent)), None)

        await store.runs.commit(claim.lease, replace(a_finish("answer"), steps=(late,)), None)

        kept = await store.runs.steps(TENANT, claim.run.id)
        assert kept == [replace(step, output="") for step in (early, intent, late)]

    async def test_unknown_run_has_no_steps(self, store: Store) -> None:
        assert await store.runs.steps(TENANT, new_id(RUN)) == []
