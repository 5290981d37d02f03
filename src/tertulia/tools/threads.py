"""Blocking calls beside the event loop, which may take as long as they like."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from threading import Thread
from typing import TypeVar

R = TypeVar("R")


async def in_own_thread(call: Callable[[], R]) -> R:
    """Return what ``call`` returns, called in a thread of its own, or raise what it raises.

    Nothing can stop a thread: when the caller is cancelled it works on unheard, but keeps neither
    the event loop nor the end of the process waiting, as one of a pool's threads would.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    returned: list[R] = []
    raised: list[BaseException] = []
    context = copy_context()

    def work() -> None:
        try:
            returned.append(context.run(call))
        except BaseException as error:  # noqa: BLE001  # carried over to whoever waits
            raised.append(error)
        with suppress(RuntimeError):  # The loop may be closed by now.
            loop.call_soon_threadsafe(ended.set)

    Thread(target=work, name="tertulia-tool", daemon=True).start()
    await ended.wait()
    if raised:
        raise raised.pop()
    return returned.pop()
