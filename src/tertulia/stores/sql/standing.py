"""Conversations as writers meet them: found, made and locked, with what holds and waits."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, func, literal_column, select

from tertulia import ids
from tertulia.conversations import Conversation, Lease, NewConversation, Run, RunStatus, Stop
from tertulia.errors import NotFound
from tertulia.messages import now_us
from tertulia.stores.rules import Standing, check_whose
from tertulia.stores.sql.rows import CONVERSATION_COLUMNS, RUN_COLUMNS, conversation_of, run_of
from tertulia.stores.sql.schema import AGENTS, ALIASES, CONVERSATIONS, RUNS
from tertulia.stores.sql.statements import Connection, LeaseClock, Row, Statement, inserting_once

_C: Final = CONVERSATIONS.c
_OF_AGENT: Final = (AGENTS.c.tenant == _C.tenant) & (AGENTS.c.id == _C.agent_id)
_KEY: Final = (_C.tenant == bindparam("tenant"), _C.id == bindparam("id"))
_LOCKED: Final = (
    select(*CONVERSATION_COLUMNS, _C.holder, _C.queued, _C.next_run, AGENTS.c.version)
    .join(AGENTS, _OF_AGENT)
    .where(*_KEY)
)

_BOTH: Final = (
    select(
        *CONVERSATION_COLUMNS,
        _C.holder,
        _C.queued,
        _C.next_run,
        AGENTS.c.version,
        RUNS.c.status,
        RUNS.c.epoch,
        RUNS.c.attempt,
        RUNS.c.input_number,
        RUNS.c.last_number,
        RUNS.c.cancel_requested,
        RUNS.c.owner,
        (func.coalesce(RUNS.c.lease_until, literal_column("0")) < LeaseClock()).label("expired"),
    )
    .join(AGENTS, _OF_AGENT)
    .join(RUNS, (RUNS.c.tenant == _C.tenant) & (RUNS.c.conversation_id == _C.id))
    .where(*_KEY, RUNS.c.id == bindparam("run"))
)

_OWN: Final = len(CONVERSATION_COLUMNS)
_RUN: Final = len(_LOCKED.selected_columns)
_ALL: Final = len(_BOTH.selected_columns)

_LOCK: Final = Statement(_LOCKED.with_for_update(of=CONVERSATIONS))
_TRY_LOCK: Final = Statement(_LOCKED.with_for_update(of=CONVERSATIONS, skip_locked=True))
_LOCK_BOTH: Final = Statement(_BOTH.with_for_update(of=(CONVERSATIONS, RUNS)))
_TRY_LOCK_BOTH: Final = Statement(_BOTH.with_for_update(of=(CONVERSATIONS, RUNS), skip_locked=True))
_GET: Final = Statement(select(*CONVERSATION_COLUMNS).where(*_KEY))
GET_RUN: Final = Statement(
    select(*RUN_COLUMNS).where(RUNS.c.tenant == bindparam("tenant"), RUNS.c.id == bindparam("run"))
)
_RESOLVE: Final = Statement(
    select(ALIASES.c.id).where(ALIASES.c.tenant == bindparam("tenant"), ALIASES.c.alias == bindparam("alias"))
)
_AGENT_VERSION: Final = Statement(
    select(AGENTS.c.version).where(
        AGENTS.c.tenant == bindparam("tenant"),
        AGENTS.c.id == bindparam("id"),
        AGENTS.c.version >= bindparam("pinned"),
    )
)
_TAKE_ALIAS: Final = inserting_once(ALIASES, ALIASES.c.id)
_INSERT: Final = inserting_once(CONVERSATIONS, CONVERSATIONS.c.id)


@dataclass(slots=True)
class Held:
    """A conversation whose row is locked until the transaction ends."""

    conversation: Conversation
    holder: str | None
    queued: int
    next_run: int
    newest_version: int
    """The newest version of its agent."""

    @property
    def key(self) -> dict[str, Any]:
        """The parameters that name its row."""
        return {"tenant": self.conversation.tenant, "id": ids.to_bytes(self.conversation.id)}

    @property
    def standing(self) -> Standing:
        """What a decision about a new request needs to know."""
        return Standing(
            head=self.conversation.head,
            holder=self.holder is not None,
            queued=self.queued > 0,
            closed=self.conversation.closed,
        )

    @property
    def agent_version(self) -> int:
        """The version of the agent that a run accepted now is carried out with."""
        return self.conversation.agent_version or self.newest_version


async def locked(db: Connection, tenant: int, conversation_id: str, *, wait: bool = True) -> Held | None:
    """Lock a conversation by its id; None if there is none (or, not waiting, if it is locked)."""
    statement = _LOCK if wait else _TRY_LOCK
    row = await db.one(statement, {"tenant": tenant, "id": ids.to_bytes(conversation_id)})
    return None if row is None else _held(row)


@dataclass(slots=True)
class Underway:
    """A run on a locked conversation, locked itself."""

    held: Held
    status: RunStatus
    epoch: int
    attempt: int
    input_number: int
    last_number: int
    stop: Stop
    owner: str | None
    is_expired: bool
    """Whether its lease has run out."""


async def underway(db: Connection, lease: Lease, *, wait: bool = True) -> Underway | None:
    """Lock a lease's conversation and run; None if they are not there (or, not waiting, locked)."""
    statement = _LOCK_BOTH if wait else _TRY_LOCK_BOTH
    row = await db.one(
        statement,
        {
            "tenant": lease.tenant,
            "id": ids.to_bytes(lease.conversation_id),
            "run": ids.to_bytes(lease.run_id),
        },
    )
    if row is None:
        return None
    status, epoch, attempt, input_number, last_number, stop, owner, is_expired = row[_RUN:_ALL]
    return Underway(
        held=_held(row),
        status=RunStatus(status),
        epoch=epoch,
        attempt=attempt,
        input_number=input_number,
        last_number=last_number,
        stop=Stop(stop),
        owner=None if owner is None else ids.from_bytes(ids.OWNER, owner),
        is_expired=bool(is_expired),
    )


async def run_found(db: Connection, tenant: int, raw: bytes) -> Run:
    """Return a run, not locked; raises ``NotFound``."""
    row = await db.one(GET_RUN, {"tenant": tenant, "run": raw})
    if row is None:
        raise NotFound("there is no such run")
    return run_of(row)


async def run_locked(db: Connection, tenant: int, run_id: str) -> tuple[Underway, Run]:
    """Lock a run and before it its conversation; return it as it stands. Raises ``NotFound``."""
    raw = ids.sought(run_id)
    seen = await run_found(db, tenant, raw)
    place = Lease(tenant=tenant, run_id=seen.id, conversation_id=seen.conversation_id, epoch=0, owner="")
    found = await underway(db, place)
    if found is None:
        raise NotFound("there is no such run")
    return found, await run_found(db, tenant, raw)  # again, now that nobody else can change it


def _held(row: Row) -> Held:
    holder, queued, next_run, newest_version = row[_OWN:_RUN]
    return Held(
        conversation=conversation_of(row),
        holder=None if holder is None else ids.from_bytes(ids.RUN, holder),
        queued=queued,
        next_run=next_run,
        newest_version=newest_version,
    )


async def resolved(db: Connection, tenant: int, conversation: str) -> str | None:
    """Return the id behind an id or an alias; an id is returned unseen, an unknown alias is None."""
    if ids.is_id(conversation, prefix=ids.CONVERSATION):
        return conversation
    row = await db.one(_RESOLVE, {"tenant": tenant, "alias": conversation})
    return None if row is None else ids.from_bytes(ids.CONVERSATION, row[0])


async def found(db: Connection, tenant: int, conversation: str) -> Conversation | None:
    """Return a conversation by id or alias, not locked."""
    ident = await resolved(db, tenant, conversation)
    if ident is None:
        return None
    row = await db.one(_GET, {"tenant": tenant, "id": ids.to_bytes(ident)})
    return None if row is None else conversation_of(row)


async def existing(db: Connection, tenant: int, named: str | NewConversation) -> str | None:
    """Return the id of the conversation that a request names, if it is there already.

    Raises :class:`~tertulia.errors.SessionMismatch` if it is another agent's or user's.
    """
    names = (named,) if isinstance(named, str) else (named.alias, named.id)
    conversation = None
    for name in names:
        if conversation is None and name is not None:
            conversation = await found(db, tenant, name)
    if conversation is None:
        return None
    if not isinstance(named, str):
        check_whose(named, conversation)
    return conversation.id


async def make(db: Connection, tenant: int, new: NewConversation) -> str:
    """Make a conversation, or find the one that another transaction made meanwhile; return its id.

    Raises ``NotFound``, and what :func:`existing` raises.
    """
    key = {"tenant": tenant, "id": ids.to_bytes(new.agent_id), "pinned": new.agent_version or 1}
    if await db.one(_AGENT_VERSION, key) is None:
        raise NotFound("there is no such agent, or not in this version")
    raw = ids.to_bytes(new.id)
    if new.alias is not None:
        taken = await db.one(_TAKE_ALIAS, {"tenant": tenant, "alias": new.alias, "id": raw})
        if taken is None:
            return await _made_meanwhile(db, tenant, new)
    if await db.one(_INSERT, _params(tenant, new, raw)) is None:
        return await _made_meanwhile(db, tenant, new)
    return new.id


async def _made_meanwhile(db: Connection, tenant: int, new: NewConversation) -> str:
    there = await existing(db, tenant, new)
    if there is None:
        raise NotFound("there is no such conversation")
    return there


def _params(tenant: int, new: NewConversation, raw: bytes) -> dict[str, Any]:
    at = now_us()
    return {
        "tenant": tenant,
        "id": raw,
        "agent_id": ids.to_bytes(new.agent_id),
        "agent_version": new.agent_version,
        "alias": new.alias,
        "user_id": new.user_id,
        "parent_id": None,
        "base": 0,
        "title": None,
        "head": 0,
        "tokens": 0,
        "version": 1,
        "next_run": 1,
        "holder": None,
        "queued": 0,
        "lineage_id": raw,
        "flags": 0,
        "first_message": None,
        "state": None,
        "closed": None,
        "metadata": None,
        "created_at": at,
        "updated_at": at,
    }
