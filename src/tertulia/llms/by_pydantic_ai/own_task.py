"""Events that are made in a task of their own, so that whoever hears them can end that at any time."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, TypeVar

from tertulia.llms.owned import OwnedTasks

T = TypeVar("T")

_LOG: Final = logging.getLogger(__name__)
_GOODBYE_SECONDS: Final = 1.0
_STEPS: Final = 10
"""Turns of the event loop after which what goes on reading has come to wait for the network."""


async def in_own_task(events: AsyncGenerator[T, None], *, owner: OwnedTasks) -> AsyncGenerator[T, None]:
    """Yield the events; closing this early cancels what makes them, wherever it waits.

    Closing a generator is not enough for libraries that read from within several of their own:
    those in the middle are only closed when Python gets to it, and so is their connection. A
    cancelled read ends all of them at once, which is why the task never waits for anything else.
    A library that does not end even so is left to the ``owner`` of the task after a second.
    """
    heard: asyncio.Queue[T | None] = asyncio.Queue()
    task = asyncio.create_task(_hear(events, heard))
    try:
        while (event := await heard.get()) is not None:
            yield event
        await task
    finally:
        await _end(task, owner)


async def _end(task: asyncio.Task[None], owner: OwnedTasks) -> None:
    try:
        for _ in range(_STEPS):
            # Cancelled on its way to the network, it would leave those generators behind.
            await asyncio.sleep(0)
    finally:
        task.cancel()
        await _part_with(task, owner)


async def _part_with(task: asyncio.Task[None], owner: OwnedTasks) -> None:
    try:
        await asyncio.wait((task,), timeout=_GOODBYE_SECONDS)
    finally:
        if not task.done():
            _LOG.warning("a provider's library does not let go of a call that was given up")
            owner.own(task, what="a call that was given up")
        elif not task.cancelled():
            task.exception()  # Looked at, so that nobody is told that it was not.


async def _hear(events: AsyncGenerator[T, None], heard: "asyncio.Queue[T | None]") -> None:
    try:
        async with aclosing(events):
            async for event in events:
                heard.put_nowait(event)
    finally:
        heard.put_nowait(None)
