"""Locks by what they guard, each there for as long as somebody wants it."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

_Locks: TypeAlias = WeakValueDictionary[Hashable, asyncio.Lock]
# Of each event loop its own: a lock is good for one, and a process may have several.
_LOCKS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, _Locks]] = WeakKeyDictionary()


def is_wanted(key: Hashable) -> bool:
    """Whether somebody holds the lock of this key in this event loop, or waits for it."""
    return key in _of_this_loop()


@asynccontextmanager
async def held(key: Hashable, *, within_seconds: float) -> AsyncIterator[bool]:
    """Hold the lock of a key; tell whether it was had in time, or one goes on without it."""
    lock = _of_this_loop().setdefault(key, asyncio.Lock())
    is_held = await _is_had(lock, within_seconds)
    try:
        yield is_held
    finally:
        if is_held:
            lock.release()


async def _is_had(lock: asyncio.Lock, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await lock.acquire()
    except TimeoutError:
        return False


def _of_this_loop() -> _Locks:
    return _LOCKS.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
