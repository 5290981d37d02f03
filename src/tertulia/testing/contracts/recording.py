"""How every store keeps the events of runs."""

import asyncio
from dataclasses import replace

import pytest

from tertulia.conversations import DEFAULT_TENANT, Claim, Claimant, Commit, Frame, Stop
from tertulia.ids import OWNER, RUN, new_id
from tertulia.messages import now_us
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    HOUR_US,
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_finish,
    a_frame,
    a_step,
    a_submission,
    a_wait,
    all_kept,
    all_texts,
    an_agent,
)

TENANT = DEFAULT_TENANT
TAKEN_OVER = 2**20


@pytest.mark.asyncio
class RecordContract:
    """What a run tells is kept in order, by the commits of its holder or beside them."""

    async def test_frames_are_read_in_order_from_any_point(self, store: Store) -> None:
        claim = await _a_run(store)
        frames = [a_frame(0, 2), a_frame(3), a_frame(TAKEN_OVER, TAKEN_OVER + 9, text="ü")]

        await store.runs.commit(claim.lease, Commit(frames=(frames[1], frames[0])), None)
        await store.runs.commit(claim.lease, replace(a_finish("answer"), frames=(frames[2],)), None)

        for after, expected in (
            (-1, frames),
            (1, frames),
            (2, frames[1:]),
            (3, frames[2:]),
            (TAKEN_OVER + 8, frames[2:]),
            (TAKEN_OVER + 9, []),
        ):
            assert await store.runs.frames(TENANT, claim.run.id, after=after) == expected
        assert await store.runs.frames(TENANT, claim.run.id) == frames

    async def test_frames_are_read_in_pages(self, store: Store) -> None:
        claim = await _a_run(store)
        frames = [a_frame(first, first + 1) for first in (0, 2, 4, 6)]
        await store.runs.record([(claim.lease, frame) for frame in frames])

        async def page(**asked: int) -> list[Frame]:
            return await store.runs.frames(TENANT, claim.run.id, **asked)

        assert await page(limit=2) == frames[:2]
        assert await page(after=3, limit=1) == frames[2:3]
        assert await page(after=4, limit=9) == frames[2:]
        assert await page(limit=0) == []

    async def test_events_of_many_runs_are_stored_at_once(self, store: Store) -> None:
        claimant = a_claimant()
        claims = [await _a_run(store, claimant) for _ in range(3)]
        told = [(claim.lease, a_frame(i)) for claim in claims for i in (0, 1)]

        stored = await store.runs.record(told)

        assert stored == {claim.run.id for claim in claims}
        for claim in claims:
            assert await store.runs.frames(TENANT, claim.run.id) == [a_frame(0), a_frame(1)]
        assert await store.runs.record([]) == set()

    async def test_events_change_nothing_else(self, store: Store) -> None:
        claim = await _a_run(store)
        before = await all_kept(store, claim.conversation)

        await store.runs.record([(claim.lease, a_frame())])

        after = await all_kept(store, claim.conversation)
        assert after[:5] + after[6:] == before[:5] + before[6:]
        assert after[5] == [[a_frame()]]

    async def test_of_runs_that_are_held_no_more_nothing_is_stored(self, store: Store) -> None:
        gone = a_claimant(lease_us=OVER_AT_ONCE)
        overtaken = await _a_run(store, gone)
        [heir] = await store.runs.claim(a_claimant(), limit=9)
        held, ended, given_back, waiting = [await _a_run(store) for _ in range(4)]
        await store.runs.commit(ended.lease, a_finish("answer"), None)
        await store.runs.release([given_back.lease])
        await store.runs.commit(waiting.lease, Commit(wait=a_wait()), None)
        leases = [
            overtaken.lease,
            ended.lease,
            held.lease,
            given_back.lease,
            waiting.lease,
            replace(held.lease, run_id=new_id(RUN)),
        ]

        stored = await store.runs.record([(lease, a_frame()) for lease in leases])

        assert stored == {held.run.id}
        for claim in (overtaken, ended, given_back, waiting):
            assert await store.runs.frames(TENANT, claim.run.id) == []
        assert await store.runs.frames(TENANT, held.run.id) == [a_frame()]
        assert await store.runs.record([(heir.lease, a_frame(TAKEN_OVER))]) == {heir.run.id}

    async def test_of_somebody_elses_run_nothing_is_stored(self, store: Store) -> None:
        claim = await _a_run(store)
        stolen = replace(claim.lease, owner=new_id(OWNER))

        assert await store.runs.record([(stolen, a_frame())]) == set()

        assert await store.runs.frames(TENANT, claim.run.id) == []

    async def test_lease_that_ran_out_is_good_for_events_until_it_is_taken(self, store: Store) -> None:
        claim = await _a_run(store, a_claimant(lease_us=OVER_AT_ONCE))

        assert await store.runs.record([(claim.lease, a_frame())]) == {claim.run.id}

    async def test_run_that_is_to_stop_still_tells(self, store: Store) -> None:
        claim = await _a_run(store)
        await store.runs.stop(TENANT, claim.run.id, Stop.CANCEL, None)

        assert await store.runs.record([(claim.lease, a_frame())]) == {claim.run.id}

        assert await store.runs.frames(TENANT, claim.run.id) == [a_frame()]

    async def test_frame_makes_room_for_a_longer_one(self, store: Store) -> None:
        claim = await _a_run(store)
        short, long = a_frame(0, 3, text="short"), a_frame(0, 7, text="long")

        await store.runs.record([(claim.lease, short), (claim.lease, a_frame(8))])
        stored = await store.runs.record([(claim.lease, long)])

        assert stored == {claim.run.id}
        assert await store.runs.frames(TENANT, claim.run.id) == [long, a_frame(8)]

    async def test_frame_does_not_make_room_for_one_that_is_no_longer(self, store: Store) -> None:
        claim = await _a_run(store)
        first = a_frame(0, 3, text="first")
        await store.runs.record([(claim.lease, first)])

        for again in (a_frame(0, 3, text="again"), a_frame(0, 2, text="shorter"), a_frame(0)):
            await store.runs.record([(claim.lease, again)])
            await store.runs.commit(claim.lease, Commit(frames=(again,)), None)

        assert await store.runs.frames(TENANT, claim.run.id) == [first]

    async def test_commit_and_record_keep_frames_alike(self, store: Store) -> None:
        claim = await _a_run(store)
        short, long = a_frame(0, 3, text="short"), a_frame(0, 7, text="long")

        await store.runs.commit(claim.lease, Commit(frames=(short,)), None)
        await store.runs.commit(claim.lease, Commit(frames=(long, a_frame(8))), None)
        await store.runs.record([(claim.lease, short)])
        await store.runs.record([(claim.lease, a_frame(8, 9))])

        assert await store.runs.frames(TENANT, claim.run.id) == [long, a_frame(8, 9)]

    async def test_of_frames_that_come_together_the_longest_stays(self, store: Store) -> None:
        claim, other = await _a_run(store), await _a_run(store)
        frames = [a_frame(0, 3), a_frame(0, 7), a_frame(0, 5)]

        await store.runs.record([(claim.lease, frame) for frame in frames])
        await store.runs.commit(other.lease, Commit(frames=tuple(frames)), None)

        for run_id in (claim.run.id, other.run.id):
            assert await store.runs.frames(TENANT, run_id) == [a_frame(0, 7)]

    async def test_events_are_let_go_of_and_all_else_stays(self, store: Store) -> None:
        claim = await _a_run(store)
        ending = replace(a_finish("answer"), steps=(a_step(),), frames=(a_frame(0), a_frame(1)))
        await store.runs.commit(claim.lease, ending, None)
        before = await all_kept(store, claim.conversation)

        assert await store.runs.prune(before=now_us() - HOUR_US, limit=9) == 0
        assert await all_kept(store, claim.conversation) == before
        assert await store.runs.prune(before=now_us() + HOUR_US, limit=9) == 2

        after = await all_kept(store, claim.conversation)
        assert after[:5] == before[:5]
        assert after[5] == [[]]
        assert await all_texts(store, claim.conversation) == ["hello", "answer"]

    async def test_events_of_a_run_that_has_not_ended_are_kept(self, store: Store) -> None:
        under_way, given_back, waiting, ended = [await _a_run(store) for _ in range(4)]
        for claim in (under_way, given_back, waiting, ended):
            await store.runs.record([(claim.lease, a_frame(0)), (claim.lease, a_frame(1))])
        await store.runs.release([given_back.lease])
        await store.runs.commit(waiting.lease, Commit(wait=a_wait()), None)
        await store.runs.commit(ended.lease, a_finish("answer"), None)

        gone = [await store.runs.prune(before=now_us() + HOUR_US, limit=limit) for limit in (1, 9, 9)]

        assert gone == [1, 1, 0]
        assert await store.runs.frames(TENANT, ended.run.id) == []
        for claim in (under_way, given_back, waiting):
            assert await store.runs.frames(TENANT, claim.run.id) == [a_frame(0), a_frame(1)]

    async def test_events_are_kept_from_the_end_of_their_run_on(self, store: Store) -> None:
        claim = await _a_run(store)
        await store.runs.record([(claim.lease, a_frame())])
        await asyncio.sleep(0.01)
        between = now_us()
        await asyncio.sleep(0.01)
        await store.runs.commit(claim.lease, a_finish("answer"), None)

        assert await store.runs.prune(before=between, limit=9) == 0

        assert await store.runs.frames(TENANT, claim.run.id) == [a_frame()]

    async def test_keys_that_may_still_be_used_are_kept(self, store: Store) -> None:
        conversation = await a_conversation(store)
        first = await a_claimed_run(store, a_submission(conversation, key="k"))
        await store.runs.commit(first.lease, a_finish("answer"), None)

        assert await store.runs.prune(before=now_us() + HOUR_US, limit=9) == 0
        again = await store.runs.accept(a_submission(conversation, key="k"), a_claimant())

        assert (again.run.id, again.is_new) == (first.run.id, False)

    async def test_unknown_run_has_told_nothing(self, store: Store) -> None:
        assert await store.runs.frames(TENANT, new_id(RUN)) == []


async def _a_run(store: Store, claimant: Claimant | None = None) -> Claim:
    conversation = await a_conversation(store, await an_agent(store, name=new_id("n")))
    return await a_claimed_run(store, a_submission(conversation), claimant=claimant)
