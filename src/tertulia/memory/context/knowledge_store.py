"""The store of a provider of knowledge: opened when it is first asked, closed with whoever asked."""

from typing import Final

from tertulia.memory.history.loop_stores import LoopStores
from tertulia.stores import Store, open_store

_MEMORY: Final = "memory:"


class Shelf:
    """Where documents stand: a store that was lent, one in memory, or one for each event loop by its URL.

    What it has opened is closed with it, with its event loop, or when nobody has it any more.
    """

    def __init__(self, given: str | Store) -> None:
        # What is in memory has to be one for all loops.
        lent = open_store(given) if isinstance(given, str) and given.startswith(_MEMORY) else given
        self._kept: Store | LoopStores = LoopStores(lent) if isinstance(lent, str) else lent

    async def store(self) -> Store:
        """Return the store, open; raises what opening it raises."""
        return await self._kept.opened() if isinstance(self._kept, LoopStores) else self._kept

    async def close(self) -> None:
        """Close what was opened here; it is opened again when it is asked once more."""
        if isinstance(self._kept, LoopStores):
            await self._kept.close()
