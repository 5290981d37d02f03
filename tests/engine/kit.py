"""What tests of the engine are made of: a clock and pauses in the test's hand, performers that do as told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from typing_extensions import override

from tertulia.conversations import Conversation, Usage
from tertulia.engine import ActiveRun, Engine, Performer, Probe, StepResult, Ticket, Turn, unobserved
from tertulia.messages import now_us
from tertulia.stores import Store
from tertulia.testing.builders import PERFORMER, a_digest, a_submission, an_answer

LEASE_SECONDS: Final = 600.0
"""So long that no heartbeat ever comes in time to disturb a test."""
POLL_SECONDS: Final = 60.0
SPENT: Final = Usage(input_tokens=7, output_tokens=3, model_calls=1)


class Clock:
    """The store's clock."""

    def __init__(self) -> None:
        self._now = now_us()

    def __call__(self) -> int:
        return self._now

    def let_leases_run_out(self) -> None:
        self._now += int(LEASE_SECONDS * 2_000_000)


class Rounds:
    """A pause for one engine: it looks for runs when it is told to, and waits for nothing else."""

    def __init__(self) -> None:
        self.short: list[float] = []
        """Every pause between attempts to write something."""
        self._rests, self._bell = asyncio.Event(), asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        if seconds < POLL_SECONDS:
            self.short.append(seconds)
            await asyncio.sleep(0)
        elif seconds > POLL_SECONDS:
            await asyncio.Event().wait()
        else:
            self._rests.set()
            await self._bell.wait()
            self._bell.clear()

    async def look(self) -> None:
        """Have the engine look for runs once, and return when it has begun what it found."""
        await self._rests.wait()
        self._rests.clear()
        self._bell.set()
        await self._rests.wait()


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
    return await run.step(path, work, kind="model", identity=a_digest(identity), within_seconds=60)


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


@asynccontextmanager
async def an_engine(
    store: Store,
    performer: Performer,
    rounds: Rounds | None = None,
    *,
    probe: Probe = unobserved,
    name: str = PERFORMER,
) -> AsyncIterator[Engine]:
    """A started engine; it is stopped at the end."""
    engine = Engine(
        store,
        performers={name: performer},
        lease_seconds=LEASE_SECONDS,
        poll_seconds=POLL_SECONDS,
        probe=probe,
        pause=rounds or Rounds(),
    )
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def submit(engine: Engine, conversation: Conversation, text: str = "hello") -> Ticket:
    return await engine.submit(a_submission(conversation, text))


async def settled(engine: Engine, *, active: int = 0) -> None:
    """Return when the engine carries out no more runs than these."""
    async with asyncio.timeout(30):
        while engine.active > active:
            await asyncio.wait(engine._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
