"""What a database must be able to do for the SQL stores."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

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
    Both may be called from any event loop. ``tenant`` is whose rows the unit may see and touch;
    ``None`` stands for all, and is for the engine's own rounds.
    """

    @abstractmethod
    async def open(self) -> None:
        """Connect, unless it is open already; raises ``StoreUnavailable``."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections and threads; may be called twice."""

    @abstractmethod
    async def check_room(self) -> None:
        """Raise ``StoreUnavailable`` while what room there is, is for ending what is under way."""

    @abstractmethod
    async def write(self, unit: Unit[T], *, tenant: int | None) -> T:
        """Carry out a unit that writes."""

    @abstractmethod
    async def read(self, unit: Unit[T], *, tenant: int | None) -> T:
        """Carry out a unit that only reads."""


@runtime_checkable
class SeesOwners(Protocol):
    """A database that knows who of its users is alive, because they share a machine."""

    def hold(self, owner: str) -> None:
        """Let the others see that this owner is alive; called before it gets a lease."""
        ...

    def is_gone(self, owner: str) -> bool:
        """Whether it is certain that this owner is no longer alive."""
        ...
