"""Waiting between two looks at something."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

Pause: TypeAlias = Callable[[float], Awaitable[None]]
"""Waits for so many seconds."""


async def rest(pause: Pause, seconds: float, bell: asyncio.Event) -> None:
    """Wait for so long, or until the bell rings."""
    if bell.is_set():
        return
    waits = [asyncio.ensure_future(pause(seconds)), asyncio.ensure_future(bell.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
