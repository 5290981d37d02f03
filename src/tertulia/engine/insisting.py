"""Doing with the store what cannot be left undone: again and again, until it can."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import chain, repeat
from typing import Final, TypeVar

from tertulia.engine.resting import Pause
from tertulia.errors import StoreBusy, StoreUnavailable

T = TypeVar("T")

_PAUSES: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between attempts; the last one goes on."""


async def insist(
    work: Callable[[], Awaitable[T]], *, waiting: Callable[[], None], pause: Pause = asyncio.sleep
) -> T:
    """Return what ``work`` returns as soon as the store can do it; ``waiting`` is told before each pause.

    It ends when the caller is cancelled. What the store refuses for any other reason than that it is
    busy or away it would refuse for ever: that is raised.
    """
    for seconds in chain(_PAUSES, repeat(_PAUSES[-1])):
        try:
            return await work()
        except (StoreBusy, StoreUnavailable):
            waiting()
            await pause(seconds)
    raise AssertionError("not reached")
