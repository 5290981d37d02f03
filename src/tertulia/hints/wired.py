"""Hints over a connection to a server that passes them on."""

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from typing_extensions import override

from tertulia.hints.base import EVERYTHING, Hear, Hints
from tertulia.hints.gathering import Gathering
from tertulia.hints.packing import pack, unpack

_LOG = logging.getLogger(__name__)

_CANCELLATIONS: Final = 10
_CANCEL_SECONDS: Final = 0.1

Receive: TypeAlias = Callable[[str], None]
"""Takes what came over a line, as it was sent."""


class Line(Protocol):
    """One connection, both ways. Whatever its methods raise means that it is broken."""

    async def send(self, text: str) -> None:
        """Have this said to all who are connected, ourselves too."""
        ...

    async def wait(self) -> None:
        """Receive, until the line breaks; then raise."""
        ...

    async def close(self) -> None:
        """Let go of the line, broken or not; may be given up if it takes long."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long things may take, in seconds."""

    connecting: float = 5.0
    rest: float = 0.005
    """Between two sendings: what is rung in that time goes together."""
    silence: float = 10.0
    """After which a line on which not even we ourselves were heard counts as broken."""
    closing: float = 1.0
    first_pause: float = 0.1
    longest_pause: float = 5.0

    def pause(self, failures: int) -> float:
        """Return how long to wait before the next attempt."""
        return min(self.longest_pause, self.first_pause * (1 << min(failures, 30)))


class WiredHints(Hints):
    """Keeps one line to a server, and takes a new one whenever it breaks.

    A broken connection does not always say so, nor does one that takes nothing any more. So every line
    carries our own voice now and then, if only with a hint about nothing: a line on which we do not
    hear ourselves is given up.
    """

    def __init__(self, name: str, *, pace: Pace | None = None) -> None:
        self._name, self._pace = name, pace or Pace()
        self._heard: Gathering | None = None
        self._rung: Gathering | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._tried, self._due = asyncio.Event(), asyncio.Event()
        self._outbox: set[str] = set()
        self._is_up = self._is_closing = self._is_audible = False
        self._failures = 0

    @abstractmethod
    async def connect(self, receive: Receive) -> Line:
        """Return a new line on which ``receive`` hears everything that is said from now on."""
        ...

    @override
    async def open(self, hear: Hear) -> None:
        self._heard, self._rung = Gathering(hear), Gathering(self._take)
        self._keeping = asyncio.create_task(self._keep(self._heard), name=f"hints over {self._name}")
        await self._tried.wait()

    @override
    async def close(self) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is None or self._heard is None or self._rung is None:
            return
        self._heard.close()
        self._rung.tell()
        self._rung.close()
        self._is_closing = True
        self._due.set()
        if self._is_up:
            await asyncio.wait({keeping}, timeout=self._pace.closing)
        keeping.cancel()
        await asyncio.wait({keeping}, timeout=self._pace.closing)

    @override
    def ring(self, topics: Collection[str]) -> None:
        if self._rung is not None:
            self._rung.add(topics)

    def _take(self, topics: frozenset[str]) -> None:
        if self._is_up:
            self._outbox |= topics
            self._due.set()

    async def _keep(self, heard: Gathering) -> None:
        while not self._is_closing:
            try:
                await self._talk(heard)
            except Exception as error:  # noqa: BLE001  # whatever broke it: all goes on, only slower
                self._note(error)
            finally:
                self._tried.set()
            if not self._is_closing:
                await asyncio.sleep(self._pace.pause(self._failures))
                self._failures += 1

    async def _talk(self, heard: Gathering) -> None:
        def receive(text: str) -> None:
            self._is_audible, self._failures = True, 0
            heard.add(unpack(text))

        async with asyncio.timeout(self._pace.connecting):
            line = await self.connect(receive)
        try:
            self._is_up = True
            if self._tried.is_set():
                heard.add({EVERYTHING})
            self._tried.set()
            await _first_of(line.wait(), self._listen_for_ourselves(), self._send(line))
        finally:
            self._is_up = False
            await self._let_go(line)

    async def _send(self, line: Line) -> None:
        """Send what is rung, until it is closed."""
        while True:
            await self._due.wait()
            self._due.clear()
            topics, self._outbox = self._outbox, set()
            await line.send(pack(topics))
            if self._is_closing and not self._outbox:
                return
            await asyncio.sleep(self._pace.rest)

    async def _listen_for_ourselves(self) -> None:
        while True:
            self._is_audible = False
            self._due.set()
            await asyncio.sleep(self._pace.silence)
            if not self._is_audible:
                raise TimeoutError("nothing comes back over this line")

    async def _let_go(self, line: Line) -> None:
        try:
            async with asyncio.timeout(self._pace.closing):
                await line.close()
        except Exception as error:  # noqa: BLE001  # it is broken then, and gone all the same
            _LOG.debug("a line to %s was not closed in order (%s)", self._name, type(error).__name__)

    def _note(self, error: Exception) -> None:
        level = logging.DEBUG if self._failures else logging.WARNING
        _LOG.log(
            level, "no hints over %s for now (%s): changes are seen later", self._name, type(error).__name__
        )


async def _first_of(*doings: Coroutine[Any, Any, None]) -> None:
    """Do all this at once until the first has ended, and end as that did."""
    tasks = [asyncio.create_task(doing) for doing in doings]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(tasks)
    for task in ended:
        task.result()


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel these until they are: what waits with a limit of its own loses a cancellation now and then."""
    for _ in range(_CANCELLATIONS):
        left = [task for task in tasks if not task.done()]
        if not left:
            break
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_CANCEL_SECONDS)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # so that it counts as seen
