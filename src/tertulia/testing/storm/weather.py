"""A storm: servers that are killed and stalled under callers who talk on, on a database that fails too."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Final, Protocol

import aiohttp
import asyncpg

from tertulia.messages import now_us
from tertulia.testing.history import COMPLETED, Crash, History, Violation, Witness, check
from tertulia.testing.reading import read_history
from tertulia.testing.storm.servers import Caller, Place, Server, calling
from tertulia.testing.storm.speaking import Record, Speaker

STEPS: Final = 3
"""Model calls of a turn: the model answers badly twice, and is asked to mend it."""
_SHAPE: Final = "{'dish': 'name of the dish'}"
_MENDED: Final = '{"dish": "soup"}'
_BAD: Final = "That would be soup, and nothing but soup, with a slice of bread."
_QUIET_SECONDS: Final = 60.0
_STALL_LEASES: Final = 1.5
_LOOK_SECONDS: Final = 0.05


class Ground(Protocol):
    """The database that a storm rages over, and what can be done to it."""

    url: str
    """Under which the checker reads it, past everything that fails."""

    async def restart(self) -> None:
        """End it as a loss of power would, and start it again."""
        ...

    def cut(self) -> int:
        """Cut every connection to it; return how many there were."""
        ...


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a storm is to bring."""

    seconds: float = 60.0
    processes: int = 3
    clients: int = 12
    conversations: int = 6
    kills: int = 28
    stalls: int = 11
    restarts: int = 3
    cuts: int = 25
    """How often all connections to the database are cut."""
    seed: int = 1

    def events(self) -> list[tuple[float, str]]:
        """Return what happens when, in order: evenly spread, each a little off its place."""
        dice = random.Random(self.seed)  # noqa: S311  # a storm that can be repeated
        found = []
        for kind, count in self._kinds().items():
            every = self.seconds / (count + 1)
            found += [(every * (i + dice.uniform(0.6, 1.4)), kind) for i in range(count)]
        return sorted(found)

    def _kinds(self) -> dict[str, int]:
        return {"kill": self.kills, "stall": self.stalls, "restart": self.restarts, "cut": self.cuts}


@dataclass
class Storm:
    """One storm over one database."""

    place: Place
    forecast: Forecast
    ground: Ground
    record: Record = field(default_factory=Record)
    crashes: list[Crash] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """What came of the forecast."""
    recoveries: list[float] = field(default_factory=list)
    """Seconds from a server's death to the end of each run that was under way then."""
    turns: int = 0
    extra: int = 0
    """Model calls beyond those that the completed turns needed."""
    _servers: list[Server] = field(default_factory=list)
    _stalled: set[int] = field(default_factory=set)
    _orphans: list[tuple[int, frozenset[str]]] = field(default_factory=list)
    _is_over: bool = False

    async def rage(self) -> list[Violation]:
        """Go through all of it, let everything come to its end, and return what was broken."""
        self.place.fake.script([_reply] * 1_000_000)
        dice = random.Random(self.forecast.seed)  # noqa: S311
        try:
            async with (
                calling() as caller,
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=20),
                    connector=aiohttp.TCPConnector(limit=0, force_close=True),
                ) as session,
            ):
                self._servers = [await self._start() for _ in range(self.forecast.processes)]
                names = await self._prepare(caller)
                async with asyncio.TaskGroup() as group:
                    for i in range(self.forecast.clients):
                        speaker = Speaker(
                            i, session, self.record, server=lambda: dice.choice(self._up()), seed=i
                        )
                        group.create_task(speaker.talk(names, is_over=lambda: self._is_over))
                    await self._weather(dice)
                    self._is_over = True
            history = await self._quiet()
        finally:
            for server in self._servers:
                with suppress(ProcessLookupError):
                    server.signal(signal.SIGCONT)
                await server.kill()
        self._reckon(history)
        return [*check(history, self._witness()), *self.record.violations]

    def told(self) -> Iterator[str]:
        """Yield what is to be said of it, line by line."""
        acknowledged = sum(each.is_acknowledged for each in self.record.said)
        unanswered = sum(each.is_acknowledged and each.answer is None for each in self.record.said)
        yield f"{dict(self.counts)}; {acknowledged} turns acknowledged, {unanswered} of them given up"
        share = 100 * self.extra / max(1, STEPS * self.turns)
        yield f"{STEPS * self.turns} model calls needed, {self.extra} extra ({share:.1f} %)"
        yield f"{self.record.resumed} streams resumed, {self.record.restarted} steps told again"
        if len(self.recoveries) > 1:
            high = quantiles(self.recoveries, n=20)[-1]
            yield f"orphaned runs ended after {median(self.recoveries):.2f} s (median), {high:.2f} s (95 %)"

    def _up(self) -> Sequence[Server]:
        up = [server for server in self._servers if server.is_up]
        return [server for server in up if server.pid not in self._stalled] or up or self._servers

    async def _start(self) -> Server:
        """Start a server, as often as it takes: its database may be away just now."""
        while not (server := await Server.start(self.place)).url:
            await server.kill()
            self.counts["failed starts"] += 1
        return server

    async def _prepare(self, caller: Caller) -> list[str]:
        agent = await caller.create_agent(self._servers[0], response_shape=_SHAPE)
        return [
            await caller.create_conversation(self._servers[0], agent)
            for _ in range(self.forecast.conversations)
        ]

    async def _weather(self, dice: random.Random) -> None:
        """Let come what was forecast, each thing in its time, beside what still goes on."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        happen: dict[str, Callable[[random.Random], Coroutine[None, None, None]]] = {
            "kill": self._kill,
            "stall": self._stall,
            "restart": self._restart,
            "cut": self._cut,
        }
        async with asyncio.TaskGroup() as group:
            for at, kind in self.forecast.events():
                await asyncio.sleep(max(0.0, begun + at - loop.time()))
                group.create_task(happen[kind](dice))
            await asyncio.sleep(max(0.0, begun + self.forecast.seconds - loop.time()))

    async def _kill(self, dice: random.Random) -> None:
        """Kill a server, and have another take its place."""
        server = await self._victim(dice)
        place = self._servers.index(server)
        begin = now_us()
        await server.kill()
        self.crashes.append(Crash(begin=begin, end=now_us()))
        self.counts["kills"] += 1
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):  # away just now
            self._orphans.append((begin, await self._under_way()))
        self._servers[place] = await self._start()

    async def _stall(self, dice: random.Random) -> None:
        """Have a server stand still for longer than its leases last."""
        server = await self._victim(dice)
        self._stalled.add(server.pid)
        begin = now_us()
        try:
            server.signal(signal.SIGSTOP)
            await asyncio.sleep(self.place.lease_seconds * _STALL_LEASES)
            server.signal(signal.SIGCONT)
            self.counts["stalls"] += 1
        except ProcessLookupError:
            return
        finally:
            self._stalled.discard(server.pid)
            self.crashes.append(Crash(begin=begin, end=now_us()))

    async def _victim(self, dice: random.Random) -> Server:
        """Return a server that is up and does not stand still, once there is one."""
        while True:
            up = [each for each in self._servers if each.is_up and each.pid not in self._stalled]
            if up:
                return dice.choice(up)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _restart(self, _: random.Random) -> None:
        begin = now_us()
        await self.ground.restart()
        self.crashes.append(Crash(begin=begin, end=now_us()))
        self.counts["restarts"] += 1

    async def _cut(self, _: random.Random) -> None:
        self.counts["cuts"] += self.ground.cut()

    async def _under_way(self) -> frozenset[str]:
        history = await read_history(self.ground.url)
        return frozenset(run.id for run in history.runs if run.status == "running")

    async def _quiet(self) -> History:
        """Wait until every run has ended, and return what there is then."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_SECONDS):
                while True:
                    history = await read_history(self.ground.url)
                    if all(run.ended_at for run in history.runs):
                        return history
                    await asyncio.sleep(0.1)
        return await read_history(self.ground.url)

    def _witness(self) -> Witness:
        counted = self.place.fake.stats()["by_message"]
        assert isinstance(counted, dict)
        first = {text: count for text, count in counted.items() if text.startswith("[[")}
        return Witness(said=self.record.said, calls=first, crashes=self.crashes, is_quiet=True)

    def _reckon(self, history: History) -> None:
        self.turns = sum(run.status == COMPLETED for run in history.runs)
        self.extra = self.place.fake.calls - STEPS * self.turns
        ended = {run.id: run.ended_at for run in history.runs if run.ended_at}
        for at, orphans in self._orphans:
            self.recoveries += [(ended[run] - at) / 1_000_000 for run in orphans if run in ended]


def _reply(body: dict[str, object]) -> str:
    """Answer badly twice, then well: by how often we were asked to mend it."""
    messages = body["messages"]
    assert isinstance(messages, list)
    said = [str(each["content"]) for each in messages if each["role"] == "user"]
    asked = max(i for i, text in enumerate(said) if text.startswith("[["))
    return _MENDED if len(said) - asked > STEPS - 1 else _BAD
