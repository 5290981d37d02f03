"""Events that are made in a task of their own, so that whoever hears them can end that at any time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, TypeVar

T = TypeVar("T")

_GOODBYE_SECONDS: Final = 5.0
_STEPS: Final = 10
"""Turns of the event loop after which what goes on reading has come to wait for the network."""


async def in_own_task(events: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Yield the events; closing this early cancels what makes them, wherever it waits.

    Closing a generator is not enough for libraries that read from within several of their own:
    those in the middle are only closed when Python gets to it, and so is their connection. A
    cancelled read ends all of them at once, which is why the task never waits for anything else.
    """
    heard: asyncio.Queue[T | None] = asyncio.Queue()
    task = asyncio.create_task(_hear(events, heard))
    try:
        while (event := await heard.get()) is not None:
            yield event
        await task
    finally:
        for _ in range(_STEPS):
            # Cancelled on its way to the network, it would leave those generators behind.
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,), timeout=_GOODBYE_SECONDS)
        if task.done() and not task.cancelled():
            task.exception()  # Looked at, so that nobody is told that it was not.


async def _hear(events: AsyncGenerator[T, None], heard: "asyncio.Queue[T | None]") -> None:
    try:
        async with aclosing(events):
            async for event in events:
                heard.put_nowait(event)
    finally:
        heard.put_nowait(None)
