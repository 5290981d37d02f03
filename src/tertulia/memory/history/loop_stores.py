"""The store that a URL names, open in each event loop that asks for it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final
from weakref import finalize

from tertulia.llms.per_loop import PerLoop
from tertulia.stores import Store, open_store


class LoopStores:
    """Opens a store for each event loop when it is first asked for there.

    It is closed with its event loop, or when nobody holds this any more; what is asked for after
    :meth:`close` is opened again.
    """

    def __init__(self, url: str) -> None:
        open_store(url)  # so that a URL that cannot be right is known at once
        self._doors: PerLoop[_Door] = PerLoop(lambda: _Door(url))
        finalize(self, _leave, self._doors)

    async def opened(self) -> Store:
        """Return the store of the running loop; raises what opening it raises."""
        return await self._doors.get().opened()

    async def close(self) -> None:
        """Close all that is open; what belongs to another loop is closed there."""
        here = asyncio.get_running_loop()
        for loop, door in self._doors.take_all():
            if loop is here:
                await door.close()
            else:
                _close_there(loop, door)


class _Door:
    """The store of one event loop, once it is open."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = asyncio.Lock()
        self._store: Store | None = None
        self._last_word: AsyncGenerator[None, None] | None = None

    async def opened(self) -> Store:
        async with self._lock:
            if self._store is None:
                store = open_store(self._url)
                await store.open()
                self._store = store
                # An event loop that comes to its end closes the generators that were begun in it.
                self._last_word = _close_at_the_end(self)
                await anext(self._last_word)
            return self._store

    async def close(self) -> None:
        async with self._lock:
            store, self._store = self._store, None
            if store is not None:
                await store.close()
        if self._last_word is not None:
            await self._last_word.aclose()

    async def leave(self) -> None:
        """Close the store while the event loop ends."""
        self._last_word = None
        await self.close()


async def _close_at_the_end(door: _Door) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await door.leave()


def _leave(doors: PerLoop[_Door]) -> None:
    for loop, door in doors.take_all():
        _close_there(loop, door)


def _close_there(loop: asyncio.AbstractEventLoop, door: _Door) -> None:
    if not loop.is_closed():
        with suppress(RuntimeError):  # it has just been closed
            loop.call_soon_threadsafe(_begin_to_close, loop, door)


_CLOSING: Final[set[asyncio.Task[None]]] = set()


def _begin_to_close(loop: asyncio.AbstractEventLoop, door: _Door) -> None:
    task = loop.create_task(door.close())
    _CLOSING.add(task)
    task.add_done_callback(_CLOSING.discard)
