"""Agents and their versions, in memory."""

from dataclasses import replace
from typing import Final

from typing_extensions import override

from tertulia.conversations import Once
from tertulia.definitions import AgentDefinition, StoredAgent
from tertulia.errors import DuplicateName
from tertulia.stores import rules
from tertulia.stores.base import AgentStore
from tertulia.stores.in_memory.once import made_before, note
from tertulia.stores.in_memory.state import Room, State

_OF_TENANT: Final = ""
"""The scope of keys that are known in all of a tenant's room."""


class InMemoryAgents(AgentStore):
    """Agents and the versions of their definitions, for as long as the process lives."""

    def __init__(self, state: State) -> None:
        self._state = state

    @override
    async def create(
        self, tenant: int, agent_id: str, definition: AgentDefinition, *, once: Once | None = None
    ) -> StoredAgent:
        with self._state.lock:
            room, now = self._state.rooms[tenant], self._state.now()
            versions = made_before(room, _OF_TENANT, once, room.agents, now=now)
            if versions is not None:
                return versions[-1]
            if definition.name in room.names or agent_id in room.agents:
                raise DuplicateName
            note(room, (_OF_TENANT,), once, agent_id, now=now)
            agent = StoredAgent(id=agent_id, tenant=tenant, version=1, definition=definition, created_at=now)
            room.agents[agent_id] = [agent]
            room.names[definition.name] = agent_id
            return agent

    @override
    async def get(self, tenant: int, agent: str, *, version: int | None = None) -> StoredAgent:
        with self._state.lock:
            room = self._state.rooms[tenant]
            agent_id = agent if agent in room.agents else room.names.get(agent, agent)
            return room.agent(agent_id, version=version)

    @override
    async def update(
        self,
        tenant: int,
        agent_id: str,
        definition: AgentDefinition,
        *,
        expected_version: int | None = None,
        once: Once | None = None,
    ) -> StoredAgent:
        with self._state.lock:
            room, now = self._state.rooms[tenant], self._state.now()
            newest = room.agent(agent_id)
            if made_before(room, newest.id, once, room.agents, now=now) is not None:
                return newest
            rules.check_version(newest, expected_version)
            if newest.definition != definition:
                _rename(room, newest, definition.name)
            note(room, (newest.id,), once, newest.id, now=now)
            if newest.definition == definition:
                return newest
            agent = replace(newest, version=newest.version + 1, definition=definition)
            room.agents[agent_id].append(agent)
            return agent

    @override
    async def page(self, tenant: int, *, after: str | None = None, limit: int = 100) -> list[StoredAgent]:
        with self._state.lock:
            agents = self._state.rooms[tenant].agents
            chosen = sorted(agent_id for agent_id in agents if after is None or agent_id > after)
            return [agents[agent_id][-1] for agent_id in chosen[:limit]]


def _rename(room: Room, agent: StoredAgent, name: str) -> None:
    if room.names.get(name, agent.id) != agent.id:
        raise DuplicateName
    del room.names[agent.definition.name]
    room.names[name] = agent.id
