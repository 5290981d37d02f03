"""However telling, keeping, storing and taking over follow each other, everybody sees the same in the end."""

import asyncio
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tertulia.conversations import Claim
from tertulia.engine import ActiveRun
from tertulia.engine.desk import Desk
from tertulia.engine.following import Following
from tertulia.engine.leaving import Leaving
from tertulia.engine.live import LiveRun
from tertulia.engine.recording import Recorder
from tertulia.errors import LeaseLost
from tertulia.events import Numbered, RunFinished, StepRestarted, TextDelta, TurnFinished
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import (
    COMPLETED,
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_submission,
    all_texts,
)
from tests.engine.kit import a_turn, say, told

pytestmark = pytest.mark.usefixtures("quick")

HOUSES = 2
MOVES = st.lists(
    st.one_of(
        *(st.just(move) for move in ("say", "keep", "store", "breathe")),
        *(st.just(f"late {move}") for move in ("say", "keep", "store", "leave")),
        *(st.just(f"move to {house}") for house in range(HOUSES)),
    ),
    max_size=25,
)


class House:
    """A process: what it knows of the run, and somebody there who follows it."""

    def __init__(self, store: InMemoryStore, claim: Claim) -> None:
        self.live = LiveRun()
        self.recorder = Recorder(store.runs, told=lambda _: None)
        following = Following(claim.run, self.live, store, Leaving())
        self.follower = asyncio.create_task(told(following.events()))
        self._desk = Desk(
            runs=store.runs,
            conversations=store.conversations,
            recorder=self.recorder,
            leaving=Leaving(),
            jobs_made=lambda: None,
        )

    def begin(self, claim: Claim) -> ActiveRun:
        """Carry the run out from now on."""
        self.live.begin(claim.run.epoch)
        return ActiveRun(claim, self.live, self._desk, hold=lambda _: None, confirm=lambda: asyncio.sleep(0))

    def leave(self, active: ActiveRun) -> None:
        """Find out that the run is carried out elsewhere, or has ended."""
        active.leave()
        self.live.lose(active.run.epoch)


class Street:
    """Processes that one run goes through."""

    def __init__(self, store: InMemoryStore, claim: Claim) -> None:
        self._store, self._texts = store, 0
        self.run_id, self.houses = claim.run.id, [House(store, claim) for _ in range(HOUSES)]
        self._owners = [(self.houses[0], self.houses[0].begin(claim))]
        """All that it has had and that do not know better, the present one last."""

    async def play(self, move: str) -> None:
        house, active = self._owners[-1]
        match move.split():
            case ["say"]:
                self._say(active)
            case ["keep"]:
                await active.commit_turn(a_turn(f"A{active.conversation.head}"))
            case ["store"]:
                await house.recorder._write()
            case ["breathe"]:
                await asyncio.sleep(0)
            case ["move", "to", place]:
                await self._move(self.houses[int(place)])
            case ["late", *what]:
                await self._play_late(what)

    async def end(self) -> list[list[Numbered]]:
        """End the run; return what was seen of it in every house."""
        await self._owners[-1][1].end(a_turn("the end"), COMPLETED, None)
        self._leave_all_but(0)
        seen = await asyncio.wait_for(asyncio.gather(*(house.follower for house in self.houses)), 20)
        for house in self.houses:
            with suppress(LeaseLost):
                await house.recorder.stop()
        return seen

    async def _play_late(self, what: list[str]) -> None:
        """Have an earlier owner do something, or find out that it is one no longer."""
        if len(self._owners) == 1:
            return
        house, active = self._owners[0]
        match what:
            case ["say"]:
                self._say(active)
            case ["keep"]:
                with pytest.raises(LeaseLost):
                    await active.commit_turn(a_turn("never kept"))
            case ["store"]:
                await house.recorder._write()
            case _:
                self._leave_all_but(1)

    def _say(self, active: ActiveRun) -> None:
        self._texts += 1
        say(active, f"{self._texts} ")

    def _leave_all_but(self, count: int) -> None:
        while len(self._owners) > count:
            house, active = self._owners.pop(0)
            house.leave(active)

    async def _move(self, house: House) -> None:
        gone = a_claimant(lease_us=OVER_AT_ONCE)
        claims = await self._store.runs.claim(gone, limit=1)
        [claim] = claims or await self._store.runs.claim(gone, limit=1, suspects=True)
        active = house.begin(claim)
        self._owners.append((house, active))
        active.emit(StepRestarted(path="turn"))


def clean(events: list[Numbered]) -> list[Numbered]:
    """Return what is left where what a restart voids is forgotten, and the restarts themselves."""
    kept: list[Numbered] = []
    for each in events:
        if isinstance(each.event, StepRestarted):
            while kept and isinstance(kept[-1].event, TextDelta):
                kept.pop()
        else:
            kept.append(each)
    return kept


@settings(max_examples=300)
@given(moves=MOVES)
def test_everybody_sees_what_the_store_tells_but_for_what_was_voided(moves: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tertulia.engine.recording.SOON_SECONDS", 3600)
        patch.setattr("tertulia.engine.recording.LATER_SECONDS", 3600)
        seen, replay, log = asyncio.run(_played(moves))

    for events in (*seen, replay):
        assert all(one.seq < other.seq for one, other in pairwise(events))
        assert clean(events) == clean(replay)
    finished = [each.event for each in replay if isinstance(each.event, TurnFinished)]
    assert [event.message.text for event in finished] == log[1:]
    assert isinstance(replay[-1].event, RunFinished)


async def _played(moves: list[str]) -> tuple[list[list[Numbered]], list[Numbered], list[str]]:
    """Play the moves; return what was seen, what the store tells afterwards, and what stands in the log."""
    store = InMemoryStore()
    conversation = await a_conversation(store)
    gone = a_claimant(lease_us=OVER_AT_ONCE)
    claim = await a_claimed_run(store, a_submission(conversation, "U"), claimant=gone)
    street = Street(store, claim)
    for move in moves:
        await street.play(move)
    seen = await street.end()
    replay = await told(Following(claim.run, LiveRun(), store, Leaving()).events())
    return seen, replay, await all_texts(store, conversation)
