"""Writes that happen once for their key: what is noted of them, and for how long."""

from typing import Any, Final

from sqlalchemy import bindparam, delete, select, update

from tertulia import ids
from tertulia.conversations import Once
from tertulia.errors import IdempotencyMismatch
from tertulia.messages import now_us
from tertulia.stores import rules
from tertulia.stores.sql.schema import IDEMPOTENCY
from tertulia.stores.sql.statements import Connection, Statement, inserting_once

TENANT: Final = "tenant_" + "0" * 32
"""The scope of what belongs to nothing but its tenant."""

NO_RUN: Final = bytes(16)
"""In place of a run: the key was used for another kind of write."""

_I: Final = IDEMPOTENCY.c
_KEY: Final = (
    _I.tenant == bindparam("tenant"),
    _I.scope == bindparam("scope"),
    _I.key == bindparam("key"),
)
_FORGET: Final = Statement(delete(IDEMPOTENCY).where(*_KEY, _I.expires <= bindparam("at")))
_TAKE: Final = inserting_once(IDEMPOTENCY, _I.resource)
_TAKEN: Final = Statement(select(_I.resource, _I.request_hash, _I.run_id).where(*_KEY))
_RENOTE: Final = Statement(update(IDEMPOTENCY).where(*_KEY).values(resource=bindparam("new_resource")))


async def taken(db: Connection, tenant: int, scope: str, once: Once, resource: str) -> bytes | None:
    """Note a key with the id of what it leads to; return the id noted earlier if the key is known.

    Raises :class:`~tertulia.errors.IdempotencyMismatch` if it was used for another request.
    """
    at = now_us()
    params = {
        **_key(tenant, scope, once),
        "request_hash": once.request_hash,
        "resource": ids.to_bytes(resource),
        "run_id": NO_RUN,
        "expires": at + rules.KEY_LIFE_US,
        "at": at,
    }
    await db.run(_FORGET, params)
    if await db.one(_TAKE, params) is not None:
        return None
    row = await db.one(_TAKEN, params)
    if row is None:
        return None
    noted, request_hash, run_id = (bytes(value) for value in row)
    if request_hash != once.request_hash or run_id != NO_RUN:
        raise IdempotencyMismatch
    return noted


async def renote(db: Connection, tenant: int, scope: str, once: Once, resource: str) -> None:
    """Note that a key, just taken, leads to something that was there before."""
    await db.run(_RENOTE, {**_key(tenant, scope, once), "new_resource": ids.to_bytes(resource)})


def _key(tenant: int, scope: str, once: Once) -> dict[str, Any]:
    return {"tenant": tenant, "scope": ids.to_bytes(scope), "key": once.key}
