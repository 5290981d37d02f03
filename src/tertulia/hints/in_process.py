"""Hints within one process."""

from collections.abc import Collection
from typing import Self

from typing_extensions import override

from tertulia.hints import neighbours
from tertulia.hints.base import Hear, Hints
from tertulia.hints.gathering import Gathering


class LocalHints(Hints):
    """All of the same name in this process hear each other, across threads and event loops."""

    def __init__(self, name: str = "memory://") -> None:
        self._name = name
        self._heard: Gathering | None = None

    @override
    @classmethod
    def from_url(cls, url: str) -> Self:
        return cls(url)

    @override
    async def open(self, hear: Hear) -> None:
        self._heard = Gathering(hear)
        neighbours.join(self._name, self._heard)

    @override
    async def close(self) -> None:
        heard, self._heard = self._heard, None
        if heard is not None:
            neighbours.leave(self._name, heard)
            heard.close()

    @override
    def ring(self, topics: Collection[str]) -> None:
        if self._heard is not None:
            neighbours.tell(self._name, topics)
