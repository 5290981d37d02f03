"""What a database must be able to do for the SQL stores."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

from tertulia.errors import StoreError
from tertulia.stores.sql.statements import Connection

T = TypeVar("T")

Unit: TypeAlias = Callable[[Connection], Coroutine[Any, Any, T]]
"""A unit of work: waits for nothing but its connection, and may be run again if it failed."""


class Clash(StoreError):
    """A row of this key is there already."""

    code = "store_clash"


class Database(ABC):
    """Carries out units of work, each in a transaction of its own or with others in one.

    What a unit wrote is there for good once ``write`` has returned, and not at all if it raised.
    Both may be called from any event loop.
    """

    @abstractmethod
    async def open(self) -> None:
        """Connect; raises ``StoreUnavailable``."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections and threads; may be called twice."""

    @abstractmethod
    async def write(self, unit: Unit[T]) -> T:
        """Carry out a unit that writes."""

    @abstractmethod
    async def read(self, unit: Unit[T]) -> T:
        """Carry out a unit that only reads."""
