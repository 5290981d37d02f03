"""The store that a URL names, open in each event loop that asks for it."""

from functools import partial

from tertulia.per_loop import OpenedPerLoop
from tertulia.stores import Store, open_store


class LoopStores:
    """Opens a store for each event loop when it is first asked for there, and closes it with that."""

    def __init__(self, url: str) -> None:
        open_store(url)  # so that a URL that cannot be right is known at once
        self._stores = OpenedPerLoop(partial(_opened, url), _closed)

    async def opened(self) -> Store:
        """Return the store of the running loop; raises what opening it raises."""
        return await self._stores.get()

    async def close(self) -> None:
        """Close all that is open; what is asked for after that is opened again."""
        await self._stores.close()


async def _opened(url: str) -> Store:
    store = open_store(url)
    await store.open()
    return store


async def _closed(store: Store) -> None:
    await store.close()
