"""What providers keep beside the log, in SQL."""

from collections.abc import Sequence
from functools import cache
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, insert, literal_column, select, update
from typing_extensions import override

from tertulia import ids
from tertulia.conversations import Conversation
from tertulia.errors import NotFound, VersionMoved
from tertulia.messages import now_us
from tertulia.stores import rules
from tertulia.stores.sql.database import Database
from tertulia.stores.sql.schema import CONVERSATIONS, STATES
from tertulia.stores.sql.statements import (
    Connection,
    Params,
    Row,
    Statement,
    chunks,
    inserting_once,
    listed,
    places,
    size_for,
)
from tertulia.stores.states import VIEW_SOURCE, KeptState, StateStore

_C: Final = CONVERSATIONS.c
_S: Final = STATES.c
_OF_SCOPE: Final = (_S.tenant == bindparam("tenant"), _S.scope == bindparam("scope"))
_KEY: Final = (*_OF_SCOPE, _S.source == bindparam("source"))
_AS_READ: Final = (*_KEY, _S.version == bindparam("expected"))

_GET: Final = Statement(select(_S.value, _S.version).where(*_KEY))
_ALL: Final = Statement(select(_S.source, _S.value, _S.version).where(*_OF_SCOPE))
_INSERT: Final = inserting_once(STATES, _S.version, version=literal_column("1"))
_CHANGE: Final = Statement(
    update(STATES)
    .where(*_AS_READ)
    .values(
        version=_S.version + literal_column("1"), value=bindparam("new_value"), updated_at=bindparam("at")
    )
    .returning(_S.version)
)
_DROP: Final = Statement(delete(STATES).where(*_AS_READ).returning(_S.version))
_FORGET: Final = Statement(delete(STATES).where(*_OF_SCOPE).returning(_S.source))
_COPY: Final = Statement(
    insert(STATES).from_select(
        [column.name for column in STATES.c],
        select(
            _S.tenant,
            bindparam("branch", type_=_S.scope.type),
            _S.source,
            _S.version,
            _S.value,
            _S.updated_at,
        ).where(*_OF_SCOPE),
    )
)
# Shared with other writers of states, but with nobody who changes the conversation or branches off it.
_HOLD: Final = Statement(
    select(_C.id)
    .where(_C.tenant == bindparam("tenant"), _C.id == bindparam("conversation"))
    .with_for_update(read=True, key_share=True)
)


class SqlStates(StateStore):
    """States of providers in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    async def get(self, tenant: int, scope: str, source: str) -> KeptState | None:
        async def unit(db: Connection) -> Row | None:
            return await db.one(_GET, {"tenant": tenant, "scope": scope, "source": source})

        row = await self._database.read(unit, tenant=tenant)
        return None if row is None else KeptState(value=row[0], version=row[1])

    @override
    async def put(
        self, tenant: int, scope: str, source: str, value: str | None, *, expected_version: int
    ) -> int:
        key: dict[str, Any] = {"tenant": tenant, "scope": scope, "source": source}

        async def unit(db: Connection) -> int:
            await _hold(db, tenant, scope)
            if value is None:
                return await _dropped(db, key, expected_version)
            return await _written(db, key, value, expected_version)

        await self._database.check_room()
        return await self._database.write(unit, tenant=tenant)

    @override
    async def all_of(self, tenant: int, scope: str) -> dict[str, KeptState]:
        async def unit(db: Connection) -> Sequence[Row]:
            return await db.all(_ALL, {"tenant": tenant, "scope": scope})

        rows = await self._database.read(unit, tenant=tenant)
        return {row[0]: KeptState(value=row[1], version=row[2]) for row in sorted(rows, key=itemgetter(0))}

    @override
    async def forget(self, tenant: int, scope: str) -> int:
        async def unit(db: Connection) -> int:
            return len(await db.all(_FORGET, {"tenant": tenant, "scope": scope}))

        return await self._database.write(unit, tenant=tenant)


def copied(source: Conversation, branch: str) -> tuple[Statement, Params]:
    """Return the write that gives a branch the states of its source, whose row is locked."""
    return _COPY, {"tenant": source.tenant, "scope": source.id, "branch": branch}


async def drop_views(db: Connection, tenant: int, conversations: Sequence[bytes]) -> None:
    """Take away what is derived from the messages of conversations whose rows are locked."""
    for chunk in chunks([ids.from_bytes(ids.CONVERSATION, raw) for raw in conversations]):
        size = size_for(len(chunk))
        params = {"tenant": tenant, "view": VIEW_SOURCE, **listed(chunk, prefix="scope", size=size)}
        await db.run(_views(size), params)


@cache
def _views(size: int) -> Statement:
    """Return the statement that takes away the views of up to ``size`` conversations."""
    beginning = func.substr(_S.source, literal_column("1"), literal_column(str(len(VIEW_SOURCE))))
    return Statement(
        delete(STATES).where(
            _S.tenant == bindparam("tenant"),
            _S.scope.in_(places(size, prefix="scope")),
            beginning == bindparam("view"),
        )
    )


async def _hold(db: Connection, tenant: int, scope: str) -> None:
    """Keep the conversation of a scope from being changed until the transaction ends."""
    if rules.is_of_user(scope):
        return
    key = {"tenant": tenant, "conversation": ids.to_bytes(scope)} if _is_ours(scope) else None
    if key is None or await db.one(_HOLD, key) is None:
        raise NotFound("there is no such conversation")


def _is_ours(scope: str) -> bool:
    return ids.is_id(scope, prefix=ids.CONVERSATION)


async def _written(db: Connection, key: Params, value: str, expected_version: int) -> int:
    params = {**key, "expected": expected_version, "at": now_us()}
    if expected_version:
        row = await db.one(_CHANGE, {**params, "new_value": value})
    else:
        row = await db.one(_INSERT, {**params, "value": value, "updated_at": params["at"]})
    if row is None:
        raise VersionMoved(rules.STATE_MOVED)
    return int(row[0])


async def _dropped(db: Connection, key: Params, expected_version: int) -> int:
    statement, params = (_DROP, {**key, "expected": expected_version}) if expected_version else (_GET, key)
    found = await db.one(statement, params)
    if (found is None) is (expected_version > 0):
        raise VersionMoved(rules.STATE_MOVED)
    return 0
