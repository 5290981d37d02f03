"""The events of a run that this process carries out, as they happen."""

import asyncio
from bisect import bisect_right
from operator import attrgetter
from typing import Final

from tertulia.events import Event, Numbered, RunFinished, first_seq

KEPT: Final = 1024
"""Stored events that stay in memory for those who follow; who is further behind reads the store."""
SEQ: Final = attrgetter("seq")


class LiveRun:
    """Numbers events and keeps the newest for whoever follows.

    Belongs to one event loop, and lives for as long as anybody follows or carries the run out.
    """

    __slots__ = (
        "__weakref__",
        "_begun",
        "_events",
        "_finished",
        "_first",
        "_is_ours",
        "_next",
        "_waiting",
        "changes",
        "is_watched",
    )

    def __init__(self) -> None:
        self._events: list[Numbered] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._finished: RunFinished | None = None
        self._is_ours = False
        self._begun = self._first = self._next = 0
        self.is_watched = False
        """Whether one of those who follow looks at the store now and then, for all of them."""
        self.changes = 0
        """How often those who follow were woken."""

    @property
    def is_ours(self) -> bool:
        """Whether this process carries the run out."""
        return self._is_ours

    @property
    def finished(self) -> RunFinished | None:
        """The last event, if it has come."""
        return self._finished

    @property
    def begun(self) -> int:
        """Number with which this process began; what is told under lower ones was told by others."""
        return self._begun

    @property
    def first(self) -> int:
        """Number from which on everything that this process has told is still here."""
        return self._first

    @property
    def next_seq(self) -> int:
        """The number that the next event will get."""
        return self._next

    def begin(self, epoch: int) -> None:
        """Number what follows as the owner of this epoch does; what earlier owners told is in the store."""
        self._events.clear()
        self._begun = self._first = self._next = first_seq(epoch)
        self._is_ours = True
        self.wake()

    def emit(self, event: Event) -> Numbered:
        """Tell everybody who follows; return the event with its number."""
        numbered = Numbered(self._next, event)
        self._events.append(numbered)
        self._next += 1
        if isinstance(event, RunFinished):
            self._finished = event
        self.wake()
        return numbered

    def lose(self, epoch: int) -> None:
        """Note that the owner of this epoch carries the run out no more.

        It goes on in another process then, unless this one has begun a later epoch. What is not in
        the store of what it has told is not part of the run, and is told nobody else.
        """
        if not first_seq(epoch + 1) > self._next >= first_seq(epoch):
            return
        self._is_ours = False
        if self._finished is None:
            self._events.clear()
            self._first = self._next
        self.wake()

    def since(self, after: int) -> list[Numbered]:
        """Return what this process has told after a number that is not below ``first - 1``."""
        return self._events[bisect_right(self._events, after, key=SEQ) :]

    def trim(self, upto: int) -> None:
        """Let go of old events up to this number, which are stored."""
        spare = bisect_right(self._events, upto, key=SEQ)
        gone = min(spare, len(self._events) - KEPT)
        if gone > KEPT // 4:
            self._first = self._events[gone].seq
            del self._events[:gone]

    def wake(self) -> None:
        """Have everybody who follows look again."""
        self.changes += 1
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def change(self, *, within: float | None = None, seen: int | None = None) -> None:
        """Wait until anything happens; raises ``TimeoutError`` after ``within`` seconds.

        Returns at once if ``seen`` is given and is no longer the number of ``changes``.
        """
        if seen is not None and seen != self.changes:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(within):
                await waiter
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
