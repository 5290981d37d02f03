"""What a source of tools has, as it was last found out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tertulia.errors import ToolUnavailable
from tertulia.tools.base import Tool

_LOG: Final = logging.getLogger(__name__)
_KEPT_SECONDS: Final = 60.0
_FAILED_SECONDS: Final = 10.0


class Listing:
    """Finds out once a minute at most, for all who ask at once.

    When that fails it is not tried again for ten seconds, or for as long as it took: what was found
    before still counts meanwhile, and if there is nothing, everybody is told so at once.
    """

    def __init__(self, find: Callable[[], Awaitable[Sequence[Tool]]], *, clock: Callable[[], float]) -> None:
        """``find`` raises :class:`ToolUnavailable` if it cannot be found out, and keeps its time."""
        self._find, self._clock = find, clock
        self._found: Sequence[Tool] | None = None
        self._failure = ""
        self._until: float | None = None
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def tools(self) -> Sequence[Tool]:
        """Return the tools that there are; raises :class:`ToolUnavailable`."""
        if self._is_due():
            async with self._one_at_a_time():
                if self._is_due():
                    await self._find_out()
        if self._found is None:
            raise ToolUnavailable(self._failure)
        return self._found

    def expire(self) -> None:
        """Find out anew when it is asked next."""
        self._until = None

    def _is_due(self) -> bool:
        return self._until is None or self._clock() >= self._until

    async def _find_out(self) -> None:
        began = self._clock()
        try:
            self._found = await self._find()
            self._until = self._clock() + _KEPT_SECONDS
        except ToolUnavailable as error:
            self._failure = str(error)
            self._until = self._clock() + max(_FAILED_SECONDS, self._clock() - began)
            if self._found is not None:
                _LOG.warning("%s; what it had before still counts", error)

    def _one_at_a_time(self) -> asyncio.Lock:
        """Return the lock of the event loop that runs: a source may outlive one."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._lock, self._loop = asyncio.Lock(), loop
        return self._lock
