"""What every store does with agents."""

import asyncio
from dataclasses import replace

import pytest

from tertulia.agent_settings import ModelSettings
from tertulia.conversations import DEFAULT_TENANT
from tertulia.definitions import AgentDefinition, StoredAgent
from tertulia.errors import DuplicateName, IdempotencyMismatch, NotFound, VersionMoved
from tertulia.ids import AGENT, new_id
from tertulia.stores.base import Store
from tertulia.testing.builders import a_definition, a_once, an_agent

TENANT = DEFAULT_TENANT


@pytest.mark.asyncio
class AgentContract:
    """Agents and their versions."""

    async def test_new_agent_is_found_by_id_and_by_name(self, store: Store) -> None:
        definition = a_definition(name="Chef")

        agent = await store.agents.create(TENANT, new_id(AGENT), definition)

        assert (agent.version, agent.tenant, agent.definition) == (1, TENANT, definition)
        assert agent.created_at > 0
        assert await store.agents.get(TENANT, agent.id) == agent
        assert await store.agents.get(TENANT, "Chef") == agent
        assert await store.agents.get(TENANT, "Chef", version=1) == agent

    async def test_all_of_a_definition_is_kept(self, store: Store) -> None:
        definition = AgentDefinition(
            name="Köchin 👩‍🍳",
            context="line one\nline two",
            first_message='{"looks": "like JSON"}',
            response_shape='{"type": "object"}',
            instructions="Answer 'briefly'; DROP TABLE agents; --",
            model="openai:gpt-5-mini",
            settings=ModelSettings(temperature=0.25, max_tokens=500, stop=("END", "\n"), seed=-(2**63)),
        )

        agent = await store.agents.create(TENANT, new_id(AGENT), definition)

        assert (await store.agents.get(TENANT, agent.id)).definition == definition

    async def test_unknown_agents_and_versions_are_not_found(self, store: Store) -> None:
        agent = await an_agent(store)

        for name in (new_id(AGENT), "Nobody", ""):
            with pytest.raises(NotFound):
                await store.agents.get(TENANT, name)
        for version in (-1, 0, 2):
            with pytest.raises(NotFound):
                await store.agents.get(TENANT, agent.id, version=version)

    async def test_a_taken_name_is_refused(self, store: Store) -> None:
        first = await an_agent(store, name="Chef")
        second_id = new_id(AGENT)

        with pytest.raises(DuplicateName):
            await store.agents.create(TENANT, second_id, a_definition(name="Chef"))

        assert await store.agents.page(TENANT) == [first]
        with pytest.raises(NotFound):
            await store.agents.get(TENANT, second_id)

    async def test_names_differ_by_case(self, store: Store) -> None:
        upper, lower = await an_agent(store, name="Chef"), await an_agent(store, name="chef")

        assert await store.agents.get(TENANT, "Chef") == upper
        assert await store.agents.get(TENANT, "chef") == lower

    async def test_of_many_who_want_a_name_at_once_one_gets_it(self, store: Store) -> None:
        outcomes = await asyncio.gather(*[an_agent(store) for _ in range(8)], return_exceptions=True)

        made = [outcome for outcome in outcomes if isinstance(outcome, StoredAgent)]
        assert len(made) == 1
        assert all(isinstance(outcome, DuplicateName) for outcome in outcomes if outcome not in made)
        assert await store.agents.page(TENANT) == made

    async def test_an_update_makes_a_version_and_keeps_the_earlier(self, store: Store) -> None:
        first = await an_agent(store)
        changed = replace(first.definition, instructions="Bake.")

        second = await store.agents.update(TENANT, first.id, changed)

        assert second == replace(first, version=2, definition=changed)
        assert await store.agents.get(TENANT, first.id) == second
        assert await store.agents.get(TENANT, first.id, version=1) == first
        assert await store.agents.get(TENANT, first.id, version=2) == second
        assert await store.agents.page(TENANT) == [second]

    async def test_an_update_that_changes_nothing_makes_no_version(self, store: Store) -> None:
        agent = await an_agent(store)

        assert await store.agents.update(TENANT, agent.id, agent.definition) == agent
        with pytest.raises(NotFound):
            await store.agents.get(TENANT, agent.id, version=2)

    async def test_going_back_to_an_earlier_definition_makes_a_version(self, store: Store) -> None:
        agent = await an_agent(store)
        await store.agents.update(TENANT, agent.id, a_definition(name="Cook"))

        back = await store.agents.update(TENANT, agent.id, agent.definition)

        assert back == replace(agent, version=3)

    async def test_updating_an_unknown_agent_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound):
            await store.agents.update(TENANT, new_id(AGENT), a_definition())

    async def test_an_update_cannot_take_anothers_name(self, store: Store) -> None:
        chef, baker = await an_agent(store, name="Chef"), await an_agent(store, name="Baker")

        with pytest.raises(DuplicateName):
            await store.agents.update(TENANT, baker.id, a_definition(name="Chef"))

        assert await store.agents.page(TENANT) == [chef, baker]

    async def test_a_renamed_agent_leaves_its_old_name_free(self, store: Store) -> None:
        agent = await an_agent(store, name="Chef")

        renamed = await store.agents.update(TENANT, agent.id, a_definition(name="Cook"))
        other = await an_agent(store, name="Chef")

        assert await store.agents.get(TENANT, "Cook") == renamed
        assert await store.agents.get(TENANT, "Chef") == other
        assert await store.agents.get(TENANT, agent.id, version=1) == agent

    async def test_versions_made_at_once_are_numbered_without_gap(self, store: Store) -> None:
        agent = await an_agent(store)

        made = await asyncio.gather(
            *[store.agents.update(TENANT, agent.id, a_definition(model=f"m{i}")) for i in range(8)]
        )

        assert sorted(version.version for version in made) == list(range(2, 10))
        for version in made:
            assert await store.agents.get(TENANT, agent.id, version=version.version) == version

    async def test_an_update_of_the_version_that_it_expects_is_made(self, store: Store) -> None:
        first = await an_agent(store)
        changed = replace(first.definition, instructions="Bake.")

        second = await store.agents.update(TENANT, first.id, changed, expected_version=1)
        same = await store.agents.update(TENANT, first.id, changed, expected_version=2)

        assert second == replace(first, version=2, definition=changed)
        assert same == second

    async def test_an_update_of_another_version_than_the_newest_is_refused(self, store: Store) -> None:
        first, other = await an_agent(store), await an_agent(store, name="Baker")
        newest = await store.agents.update(TENANT, first.id, a_definition(name="Cook"))

        for expected in (0, 1, 3):
            for definition in (a_definition(model="late"), newest.definition, other.definition):
                with pytest.raises(VersionMoved):
                    await store.agents.update(TENANT, first.id, definition, expected_version=expected)

        assert await store.agents.page(TENANT) == [newest, other]
        with pytest.raises(NotFound):
            await store.agents.get(TENANT, first.id, version=3)

    async def test_an_update_refused_for_its_version_does_not_use_up_its_key(self, store: Store) -> None:
        agent = await an_agent(store)
        with pytest.raises(VersionMoved):
            await store.agents.update(
                TENANT, agent.id, a_definition(name="Cook"), expected_version=2, once=a_once()
            )

        changed = await store.agents.update(
            TENANT, agent.id, a_definition(name="Cook"), expected_version=1, once=a_once(request="another")
        )

        assert (changed.version, changed.definition.name) == (2, "Cook")

    async def test_an_update_that_comes_again_expects_no_version_any_more(self, store: Store) -> None:
        agent = await an_agent(store)
        for name in ("Cook", "Baker"):
            newest = await store.agents.update(TENANT, agent.id, a_definition(name=name), once=a_once(name))

        again = await store.agents.update(
            TENANT, agent.id, a_definition(name="Cook"), expected_version=1, once=a_once("Cook")
        )

        assert again == newest
        with pytest.raises(IdempotencyMismatch):
            await store.agents.update(
                TENANT, agent.id, newest.definition, expected_version=1, once=a_once("Cook", "another")
            )

    async def test_of_many_who_expect_a_version_at_once_one_changes_it(self, store: Store) -> None:
        agent = await an_agent(store)

        outcomes = await asyncio.gather(
            *[
                store.agents.update(TENANT, agent.id, a_definition(model=f"m{i}"), expected_version=1)
                for i in range(8)
            ],
            return_exceptions=True,
        )

        made = [outcome for outcome in outcomes if isinstance(outcome, StoredAgent)]
        assert [version.version for version in made] == [2]
        assert all(isinstance(outcome, VersionMoved) for outcome in outcomes if outcome not in made)
        assert await store.agents.page(TENANT) == made

    async def test_agents_are_listed_in_order_of_creation(self, store: Store) -> None:
        made = [await an_agent(store, name=name) for name in ("C", "A", "D", "B")]

        assert await store.agents.page(TENANT) == made
        assert await store.agents.page(TENANT, limit=2) == made[:2]
        assert await store.agents.page(TENANT, after=made[1].id, limit=1) == made[2:3]
        assert await store.agents.page(TENANT, after=made[3].id) == []
