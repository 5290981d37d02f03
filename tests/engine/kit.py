"""What tests of the engine are made of: a clock and pauses in the test's hand, performers that do as told."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, TypeVar

from typing_extensions import override

from tertulia.conversations import Claimant, Commit, Committed, Conversation, Frame, Lease
from tertulia.engine import ActiveRun, Engine, Performer, Plan, Probe, StepResult, Ticket, Turn, unobserved
from tertulia.events import Event, Numbered, TextDelta
from tertulia.messages import Flag, Message, now_us
from tertulia.stores import Store
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.in_memory.runs import InMemoryRuns
from tertulia.stores.in_memory.state import State
from tertulia.testing.builders import PERFORMER, a_digest, a_submission, an_answer
from tertulia.usage import Usage

LEASE_SECONDS: Final = 600.0
"""So long that no heartbeat ever comes in time to disturb a test."""
BEATING_SECONDS: Final = 0.06
"""A lease so short that the heartbeat is heard at once."""
POLL_SECONDS: Final = 60.0
CHORES: Final = 2
"""So many tasks of an engine look at the store once in a while: for runs, and for wishes to stop."""
WITH_JOBS: Final = CHORES + 1
"""So many if it has workers as well."""
STEP_SECONDS: Final = 60.0
"""What every step of these tests says that it may take."""
SPENT: Final = Usage(input_tokens=7, output_tokens=3, model_calls=1)

R = TypeVar("R", bound=InMemoryRuns)


class Clock:
    """The store's clock."""

    def __init__(self) -> None:
        self._now = now_us()

    def __call__(self) -> int:
        return self._now

    def let_leases_run_out(self) -> None:
        self._now += int(LEASE_SECONDS * 2_000_000)


class Seconds:
    """What a heartbeat takes for the time: as much later than it is as a test says."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.passed


class Rounds:
    """A pause for one engine: it looks at the store when it is told to, and waits for nothing."""

    def __init__(self, chores: int = CHORES) -> None:
        self.short: list[float] = []
        """Every pause between attempts to write something."""
        self._chores, self._resting = chores, 0
        self._rests, self._bell = asyncio.Event(), asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        if seconds < POLL_SECONDS:
            self.short.append(seconds)
            await asyncio.sleep(0)
        elif seconds > POLL_SECONDS:
            await asyncio.Event().wait()
        else:
            self._resting += 1
            if self._resting == self._chores:
                self._rests.set()
            await self._bell.wait()

    async def look(self) -> None:
        """Have the engine look for runs and wishes once, and return when it has begun what it found."""
        await self._rests.wait()
        self._rests.clear()
        self._resting = 0
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()
        await self._rests.wait()


class Renewed(InMemoryRuns):
    """A ledger that tells when leases are renewed."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._renewals = threading.Semaphore(0)

    @override
    async def renew(self, leases: Sequence[Lease], *, lease_us: int) -> set[str]:
        held = await super().renew(leases, lease_us=lease_us)
        self._renewals.release()
        return held

    async def beat(self) -> None:
        """Return after a whole beat of the heart that began later than this call."""
        while self._renewals.acquire(blocking=False):
            continue
        for _ in range(2):
            assert await asyncio.to_thread(self._renewals.acquire, timeout=10)


class Unacknowledged(InMemoryRuns):
    """A ledger that writes the first end of a run, and says so when it is let."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.written, self.let = asyncio.Event(), asyncio.Event()

    @override
    async def commit(self, lease: Lease, commit: Commit, claimant: Claimant | None) -> Committed:
        committed = await super().commit(lease, commit, claimant)
        if commit.ending is not None and not self.written.is_set():
            self.written.set()
            await self.let.wait()
        return committed


class Halting(InMemoryRuns):
    """A ledger that halts at the first commit of a kind, before it writes it, until it is let."""

    def __init__(self, state: State, at: Callable[[Commit], bool]) -> None:
        super().__init__(state)
        self.reached, self.let = asyncio.Event(), asyncio.Event()
        self._at = at

    @override
    async def commit(self, lease: Lease, commit: Commit, claimant: Claimant | None) -> Committed:
        if self._at(commit) and not self.reached.is_set():
            self.reached.set()
            await self.let.wait()
        return await super().commit(lease, commit, claimant)


def says_something(commit: Commit) -> bool:
    """Whether a commit keeps a turn that is not the last."""
    return bool(commit.messages) and commit.ending is None


def ends(commit: Commit) -> bool:
    """Whether a commit ends its run."""
    return commit.ending is not None


class Noted(InMemoryRuns):
    """A ledger that tells when events are stored, and counts how often that was tried."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.batches: list[int] = []
        """Of how many runs events came together, time after time."""
        self._came = asyncio.Event()

    @override
    async def record(self, told: Sequence[tuple[Lease, Frame]]) -> set[str]:
        self.batches.append(len(told))
        recorded = await super().record(told)
        self._came.set()
        return recorded

    async def hold(self, run_id: str, *, events: int) -> None:
        """Return when so many events of a run are stored."""
        async with asyncio.timeout(30):
            while sum(f.last_seq - f.first_seq + 1 for f in await self.frames(0, run_id)) < events:
                self._came.clear()
                await self._came.wait()


def with_runs(store: InMemoryStore, runs: R) -> R:
    """Have a store keep its runs in this ledger; return the ledger."""
    store._runs = runs
    return runs


class Doing(Performer):
    """Does what it is made of, and counts."""

    def __init__(self, perform: Callable[[ActiveRun], Awaitable[Turn | None]]) -> None:
        self._perform = perform
        self.runs: list[ActiveRun] = []

    @override
    async def perform(self, run: ActiveRun) -> Turn | None:
        self.runs.append(run)
        return await self._perform(run)


class Gate:
    """Work that does not end before it is let through; ``arrived`` tells how often it was begun."""

    def __init__(self) -> None:
        self.arrived = 0
        self._came, self._open = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> StepResult:
        self.arrived += 1
        self._came.set()
        await self._open.wait()
        return StepResult(output='"late"', usage=SPENT)

    async def reached(self) -> None:
        """Wait until somebody stands at the gate; the next call waits for the next one."""
        await self._came.wait()
        self._came.clear()

    def open(self) -> None:
        self._open.set()


class Tally:
    """Work that counts how often it was done."""

    def __init__(self, output: str = '"done"') -> None:
        self.output, self.count = output, 0

    async def __call__(self) -> StepResult:
        self.count += 1
        return StepResult(output=self.output, usage=SPENT)


async def step(
    run: ActiveRun, path: str, work: Callable[[], Awaitable[StepResult]], *, identity: str = "same"
) -> StepResult:
    """Take a step as an agent would."""
    return await run.step(path, work, a_plan(identity))


def a_plan(identity: str = "same", **more: Any) -> Plan:
    """Return how a step of these tests is to be taken."""
    return Plan(kind="model", identity=a_digest(identity), within_seconds=STEP_SECONDS, **more)


async def act(
    run: ActiveRun, path: str, work: Callable[[], Awaitable[StepResult]], **more: Any
) -> StepResult:
    """Take a step that it would do harm to take twice."""
    return await run.step(path, work, a_plan(has_effect=True, **more))


def say(run: ActiveRun, text: str) -> None:
    """Tell who follows a piece of an answer."""
    run.emit(TextDelta(text=text, author="Chef"))


def a_turn(text: str = "an answer", *, number: int = 1) -> Turn:
    return Turn(author="Chef", messages=(an_answer(text, turn=number),), tokens=10)


def answering(text: str = "an answer") -> Doing:
    """Return a performer that answers at once, in a step."""

    async def perform(run: ActiveRun) -> Turn:
        await step(run, "turn/1/model/1", Tally())
        return a_turn(text)

    return Doing(perform)


def waiting_at(gate: Gate, *, before: Tally | None = None) -> Doing:
    """Return a performer that answers when its gate is opened."""

    async def perform(run: ActiveRun) -> Turn:
        if before is not None:
            await step(run, "turn/1/model/1", before)
        result = await step(run, "turn/1/model/2", gate)
        return a_turn(result.output)

    return Doing(perform)


def speaking(gate: Gate, partial: str = "Once upon", *, before: Tally | None = None) -> Doing:
    """Return a performer that has said something when its gate stops it."""

    async def perform(run: ActiveRun) -> Turn:
        run.when_stopped(lambda: an_incomplete_turn(partial))
        if before is not None:
            await step(run, "turn/1/model/1", before)
        await step(run, "turn/1/model/2", gate)
        return a_turn("Once upon a time")

    return Doing(perform)


def an_incomplete_turn(text: str) -> Turn:
    turn = a_turn(text)
    [message] = turn.messages
    return Turn(author=turn.author, messages=(_incomplete(message),), tokens=turn.tokens)


def _incomplete(message: Message) -> Message:
    return Message(id=message.id, role="assistant", content=message.content, turn=1, flags=Flag.INCOMPLETE)


@asynccontextmanager
async def an_engine(
    store: Store,
    performer: Performer,
    rounds: Rounds | None = None,
    *,
    probe: Probe = unobserved,
    lease_seconds: float = LEASE_SECONDS,
    **more: Any,
) -> AsyncIterator[Engine]:
    """A started engine; it is stopped at the end. ``more`` is what else it is made of."""
    engine = Engine(
        store,
        performers={PERFORMER: performer},
        lease_seconds=lease_seconds,
        poll_seconds=POLL_SECONDS,
        probe=probe,
        pause=rounds or Rounds(),
        **more,
    )
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def submit(engine: Engine, conversation: Conversation, text: str = "hello") -> Ticket:
    return await engine.submit(a_submission(conversation, text))


async def submit_followed(engine: Engine, conversation: Conversation, text: str = "hello") -> Ticket:
    """Have a message taken in by somebody who follows the answer."""
    return await engine.submit(replace(a_submission(conversation, text), options={"deltas": True}))


async def told(events: AsyncIterator[Numbered]) -> list[Numbered]:
    """Follow a run to its end; return everything that was told."""
    return [numbered async for numbered in events]


async def followed(engine: Engine, run_id: str, *, after: int = -1) -> list[Numbered]:
    """Follow a run to its end by its id; return everything that was told after a number."""
    return await told(await engine.follow(0, run_id, after=after))


def texts(events: Sequence[Numbered]) -> list[str]:
    """Return the pieces of answers among events."""
    return [each.event.text for each in events if isinstance(each.event, TextDelta)]


def kinds(events: Sequence[Numbered]) -> list[str]:
    """Return what kind of events these are."""
    return [_kind(each.event) for each in events]


def _kind(event: Event) -> str:
    return event.kind


async def settled(engine: Engine, *, active: int = 0) -> None:
    """Return when the engine carries out no more runs than these."""
    async with asyncio.timeout(30):
        while engine.active > active:
            await asyncio.wait(engine._carrier._tasks(), return_when=asyncio.FIRST_COMPLETED)
