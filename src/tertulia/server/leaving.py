"""Taking leave: an app is drained as soon as its process is told to stop."""

import asyncio
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from tertulia.app import App
from tertulia.server import logs

_LOG: Final = logging.getLogger(__name__)
_ASKED_TO_STOP: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def drained_when_asked(app: App) -> Iterator[None]:
    """Drain an app as soon as its process is told by a signal to stop, and let the server hear of it too."""
    loop = asyncio.get_running_loop()

    def drain(sig: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(leave, app, sig)
        earlier = before.get(signal.Signals(sig))
        if callable(earlier):
            earlier(sig, frame)

    before = {sig: signal.signal(sig, drain) for sig in _ASKED_TO_STOP} if _may_listen() else {}
    try:
        yield
    finally:
        for sig, earlier in before.items():
            signal.signal(sig, earlier)


def leave(app: App, sig: int | None) -> None:
    """Drain an app, and say so the first time."""
    if not app.runtime.is_draining:
        name = None if sig is None else signal.Signals(sig).name
        within = app.settings.shutdown_seconds
        logs.write(_LOG, logging.INFO, "stopping", signal=name, within_seconds=within)
    app.drain()


def _may_listen() -> bool:
    """Whether this thread may listen to signals."""
    return threading.current_thread() is threading.main_thread()
