"""Agents and their versions in SQL."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import bindparam, literal_column, select, update
from typing_extensions import override

from tertulia import ids
from tertulia.conversations import Once
from tertulia.definitions import AgentDefinition, StoredAgent
from tertulia.errors import DuplicateName, NotFound
from tertulia.messages import now_us
from tertulia.stores import rules
from tertulia.stores.base import AgentStore
from tertulia.stores.sql.database import Clash, Database, Unit
from tertulia.stores.sql.once import TENANT, taken
from tertulia.stores.sql.rows import AGENT_COLUMNS, agent_of, inserting
from tertulia.stores.sql.schema import AGENT_VERSIONS, AGENTS
from tertulia.stores.sql.statements import Connection, Statement

_JOINED: Final = (
    select(*AGENT_COLUMNS)
    .join(
        AGENT_VERSIONS,
        (AGENT_VERSIONS.c.tenant == AGENTS.c.tenant) & (AGENT_VERSIONS.c.agent_id == AGENTS.c.id),
    )
    .where(AGENTS.c.tenant == bindparam("tenant"))
)
_NEWEST: Final = _JOINED.where(AGENT_VERSIONS.c.version == AGENTS.c.version)
_BY_ID: Final = AGENTS.c.id == bindparam("id")
_BY_NAME: Final = AGENTS.c.name == bindparam("name")
_AT_VERSION: Final = AGENT_VERSIONS.c.version == bindparam("version")

_GET: Final = {
    ("id", True): Statement(_NEWEST.where(_BY_ID)),
    ("name", True): Statement(_NEWEST.where(_BY_NAME)),
    ("id", False): Statement(_JOINED.where(_BY_ID, _AT_VERSION)),
    ("name", False): Statement(_JOINED.where(_BY_NAME, _AT_VERSION)),
}
_LIST: Final = Statement(
    _NEWEST.where(AGENTS.c.id > bindparam("after")).order_by(AGENTS.c.id).limit(bindparam("limit"))
)
_LOCK: Final = Statement(
    select(AGENTS.c.id).where(AGENTS.c.tenant == bindparam("tenant"), _BY_ID).with_for_update()
)
_INSERT: Final = inserting(AGENTS)
_INSERT_VERSION: Final = inserting(AGENT_VERSIONS)
_RENEW: Final = Statement(
    update(AGENTS)
    .where(AGENTS.c.tenant == bindparam("tenant"), AGENTS.c.id == bindparam("id"))
    .values(version=AGENTS.c.version + literal_column("1"), name=bindparam("new_name"))
)


class SqlAgents(AgentStore):
    """Agents in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    async def create(
        self, tenant: int, agent_id: str, definition: AgentDefinition, *, once: Once | None = None
    ) -> StoredAgent:
        agent = StoredAgent(id=agent_id, tenant=tenant, version=1, definition=definition, created_at=now_us())

        async def unit(db: Connection) -> StoredAgent:
            earlier = None if once is None else await taken(db, tenant, TENANT, once, agent_id)
            if earlier is not None:
                row = await db.one(_GET["id", True], {"tenant": tenant, "id": earlier})
                if row is not None:
                    return agent_of(row)
            await db.run(
                _INSERT,
                {
                    "tenant": tenant,
                    "id": ids.to_bytes(agent_id),
                    "name": definition.name,
                    "version": 1,
                    "created_at": agent.created_at,
                },
            )
            await db.run(_INSERT_VERSION, _version_params(agent, at=agent.created_at))
            return agent

        return await self._named(unit, definition.name, tenant=tenant)

    @override
    async def get(self, tenant: int, agent: str, *, version: int | None = None) -> StoredAgent:
        by_id = ids.is_id(agent, prefix=ids.AGENT)
        statement = _GET["id" if by_id else "name", version is None]
        params: dict[str, Any] = {"tenant": tenant, "version": version}
        params |= {"id": ids.to_bytes(agent)} if by_id else {"name": agent}

        async def unit(db: Connection) -> StoredAgent | None:
            row = await db.one(statement, params)
            return None if row is None else agent_of(row)

        found = await self._database.read(unit, tenant=tenant)
        if found is None:
            raise NotFound("there is no such agent, or not in this version")
        return found

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
        key = {"tenant": tenant, "id": ids.sought(agent_id)}

        async def unit(db: Connection) -> StoredAgent:
            # Locked first, read then: a joined row would be the one from before the wait.
            await db.one(_LOCK, key)
            row = await db.one(_GET["id", True], key)
            if row is None:
                raise NotFound("there is no such agent")
            agent = agent_of(row)
            earlier = None if once is None else await taken(db, tenant, agent.id, once, agent.id)
            if earlier is not None:
                return agent
            rules.check_version(agent, expected_version)
            if agent.definition == definition:
                return agent
            newer = StoredAgent(
                id=agent.id,
                tenant=tenant,
                version=agent.version + 1,
                definition=definition,
                created_at=agent.created_at,
            )
            await db.run(_RENEW, {**key, "new_name": definition.name})
            await db.run(_INSERT_VERSION, _version_params(newer, at=now_us()))
            return newer

        return await self._named(unit, definition.name, tenant=tenant)

    @override
    async def page(self, tenant: int, *, after: str | None = None, limit: int = 100) -> list[StoredAgent]:
        params = {"tenant": tenant, "after": ids.to_bytes(after) if after else bytes(16), "limit": limit}

        async def unit(db: Connection) -> Sequence[Any]:
            return await db.all(_LIST, params)

        return [agent_of(row) for row in await self._database.read(unit, tenant=tenant)]

    async def _named(self, unit: Unit[StoredAgent], name: str, *, tenant: int) -> StoredAgent:
        await self._database.check_room()
        try:
            return await self._database.write(unit, tenant=tenant)
        except Clash as error:
            raise DuplicateName(f"there is an agent named {name!r} already; choose another name") from error


def _version_params(agent: StoredAgent, *, at: int) -> dict[str, Any]:
    return {
        "tenant": agent.tenant,
        "agent_id": ids.to_bytes(agent.id),
        "version": agent.version,
        "definition": agent.definition.encode(),
        "created_at": at,
    }
