"""Deaths: callers go on talking while the server that answers them dies again and again."""

import asyncio
import itertools
import random
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from tertulia.engine import POINTS
from tertulia.messages import now_us
from tertulia.testing.crashing import KILLED
from tertulia.testing.history import Crash, History, Said, Violation, Witness, check
from tertulia.testing.reading import read_history
from tertulia.testing.storm.servers import CANNOT_CONNECT, Answer, Caller, Place, Server, calling
from tertulia.testing.storm.speaking import Record, Speaker

_PROGRAMS_POINTS: Final = frozenset({"intent", "commit", "wait", "job"})
"""What a server with agents never does."""
SERVER_POINTS: Final = tuple(point for point in POINTS if point.partition(".")[0] not in _PROGRAMS_POINTS)
"""The points that a server with agents passes."""

_SHAPE: Final = "{'dish': 'name of the dish'}"
_MENDED: Final = '{"dish": "soup"}'
_QUIET_SECONDS: Final = 60.0
_HEARD_US: Final = 250_000
_CANCELLED: Final = "[[cancelled."
_SLOW_SECONDS: Final = 2.0
_ATTEMPTS: Final = 5
_PAUSE: Final = 0.02


@dataclass(frozen=True, kw_only=True)
class Life:
    """How a server lives: it dies at a point, or is killed after so many seconds if it has not."""

    point: str | None = None
    passing: int = 1
    seconds: float = 5.0

    @property
    def arguments(self) -> tuple[str, ...]:
        return () if self.point is None else ("--crash-at", self.point, "--pass", str(self.passing))

    @property
    def is_asked_to_stop(self) -> bool:
        """Whether it passes its point only when it takes its leave."""
        return self.point is not None and self.point.startswith("handover")


def lives(count: int, *, seed: int) -> list[Life]:
    """Return lives that end at every point in turn, and every third time at any moment."""
    dice = random.Random(seed)  # noqa: S311  # a storm that can be repeated
    points = itertools.cycle(dice.sample(SERVER_POINTS, len(SERVER_POINTS)))
    return [_any_moment(dice) if i % 3 == 2 else _at(next(points), dice) for i in range(count)]


def one_of_each(*, seed: int) -> list[Life]:
    """Return a life that ends at every point, in any order, and two that end at any moment."""
    dice = random.Random(seed)  # noqa: S311
    ends = [_at(point, dice) for point in SERVER_POINTS] + [_any_moment(dice) for _ in range(2)]
    return dice.sample(ends, len(ends))


def _at(point: str, dice: random.Random) -> Life:
    life = Life(point=point, passing=dice.randint(1, 3))
    return Life(point=point) if life.is_asked_to_stop else life


def _any_moment(dice: random.Random) -> Life:
    return Life(seconds=dice.uniform(0.05, 1.5))


@dataclass
class Dying:
    """Callers, a model and lives to be got through; notes what is seen from outside."""

    place: Place
    talkers: int = 6
    """Every other request of theirs is a stream; one more caller cancels what it has asked."""
    conversations: int = 3
    replicas: int = 0
    """Servers beside the one that dies: they live on, and every other caller asks one of them."""
    record: Record = field(default_factory=Record)
    crashes: list[Crash] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    """Seconds from a server's death to the end of each run that it held."""
    deaths: Counter[str] = field(default_factory=Counter)
    _orphans: list[list[str]] = field(default_factory=list)
    _server: Server | None = None
    _others: list[Server] = field(default_factory=list)
    _is_over: bool = False

    async def rage(self, ends: Sequence[Life]) -> None:
        """Live through all of them, then let everything come to its end, and check."""
        self.place.fake.script([_reply] * 100_000)
        try:
            async with AsyncExitStack() as stack:
                caller = await stack.enter_async_context(calling(seconds=20))
                names = await self._prepare(caller)
                self._others = [await Server.start(self.place) for _ in range(self.replicas)]
                session = await stack.enter_async_context(_session())
                group = await stack.enter_async_context(asyncio.TaskGroup())
                for who in range(self.talkers):
                    group.create_task(self._speaker(session, who).talk(names, is_over=lambda: self._is_over))
                group.create_task(self._cancel(caller, names))
                for life in ends:
                    await self._live(life)
                self._is_over = True
                await self._rise(Life())
            history = await self._quiet()
        finally:
            for server in (self._server, *self._others):
                if server is not None:
                    await server.kill()
        self.violations += [*check(history, self._witness(is_quiet=True)), *self.record.violations]
        self.recoveries = list(self._recoveries(history))

    @property
    def said(self) -> list[Said]:
        """What callers have said, and what came of it."""
        return self.record.said

    @property
    def wanted(self) -> list[Said]:
        """What callers have said and wanted to have answered."""
        return [each for each in self.said if not each.text.startswith(_CANCELLED)]

    @property
    def asked(self) -> int:
        """How often the model was asked to answer what nobody cancelled."""
        return sum(n for text, n in self._calls().items() if not text.startswith(_CANCELLED))

    def _calls(self) -> dict[str, int]:
        counted = self.place.fake.stats()["by_message"]
        assert isinstance(counted, dict)
        return {text: count for text, count in counted.items() if text.startswith("[[")}

    def _witness(self, *, is_quiet: bool) -> Witness:
        # What is still on its way has been asked for as well.
        return Witness(said=self.said, calls=self._calls(), crashes=self.crashes, is_quiet=is_quiet)

    async def _prepare(self, caller: Caller) -> list[str]:
        """Make conversations, every other one with an agent whose answers take two model calls."""
        async with asyncio.timeout(60):
            server = await self._rise(Life())
            plain = await caller.create_agent(server)
            shaped = await caller.create_agent(server, response_shape=_SHAPE)
            agents = itertools.islice(itertools.cycle([plain, shaped]), self.conversations)
            names = [await caller.create_conversation(server, agent) for agent in agents]
            await server.kill()
        return names

    async def _rise(self, life: Life) -> Server:
        module = "tertulia" if life.point is None else "tertulia.testing.crashing"
        self._server = await Server.start(self.place, *life.arguments, module=module)
        return self._server

    async def _live(self, life: Life) -> None:
        """Live, again and again if the point at which to die was not passed."""
        for _ in range(_ATTEMPTS):
            death = await self._die(life)
            self.deaths[death] += 1
            # Beside others it may never get to the point: they may be quicker.
            if life.point in {None, death} or self._others:
                return
        self.violations.append(Violation("point", f"{life.point} was never passed"))

    async def _die(self, life: Life) -> str:
        """Live once, and say how it has ended."""
        server, death = await self._rise(life), "kill -9"
        asked_at = await self._ask_to_stop(server) if life.is_asked_to_stop else None
        with suppress(TimeoutError):
            code = await asyncio.wait_for(server.ended(), life.seconds)
            death = life.point if code == KILLED and life.point else "by itself"
        # That it has died is heard of a little later.
        begin = asked_at or now_us() - (0 if death == "kill -9" else _HEARD_US)
        await server.kill()
        self.crashes.append(Crash(begin=begin, end=now_us()))
        history = await read_history(self.place.database_url)
        # Where others go on, what is seen from outside has moved on since.
        self.violations += check(history, None if self._others else self._witness(is_quiet=False))
        self._orphans.append([run.id for run in history.runs if run.status == "running"])
        return death

    async def _ask_to_stop(self, server: Server) -> int:
        """Tell a server to take its leave while it waits for the model; return when that was."""
        fake = self.place.fake
        usual, fake.latency, before = fake.latency, _SLOW_SECONDS, fake.calls
        while True:
            if fake.calls > before or not server.is_up:
                break
            await asyncio.sleep(_PAUSE)
        fake.latency, asked_at = usual, now_us()
        with suppress(ProcessLookupError):
            server.signal(signal.SIGTERM)
        return asked_at

    def _asked(self, who: int) -> Server:
        """Return the server that this caller asks; it may be down."""
        if self._others and who % 2:
            return self._others[who // 2 % len(self._others)]
        assert self._server is not None
        return self._server

    def _speaker(self, session: aiohttp.ClientSession, who: int) -> Speaker:
        return Speaker(who, session, self.record, server=lambda: self._asked(who), seed=who)

    async def _cancel(self, caller: Caller, conversations: Sequence[str]) -> None:
        """Ask for one thing after another, and cancel each, whatever it takes."""
        for i, conversation in enumerate(itertools.cycle(conversations)):
            if self._is_over:
                return
            text, place = f"{_CANCELLED}{i}]]", len(self.said)
            said = Said(conversation_id=conversation.rpartition("_")[2], text=text)
            self.said.append(said)
            body = {"conversation_id": conversation, "message": text, "background": True}
            taken = await self._insist(caller, "/v1/runs", body, key=text)
            self.said[place] = Said(conversation_id=said.conversation_id, text=text, is_acknowledged=True)
            if taken.status == 202:
                await self._insist(caller, f"/v1/runs/{taken.json['id']}/cancel", {})
            await asyncio.sleep(_PAUSE)

    async def _insist(self, caller: Caller, path: str, body: object, *, key: str | None = None) -> Answer:
        """Ask until there is an answer that another attempt would not change."""
        while True:
            with suppress(*CANNOT_CONNECT):
                headers = None if key is None else {"Idempotency-Key": key}
                answer = await caller.post(self._asked(0), path, body, headers=headers)
                if answer.status in {200, 202, 409}:
                    return answer
                if answer.status != 503:
                    self.record.complain("status", f"{path}: {answer.status} {answer.body[:200]!r}")
            await asyncio.sleep(_PAUSE)

    def _recoveries(self, history: History) -> Iterator[float]:
        ended = {run.id: run.ended_at for run in history.runs if run.ended_at}
        for crash, orphans in zip(self.crashes, self._orphans, strict=True):
            yield from ((ended[run] - crash.end) / 1_000_000 for run in orphans if run in ended)

    async def _quiet(self) -> History:
        """Wait until every run has ended, and return what there is then."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_SECONDS):
                while True:
                    history = await read_history(self.place.database_url)
                    if all(run.ended_at for run in history.runs):
                        return history
                    await asyncio.sleep(0.05)
        return await read_history(self.place.database_url)


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=20), connector=aiohttp.TCPConnector(limit=0, force_close=True)
    )


def _reply(body: dict[str, object]) -> str:
    """Answer badly at first where a shape is asked for, well when asked to mend it."""
    messages = body["messages"]
    assert isinstance(messages, list)
    newest = next(str(each["content"]) for each in reversed(messages) if each["role"] == "user")
    return f"You said {newest}" if newest.startswith("[[") else _MENDED
