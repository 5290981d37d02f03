"""Steps with an effect that are under way: they come to their end before the run leaves."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_WITHIN: Final[ContextVar["Effects | None"]] = ContextVar("within an effect", default=None)
"""Of which run: what an effect has begun may be another one."""


class Effects:
    """Those of one run."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    @property
    def are_under_way(self) -> bool:
        """Whether there are any."""
        return self._count > 0

    @property
    def are_around_us(self) -> bool:
        """Whether who asks belongs to the work of such a step, and must not wait for it."""
        return _WITHIN.get() is self

    async def over(self) -> None:
        """Wait until there are none."""
        await self._none.wait()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Have one under way."""
        self._count += 1
        self._none.clear()
        outer = _WITHIN.set(self)
        try:
            yield
        finally:
            _WITHIN.reset(outer)
            self._count -= 1
            if not self._count:
                self._none.set()
