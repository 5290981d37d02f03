"""Things that belong to one event loop each, and are let go of with it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar
from weakref import WeakKeyDictionary, finalize

T = TypeVar("T")


class PerLoop(Generic[T]):
    """One thing for each event loop, made when it is first asked for there."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._things: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()

    def get(self) -> T:
        """Return the thing of the running loop."""
        loop = asyncio.get_running_loop()
        thing = self._things.get(loop)
        if thing is None:
            thing = self._things[loop] = self._make()
        return thing

    def take_all(self) -> list[tuple[asyncio.AbstractEventLoop, T]]:
        """Return all that were made, with their loops, and forget them."""
        taken = list(self._things.items())
        self._things.clear()
        return taken


class OpenedPerLoop(Generic[T]):
    """Something that is opened in each event loop when it is first asked for there.

    It is closed with its event loop, or when nobody holds this any more; what is asked for after
    :meth:`close` is opened again. What opens and closes it must not hold on to this object.
    """

    def __init__(self, opened: Callable[[], Awaitable[T]], closed: Callable[[T], Awaitable[None]]) -> None:
        self._doors: PerLoop[_Door[T]] = PerLoop(lambda: _Door(opened, closed))
        finalize(self, _leave, self._doors)

    async def get(self) -> T:
        """Return that of the running loop; raises what opening it raises."""
        return await self._doors.get().open()

    async def close(self) -> None:
        """Close all that is open; what belongs to another loop is closed there."""
        here = asyncio.get_running_loop()
        for loop, door in self._doors.take_all():
            if loop is here:
                await door.close()
            else:
                _close_there(loop, door)


class _Door(Generic[T]):
    """That of one event loop, once it is open."""

    def __init__(self, opened: Callable[[], Awaitable[T]], closed: Callable[[T], Awaitable[None]]) -> None:
        self._opened, self._closed = opened, closed
        self._lock = asyncio.Lock()
        self._thing: T | None = None
        self._last_word: AsyncGenerator[None, None] | None = None

    async def open(self) -> T:
        if self._thing is not None:
            return self._thing
        async with self._lock:
            if self._thing is None:
                self._thing = await self._opened()
                # An event loop that comes to its end closes the generators that were begun in it.
                self._last_word = _close_at_the_end(self)
                await anext(self._last_word)
            return self._thing

    async def close(self) -> None:
        async with self._lock:
            thing, self._thing = self._thing, None
            if thing is not None:
                await self._closed(thing)
        last_word, self._last_word = self._last_word, None
        if last_word is not None:
            await last_word.aclose()

    async def leave(self) -> None:
        """Close it while the event loop ends."""
        self._last_word = None
        await self.close()


async def _close_at_the_end(door: _Door[T]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await door.leave()


def _leave(doors: PerLoop[_Door[T]]) -> None:
    for loop, door in doors.take_all():
        _close_there(loop, door)


def _close_there(loop: asyncio.AbstractEventLoop, door: _Door[T]) -> None:
    if not loop.is_closed():
        with suppress(RuntimeError):  # it has just been closed
            loop.call_soon_threadsafe(_begin_to_close, loop, door)


_CLOSING: Final[set[asyncio.Task[None]]] = set()


def _begin_to_close(loop: asyncio.AbstractEventLoop, door: _Door[T]) -> None:
    task = loop.create_task(door.close())
    _CLOSING.add(task)
    task.add_done_callback(_CLOSING.discard)
