"""How every store is opened and closed."""

import pytest

from tertulia.stores.base import Store


@pytest.mark.asyncio
class OpeningContract:
    """A store can be asked how it is, and be closed."""

    async def test_open_store_is_ready(self, store: Store) -> None:
        health = await store.health()

        assert health.ready
        assert health.detail

    async def test_store_may_be_closed_twice(self, store: Store) -> None:
        await store.close()
        await store.close()

    async def test_health_of_a_closed_store_is_told_and_not_raised(self, store: Store) -> None:
        await store.close()

        assert (await store.health()).detail
