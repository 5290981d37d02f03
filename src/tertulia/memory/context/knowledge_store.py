"""The store of a provider of knowledge: opened when it is first asked, closed with whoever asked."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final
from weakref import finalize

from tertulia.llms.per_loop import PerLoop
from tertulia.stores import Store, open_store

_MEMORY: Final = "memory:"


class Shelf:
    """Where documents stand: a store that was lent, one in memory, or one for each event loop by its URL.

    What it has opened is closed with it, with its event loop, or when nobody has it any more.
    """

    def __init__(self, given: str | Store) -> None:
        # What a URL lacks is known at once; and what is in memory has to be one for all loops.
        found = open_store(given) if isinstance(given, str) else given
        self._kept = None if isinstance(given, str) and not given.startswith(_MEMORY) else found
        self._doors = doors = PerLoop(lambda: _Door(str(given)))
        finalize(self, _leave, doors)

    async def store(self) -> Store:
        """Return the store, open; raises what opening it raises."""
        return self._kept or await self._doors.get().opened()

    async def close(self) -> None:
        """Close what was opened here; it is opened again when it is asked once more."""
        here = asyncio.get_running_loop()
        for loop, door in self._doors.take_all():
            if loop is here:
                await door.close()
            else:
                _close_there(loop, door)


class _Door:
    """The store in one event loop."""

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
        last_word, self._last_word = self._last_word, None
        if last_word is not None:
            await last_word.aclose()


async def _close_at_the_end(door: _Door) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        door._last_word = None  # it is this one
        await door.close()


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
