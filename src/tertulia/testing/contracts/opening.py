"""How every store is opened and closed."""

import asyncio

import pytest

from tertulia.conversations import DEFAULT_TENANT
from tertulia.stores.base import Store
from tertulia.testing.builders import an_agent

TENANT = DEFAULT_TENANT


@pytest.mark.asyncio
class OpeningContract:
    """A store can be asked how it is, and be opened and closed again."""

    async def test_open_store_is_ready(self, store: Store) -> None:
        health = await store.health()

        assert health.ready
        assert health.detail

    async def test_store_may_be_closed_twice(self, store: Store) -> None:
        await store.close()
        await store.close()

    async def test_open_store_may_be_opened_again(self, store: Store) -> None:
        agent = await an_agent(store)

        _, _, found = await asyncio.gather(store.open(), store.open(), store.agents.get(TENANT, agent.id))

        assert found == agent
        assert await store.agents.page(TENANT) == [agent]

    async def test_closed_store_can_be_opened_again_by_several_at_once(self, store: Store) -> None:
        await store.close()

        await asyncio.gather(store.open(), store.open())

        assert (await store.health()).ready
        await an_agent(store)

    async def test_health_of_a_closed_store_is_told_and_not_raised(self, store: Store) -> None:
        await store.close()

        assert (await store.health()).detail
