"""Blocking calls beside the event loop, in threads of which there are never too many."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from threading import Lock, Thread
from typing import Any, Final, Generic, TypeVar

from tertulia.errors import ToolUnavailable

R = TypeVar("R")

_LOG: Final = logging.getLogger(__name__)
_MOST: Final = 64
_WAITING: Final = 256
_WAIT_SECONDS: Final = 10.0


async def in_own_thread(call: Callable[[], R]) -> R:
    """Return what ``call`` returns, called in a thread of its own, or raise what it raises.

    Nothing can stop a thread: when the caller is cancelled it works on unheard, but keeps neither
    the event loop nor the end of the process waiting, as one of a pool's threads would. Since it goes
    on counting, too, this raises :class:`ToolUnavailable` when so many work that there is no room.
    """
    return await _TOOLS.run(call)


class Threads:
    """Runs each call in a new thread; when there are too many the next ones wait, for a while.

    It may be used from any event loop.
    """

    def __init__(
        self,
        what: str,
        *,
        most: int,
        waiting: int = _WAITING,
        wait_seconds: float = _WAIT_SECONDS,
    ) -> None:
        """Allow ``most`` threads, and ``waiting`` calls beside them; of too many is told ``what`` they do."""
        self._what, self._most, self._waiting, self._wait_seconds = what, most, waiting, wait_seconds
        self._queue: deque[_Call[Any]] = deque()
        self._at_work, self._has_warned = 0, False
        self._lock = Lock()

    async def run(self, call: Callable[[], R]) -> R:
        """Return what ``call`` returns, or raise what it raises.

        Raises :class:`ToolUnavailable` if it found no room in time. A call that did not begin, for that
        or because its caller was cancelled, never will.
        """
        queued = _Call(call)
        self._enqueue(queued)
        self._begin()
        try:
            await self._begun(queued)
            return await queued.outcome()
        finally:
            self._withdraw(queued)

    def _enqueue(self, call: "_Call[Any]") -> None:
        with self._lock:
            if self._at_work < self._most:
                self._has_warned = False
            if len(self._queue) < self._waiting or self._at_work < self._most:
                self._queue.append(call)
                return
        raise self._crowded()

    def _begin(self) -> None:
        """Start those that wait, as far as there is room."""
        while call := self._next():
            try:
                Thread(target=self._work, args=(call,), name="tertulia-tool", daemon=True).start()
            except RuntimeError:  # The system has no thread left.
                self._leave()
                call.refuse(self._crowded())

    def _work(self, call: "_Call[Any]") -> None:
        call.work()
        self._leave()
        self._begin()

    def _next(self) -> "_Call[Any] | None":
        with self._lock:
            if not self._queue or self._at_work >= self._most:
                return None
            self._at_work += 1
            return self._queue.popleft()

    def _leave(self) -> None:
        with self._lock:
            self._at_work -= 1

    def _withdraw(self, call: "_Call[Any]") -> bool:
        """Whether a call was still waiting, and so will never begin."""
        with self._lock:
            if call not in self._queue:
                return False
            self._queue.remove(call)
            return True

    async def _begun(self, call: "_Call[Any]") -> None:
        try:
            async with asyncio.timeout(self._wait_seconds):
                await call.begun.wait()
        except TimeoutError:
            if self._withdraw(call):
                raise self._crowded() from None

    def _crowded(self) -> ToolUnavailable:
        if not self._has_warned:
            self._has_warned = True
            _LOG.warning("a call found no room beside %d threads: too many %s", self._at_work, self._what)
        return ToolUnavailable(f"too many {self._what} at once; nothing was begun, so try again later")


class _Call(Generic[R]):
    """A call, as the event loop of its caller and the thread that does it know it."""

    def __init__(self, call: Callable[[], R]) -> None:
        self._call, self._context = call, copy_context()
        self._loop = asyncio.get_running_loop()
        self.begun, self._ended = asyncio.Event(), asyncio.Event()
        self._returned: list[R] = []
        self._raised: list[BaseException] = []

    def work(self) -> None:
        """Do it, in the thread."""
        self._tell(self.begun)
        try:
            self._returned.append(self._context.run(self._call))
        except BaseException as error:  # noqa: BLE001  # carried over to whoever waits
            self._raised.append(error)
        self._tell(self._ended)

    def refuse(self, error: ToolUnavailable) -> None:
        """Say that it will not be done."""
        self._raised.append(error)
        self._tell(self.begun)
        self._tell(self._ended)

    async def outcome(self) -> R:
        """Return what it returned, or raise what it raised."""
        await self._ended.wait()
        if self._raised:
            raise self._raised.pop()
        return self._returned.pop()

    def _tell(self, event: asyncio.Event) -> None:
        with suppress(RuntimeError):  # The loop may be closed by now.
            self._loop.call_soon_threadsafe(event.set)


# What is bounded is the process's, whoever uses it.
_TOOLS: Final = Threads("functions are at work", most=_MOST)
