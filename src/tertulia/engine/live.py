"""The events of a run that this process carries out, as they happen."""

import asyncio
from collections.abc import AsyncIterator

from tertulia.errors import LeaseLost
from tertulia.events import Event, Numbered, RunFinished, first_seq


class LiveRun:
    """Numbers events and gives them to whoever follows, from the beginning or anywhere later.

    Belongs to one event loop. Events stay until the run and everybody who follows it are gone.
    """

    __slots__ = ("__weakref__", "_epoch", "_events", "_finished", "_is_ours", "_next", "_waiting")

    def __init__(self) -> None:
        self._events: list[Numbered] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._finished: RunFinished | None = None
        self._is_ours = False
        self._epoch = self._next = 0

    @property
    def is_ours(self) -> bool:
        """Whether this process carries the run out."""
        return self._is_ours

    @property
    def finished(self) -> RunFinished | None:
        """The last event, if it has come."""
        return self._finished

    @property
    def next_seq(self) -> int:
        """The number that the next event will get."""
        return self._next

    def begin(self, epoch: int) -> None:
        """Number what follows as the owner of this epoch does."""
        self._epoch, self._next = epoch, first_seq(epoch)
        self._is_ours = True
        self._wake()

    def emit(self, event: Event) -> None:
        """Tell everybody who follows."""
        self._events.append(Numbered(self._next, event))
        self._next += 1
        if isinstance(event, RunFinished):
            self._finished = event
        self._wake()

    def lose(self, epoch: int) -> None:
        """Tell everybody who follows that the owner of this epoch has lost the run.

        It goes on in another process then, unless this one has begun a later epoch.
        """
        if epoch == self._epoch:
            self._is_ours = False
            self._wake()

    async def change(self, *, within: float | None = None) -> None:
        """Wait until anything happens; raises ``TimeoutError`` after ``within`` seconds."""
        async with asyncio.timeout(within):
            await self._change()

    async def end(self) -> RunFinished:
        """Wait for the last event; raises :class:`~tertulia.errors.LeaseLost` if it comes elsewhere."""
        while self._finished is None:
            if not self._is_ours:
                raise LeaseLost
            await self._change()
        return self._finished

    async def follow(self, *, after: int = -1) -> AsyncIterator[Numbered]:
        """Yield every event with a number above ``after``, to the last.

        Raises :class:`~tertulia.errors.LeaseLost` where the run is not, or no longer, this process's.
        """
        place = 0
        while True:
            while place < len(self._events):
                numbered = self._events[place]
                place += 1
                if numbered.seq > after:
                    yield numbered
            if self._finished is not None:
                return
            if not self._is_ours:
                raise LeaseLost
            await self._change()

    async def _change(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
