"""What runs tell is stored together, without haste when the store is in trouble, and nothing is lost."""

import asyncio
from collections.abc import Collection, Sequence

import pytest
from typing_extensions import override

from tertulia.conversations import Claim, Frame, Lease
from tertulia.engine import ActiveRun, Decision, Turn
from tertulia.engine.live import LiveRun
from tertulia.engine.recording import FULL_CHARACTERS, Recorder, Tape
from tertulia.errors import StoreBusy
from tertulia.events import TextDelta
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.in_memory.state import State
from tertulia.testing.builders import a_claimed_run, a_conversation, a_submission
from tests.engine.kit import (
    Clock,
    Doing,
    Gate,
    Halting,
    Noted,
    a_turn,
    an_engine,
    answering,
    followed,
    kinds,
    say,
    says_something,
    settled,
    submit,
    submit_followed,
    texts,
    told,
    with_runs,
)

SOON, LATER = "tertulia.engine.recording.SOON_SECONDS", "tertulia.engine.recording.LATER_SECONDS"
AT_ONCE, NEVER = 0.001, 3600.0


class Troubled(Noted):
    """A ledger that cannot store events for a while, or never those that hold one word."""

    def __init__(self, state: State, *, unstorable: str = "unstorable") -> None:
        super().__init__(state)
        self.is_away = False
        self.failed = asyncio.Event()
        self._unstorable = unstorable

    @override
    async def record(self, told: Sequence[tuple[Lease, Frame]]) -> set[str]:
        if self.is_away or any(self._unstorable in frame.data for _, frame in told):
            self.batches.append(len(told))
            self.failed.set()
            raise StoreBusy if self.is_away else LookupError("cannot be stored")
        return await super().record(told)


class Slow(Noted):
    """A ledger that halts before it stores the first events."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.reached, self.let = asyncio.Event(), asyncio.Event()

    @override
    async def record(self, told: Sequence[tuple[Lease, Frame]]) -> set[str]:
        if not self.reached.is_set():
            self.reached.set()
            await self.let.wait()
        return await super().record(told)


class Speech:
    """A run that tells, without an engine."""

    def __init__(self, claim: Claim, recorder: Recorder) -> None:
        self.run_id, self._recorder, self._live = claim.run.id, recorder, LiveRun()
        self._live.begin(claim.run.epoch)
        self.tape = Tape(claim.lease, self._live, is_followed=True)

    def say(self, text: str) -> None:
        self.tape.add(self._live.emit(TextDelta(text=text, author="Chef")))
        self._recorder.add(self.tape)


async def a_speech(store: InMemoryStore, recorder: Recorder) -> Speech:
    return Speech(await a_claimed_run(store, a_submission(await a_conversation(store))), recorder)


async def some_speeches(store: InMemoryStore, recorder: Recorder, *, count: int) -> list[Speech]:
    conversation = await a_conversation(store)
    agent = await store.agents.get(0, conversation.agent_id)
    found = [Speech(await a_claimed_run(store, a_submission(conversation)), recorder)]
    for _ in range(count - 1):
        another = await a_conversation(store, agent)
        found.append(Speech(await a_claimed_run(store, a_submission(another)), recorder))
    return found


def silent(_run_ids: Collection[str]) -> None:
    """Tell nobody that events are stored."""


async def data(store: InMemoryStore, run_id: str) -> list[str]:
    return [frame.data for frame in await store.runs.frames(0, run_id)]


async def test_events_of_all_runs_are_stored_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SOON, AT_ONCE)
    store, heard = InMemoryStore(), list[Collection[str]]()
    runs = with_runs(store, Noted(store.runs._state))
    recorder = Recorder(runs, told=heard.append)
    speeches = await some_speeches(store, recorder, count=3)

    for speech in speeches:
        speech.say("a")
        speech.say("b")
    for speech in speeches:
        await runs.hold(speech.run_id, events=2)
    await recorder.stop()

    assert runs.batches == [3]
    assert heard == [{speech.run_id for speech in speeches}]


async def test_much_text_is_stored_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SOON, NEVER)
    store = InMemoryStore()
    runs = with_runs(store, Noted(store.runs._state))
    recorder = Recorder(runs, told=silent)
    speech = await a_speech(store, recorder)

    speech.say("a" * (FULL_CHARACTERS - 1))
    await asyncio.sleep(AT_ONCE)
    before = list(runs.batches)
    speech.say("b")
    await runs.hold(speech.run_id, events=2)
    await recorder.stop()

    assert (before, runs.batches) == ([], [1])


async def test_who_is_followed_is_stored_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SOON, AT_ONCE)
    monkeypatch.setattr(LATER, NEVER)
    store, gate = InMemoryStore(), Gate()
    runs = with_runs(store, Noted(store.runs._state))

    async with an_engine(store, _saying("a", gate)) as engine:
        alone = await submit(engine, await a_conversation(store))
        await gate.reached()
        await asyncio.sleep(AT_ONCE)
        before = list(runs.batches)
        agent = await store.agents.get(0, alone.conversation.agent_id)
        followed_one = await submit_followed(engine, await a_conversation(store, agent))
        await runs.hold(followed_one.run.id, events=2)
        gate.open()
        await settled(engine)

    assert (before, runs.batches) == ([], [2])


async def test_store_that_fails_for_a_while_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SOON, AT_ONCE)
    monkeypatch.setattr(LATER, AT_ONCE)
    store = InMemoryStore()
    runs = with_runs(store, Troubled(store.runs._state))
    recorder = Recorder(runs, told=silent)
    speech = await a_speech(store, recorder)

    runs.is_away = True
    for i in range(5):
        speech.say(f"{i}")
        runs.failed.clear()
        await runs.failed.wait()
    runs.is_away = False
    await runs.hold(speech.run_id, events=5)
    await recorder.stop()

    assert await data(store, speech.run_id) == ['["Chef","0","1","2","3","4"]']
    assert speech.tape.is_empty


@pytest.mark.parametrize("size", [1, FULL_CHARACTERS], ids=["a little", "much"])
async def test_store_that_fails_is_left_in_peace_for_a_while(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SOON, AT_ONCE)
    monkeypatch.setattr(LATER, NEVER)
    store = InMemoryStore()
    runs = with_runs(store, Troubled(store.runs._state))
    recorder = Recorder(runs, told=silent)
    speech = await a_speech(store, recorder)

    runs.is_away = True
    speech.say("a" * size)
    await runs.failed.wait()
    for _ in range(20):
        speech.say("a" * size)
        await asyncio.sleep(AT_ONCE)
    tried = len(runs.batches)
    runs.is_away = False
    await recorder.stop()

    assert tried == 1
    assert await data(store, speech.run_id) != []


async def test_what_is_told_while_something_is_stored_is_stored_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SOON, AT_ONCE)
    store = InMemoryStore()
    runs = with_runs(store, Slow(store.runs._state))
    recorder = Recorder(runs, told=silent)
    speech = await a_speech(store, recorder)

    speech.say("a")
    await runs.reached.wait()
    speech.say("b")
    runs.let.set()
    await runs.hold(speech.run_id, events=2)
    await recorder.stop()

    assert await data(store, speech.run_id) == ['["Chef","a"]', '["Chef","b"]']


async def test_frame_that_is_on_its_way_while_a_longer_one_is_committed_does_no_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SOON, AT_ONCE)
    store, gate, last = InMemoryStore(), Gate(), Gate()
    runs = with_runs(store, Slow(store.runs._state))

    async def perform(run: ActiveRun) -> Turn:
        say(run, "a")
        await gate()
        say(run, "b")
        await run.commit_turn(a_turn("A1"))
        say(run, "c")
        await last()
        return a_turn("A2", number=2)

    async with an_engine(store, Doing(perform)) as here, an_engine(store, answering()) as there:
        ticket = await submit_followed(here, await a_conversation(store))
        await runs.reached.wait()
        gate.open()
        await last.reached()
        runs.let.set()
        await runs.hold(ticket.run.id, events=5)
        last.open()
        own = await told(ticket.events())
        seen = await followed(there, ticket.run.id)

    assert seen == own
    assert texts(own) == ["a", "b", "c"]


async def test_what_is_told_while_a_turn_is_kept_comes_after_it() -> None:
    store = InMemoryStore()
    runs = with_runs(store, Halting(store.runs._state, says_something))
    performer = Doing(_committing)

    async with an_engine(store, performer) as here, an_engine(store, answering()) as there:
        ticket = await submit_followed(here, await a_conversation(store))
        await runs.reached.wait()
        say(performer.runs[0], "late")
        runs.let.set()
        own = await told(ticket.events())
        seen = await followed(there, ticket.run.id)

    assert kinds(own)[:4] == ["run.started", "text.delta", "turn.finished", "text.delta"]
    assert texts(own) == ["early", "late"]
    assert seen == own


async def test_what_cannot_be_stored_keeps_nothing_else_from_being_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SOON, AT_ONCE)
    monkeypatch.setattr(LATER, AT_ONCE)
    store = InMemoryStore()
    runs = with_runs(store, Troubled(store.runs._state))
    recorder = Recorder(runs, told=silent)
    bad, good = await some_speeches(store, recorder, count=2)

    bad.say("unstorable")
    good.say("a")
    await runs.failed.wait()
    bad.say("more")
    good.say("b")
    await asyncio.wait_for(runs.hold(good.run_id, events=2), 5)
    await recorder.stop()

    assert not [each for each in await data(store, good.run_id) if "unstorable" in each]
    assert len(runs.batches) < 20


async def test_what_a_run_tells_after_its_end_is_told_nobody_and_tried_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SOON, AT_ONCE)
    monkeypatch.setattr(LATER, AT_ONCE)
    store, performer = InMemoryStore(), answering()
    runs = with_runs(store, Noted(store.runs._state))

    async with an_engine(store, performer) as engine:
        ticket = await submit_followed(engine, await a_conversation(store))
        await ticket.finished()
        await settled(engine)
        before = len(runs.batches)
        say(performer.runs[0], "too late")
        for _ in range(10):
            await asyncio.sleep(AT_ONCE)
        after = len(runs.batches)
        seen = await told(ticket.events())

    assert texts(seen) == []
    assert (after - before, len(runs.batches) - before) == (0, 0)


async def test_what_an_owner_tells_that_has_lost_its_run_is_not_told_as_the_heirs() -> None:
    clock, gate = Clock(), Gate()
    store = InMemoryStore(now=clock)

    async def perform(run: ActiveRun) -> Turn:
        if run.is_resumed:
            await gate()
            say(run, "new")
            return a_turn()
        run.ask("turn/1/ask", kind="approval", message="May I?")
        raise AssertionError("not reached")

    performer = Doing(perform)
    async with an_engine(store, performer) as engine, an_engine(store, answering()) as there:
        ticket = await submit_followed(engine, await a_conversation(store))
        await settled(engine)
        await engine.decide(0, ticket.run.id, Decision(verdict="approve"))
        await gate.reached()
        follower = asyncio.create_task(told(ticket.events()))
        say(performer.runs[0], "old")
        gate.open()
        own = await follower
        seen = await followed(there, ticket.run.id)

    assert texts(own) == ["new"]
    assert seen == own


async def test_recorder_that_stops_stores_what_was_told_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SOON, NEVER)
    store = InMemoryStore()
    runs = with_runs(store, Noted(store.runs._state))
    recorder = Recorder(runs, told=silent)
    speech = await a_speech(store, recorder)

    speech.say("a")
    await recorder.stop()
    await recorder.stop()

    assert await data(store, speech.run_id) == ['["Chef","a"]']


async def _committing(run: ActiveRun) -> Turn:
    say(run, "early")
    await run.commit_turn(a_turn("A1"))
    return a_turn("A2", number=2)


def _saying(text: str, gate: Gate) -> Doing:
    async def perform(run: ActiveRun) -> Turn:
        say(run, text)
        await gate()
        return a_turn(text)

    return Doing(perform)
