"""A storm: callers go on talking while the server that answers them dies again and again."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from tertulia.messages import now_us
from tertulia.testing.history import Crash, History, Said, Violation, Witness, check
from tertulia.testing.reading import read_history
from tests.journeys.servers import CANNOT_CONNECT, Caller, Place, Server, calling

SERVER_POINTS: Final = (
    "accept.before",
    "accept.after",
    "run.begin",
    "step.before",
    "step.speaking",
    "step.after",
    "journal.before",
    "journal.after",
    "end.before",
    "end.after",
    "takeover.begin",
)
"""The points that a server with agents passes; ``commit.…`` belongs to runs of several turns."""

_SHAPE: Final = "{'dish': 'name of the dish'}"
_MENDED: Final = '{"dish": "soup"}'
_QUIET_SECONDS: Final = 60.0
_HEARD_US: Final = 250_000
_MOVED_ON: Final = 409
_GIVEN_UP: Final = 500


@dataclass(frozen=True, kw_only=True)
class Life:
    """How a server lives: it dies at a point, or is killed after so many seconds if it has not."""

    point: str | None = None
    passing: int = 1
    seconds: float = 3.0

    @property
    def arguments(self) -> tuple[str, ...]:
        return () if self.point is None else ("--crash-at", self.point, "--pass", str(self.passing))


def lives(count: int, *, seed: int) -> list[Life]:
    """Return lives that end at every point in turn, and every third time at any moment."""
    dice = random.Random(seed)  # noqa: S311  # a storm that can be repeated
    points = itertools.cycle(dice.sample(SERVER_POINTS, len(SERVER_POINTS)))
    return [
        Life(seconds=dice.uniform(0.05, 1.5))
        if i % 3 == 2
        else Life(point=next(points), passing=dice.randint(1, 4))
        for i in range(count)
    ]


@dataclass
class Storm:
    """Callers, a model and lives to be got through; notes what is seen from outside."""

    place: Place
    talkers: int = 6
    conversations: int = 3
    replicas: int = 0
    """Servers beside the one that dies: they live on, and every other caller asks one of them."""
    said: list[Said] = field(default_factory=list)
    crashes: list[Crash] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    """Seconds from a server's death to the end of each run that it held."""
    deaths: Counter[str] = field(default_factory=Counter)
    _orphans: list[list[str]] = field(default_factory=list)
    _server: Server | None = None
    _others: list[Server] = field(default_factory=list)
    _up: asyncio.Event = field(default_factory=asyncio.Event)
    _is_over: bool = False

    async def rage(self, ends: Sequence[Life]) -> None:
        """Live through all of them, then let everything come to its end, and check."""
        self.place.fake.script([_reply] * 100_000)
        try:
            async with calling() as caller, asyncio.TaskGroup() as group:
                names = await self._prepare(caller)
                self._others = [await Server.start(self.place) for _ in range(self.replicas)]
                for i in range(self.talkers):
                    group.create_task(self._talk(caller, names[i % len(names)], who=i))
                for life in ends:
                    await self._live(life)
                self._is_over = True
                await self._rise(Life())
            history = await self._quiet()
        finally:
            for server in (self._server, *self._others):
                if server is not None:
                    await server.kill()
        self.violations += check(history, self._witness(is_quiet=True))
        self.recoveries = list(self._recoveries(history))

    @property
    def asked(self) -> int:
        """How many messages the model was asked to answer."""
        return sum(self._calls().values())

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
            await self._fall(server)
        return names

    async def _rise(self, life: Life) -> Server:
        module = "tertulia" if life.point is None else "tertulia.testing.crashing"
        self._server = await Server.start(self.place, *life.arguments, module=module)
        if self._server.url:
            self._up.set()
        return self._server

    async def _fall(self, server: Server) -> None:
        self._up.clear()
        await server.kill()

    async def _live(self, life: Life) -> None:
        server, death = await self._rise(life), "kill -9"
        with suppress(TimeoutError):
            await asyncio.wait_for(server.ended(), life.seconds)
            death = life.point or "by itself"
        # That it has died is heard of a little later.
        begin = now_us() - (0 if death == "kill -9" else _HEARD_US)
        await self._fall(server)
        self.crashes.append(Crash(begin=begin, end=now_us()))
        self.deaths[death] += 1
        history = await read_history(self.place.database_url)
        # Where others go on, what is seen from outside has moved on since.
        self.violations += check(history, None if self._others else self._witness(is_quiet=False))
        self._orphans.append([run.id for run in history.runs if run.status == "running"])

    async def _talk(self, caller: Caller, conversation: str, *, who: int) -> None:
        for i in itertools.count():
            if self._is_over:
                return
            await self._say(caller, conversation, f"[[{who}.{i}", who=who)

    async def _asked(self, who: int) -> Server:
        """Return the server that this caller asks, once it is up."""
        if self._others and who % 2:
            return self._others[who // 2 % len(self._others)]
        await self._up.wait()
        assert self._server is not None
        return self._server

    async def _say(self, caller: Caller, conversation: str, text: str, *, who: int) -> None:
        """Say something until it is known what became of it, always with the same key."""
        hexed = conversation.rpartition("_")[2]
        place = len(self.said)
        self.said.append(Said(conversation_id=hexed, text=text))
        while True:
            server = await self._asked(who)
            try:
                answer = await caller.chat(server, conversation, text, key=text)
            except CANNOT_CONNECT:
                await asyncio.sleep(0.02)
                continue
            if answer.status == 200:
                self.said[place] = Said(
                    conversation_id=hexed, text=text, answer=answer.text, is_acknowledged=True
                )
                return
            if answer.status in {_MOVED_ON, _GIVEN_UP}:
                # Given up after three crashes: kept, but not answered.
                self.said[place] = Said(conversation_id=hexed, text=text, is_acknowledged=True)
                return
            await asyncio.sleep(0.02)

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


def _reply(body: dict[str, object]) -> str:
    """Answer badly at first where a shape is asked for, well when asked to mend it."""
    messages = body["messages"]
    assert isinstance(messages, list)
    newest = next(str(each["content"]) for each in reversed(messages) if each["role"] == "user")
    return f"You said {newest}" if newest.startswith("[[") else _MENDED
