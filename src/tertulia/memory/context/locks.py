"""Locks by what they guard, each there for as long as somebody wants it."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from weakref import WeakKeyDictionary


@dataclass(slots=True)
class _Wanted:
    """A lock, and how many hold it or wait for it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    by: int = 0


_Locks: TypeAlias = dict[Hashable, _Wanted]
# Of each event loop its own: a lock is good for one, and a process may have several.
_LOCKS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, _Locks]] = WeakKeyDictionary()


@asynccontextmanager
async def held(key: Hashable, *, within_seconds: float) -> AsyncIterator[bool]:
    """Hold the lock of a key; tell whether it was had in time, or one goes on without it."""
    locks = _of_this_loop()
    wanted = locks.setdefault(key, _Wanted())
    wanted.by += 1
    try:
        async with _had(wanted.lock, within_seconds) as is_held:
            yield is_held
    finally:
        wanted.by -= 1
        if not wanted.by:
            del locks[key]


@asynccontextmanager
async def _had(lock: asyncio.Lock, seconds: float) -> AsyncIterator[bool]:
    try:
        async with asyncio.timeout(seconds):
            is_held: bool = await lock.acquire()
    except TimeoutError:
        is_held = False
    try:
        yield is_held
    finally:
        if is_held:
            lock.release()


def _of_this_loop() -> _Locks:
    return _LOCKS.setdefault(asyncio.get_running_loop(), {})
