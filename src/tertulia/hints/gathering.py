"""Topics on their way into an event loop, told together."""

import asyncio
import threading
from collections.abc import Collection

from tertulia.hints.base import EVERYTHING, Hear


class Gathering:
    """Takes topics from any thread; tells them in the loop that it was made in, once in a turn of it."""

    def __init__(self, hear: Hear) -> None:
        self._hear, self._loop = hear, asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._topics: set[str] = set()
        self._is_closed = False

    def add(self, topics: Collection[str]) -> None:
        """Have these told soon; never waits, and never raises."""
        with self._lock:
            if self._is_closed:
                return
            is_due = not self._topics and bool(topics)
            self._topics.update(topics)
        if is_due:
            try:
                self._loop.call_soon_threadsafe(self.tell)
            except RuntimeError:  # the loop has ended: nobody hears any more
                self.close()

    def tell(self) -> None:
        """Tell now what has gathered, if anything has."""
        with self._lock:
            topics, self._topics = self._topics, set()
        if topics:
            self._hear(frozenset({EVERYTHING} if EVERYTHING in topics else topics))

    def close(self) -> None:
        """Tell nothing more."""
        with self._lock:
            self._is_closed = True
            self._topics = set()
