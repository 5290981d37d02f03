"""How long a run may be silent before it counts as hanging: as long as the longest of its steps says."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

Hold: TypeAlias = Callable[[float], None]
"""Told for how many seconds from now the run may be silent."""

GRACE_SECONDS: Final = 30.0
"""How much longer than its own limit a step may take, and how long it may take between steps."""


class Silence:
    """That of one run."""

    def __init__(self, hold: Hold) -> None:
        self._hold = hold
        self._until: list[float] = []

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Have a step under way that takes so long at most."""
        now = asyncio.get_running_loop().time
        until = now() + seconds
        self._until.append(until)
        self._hold(max(self._until) - now() + GRACE_SECONDS)
        try:
            yield
        finally:
            self._until.remove(until)
            self._hold(max(self._until, default=now()) - now() + GRACE_SECONDS)

    def go_on(self) -> None:
        """Be silent for a while longer: what we wait for is the store."""
        self._hold(GRACE_SECONDS)

    def end(self) -> None:
        """Hold the run no more."""
        self._hold = _left


def _left(_seconds: float) -> None:
    """Do nothing for a run that this process is done with."""
