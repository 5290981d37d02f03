"""How a run gets hold of a conversation: placed at once, queued, or taken from the queue."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, literal_column, null, select, update

from tertulia import ids
from tertulia.conversations import Claim, Claimant, Conversation, Lease, Run, RunStatus, Step
from tertulia.definitions import AgentDefinition
from tertulia.messages import Message, now_us
from tertulia.parts import Part, decode_content, encode_content
from tertulia.stores import rules
from tertulia.stores.sql import journal
from tertulia.stores.sql.rows import (
    MESSAGE_COLUMNS,
    RUN_COLUMNS,
    encode_options,
    input_message,
    inserting,
    message_of,
    message_params,
    run_of,
)
from tertulia.stores.sql.schema import AGENT_VERSIONS, CONVERSATIONS, MESSAGES, RUNS
from tertulia.stores.sql.standing import Held
from tertulia.stores.sql.statements import Connection, LeaseClock, Params, Statement

_C: Final = CONVERSATIONS.c
_R: Final = RUNS.c
_MOVED: Final[dict[str, Any]] = {
    "head": bindparam("new_head"),
    "tokens": bindparam("new_tokens"),
    "next_run": bindparam("new_next_run"),
    "holder": bindparam("new_holder"),
    "queued": bindparam("new_queued"),
    "updated_at": bindparam("at"),
}
_CONVERSATION: Final = update(CONVERSATIONS).where(
    _C.tenant == bindparam("tenant"), _C.id == bindparam("conversation_key")
)
MOVE: Final = Statement(_CONVERSATION.values(**_MOVED))
MOVE_OPENING: Final = Statement(_CONVERSATION.values(**_MOVED, first_message=bindparam("opening")))
MOVE_STATE: Final = Statement(_CONVERSATION.values(**_MOVED, state=bindparam("new_state")))

_LEASE_END: Final = LeaseClock() + bindparam("lease_us")
_RUNNING: Final[ColumnElement[str]] = literal_column("'running'")
_QUEUED: Final[ColumnElement[str]] = literal_column("'queued'")
_ZERO: Final[ColumnElement[int]] = literal_column("0")
_INSERT_RUNNING: Final = inserting(
    RUNS,
    status=_RUNNING,
    lease_until=_LEASE_END,
    input=null(),
    last_number=_ZERO,
    cancel_requested=_ZERO,
    waiting=null(),
    usage=null(),
    error=null(),
    successor=null(),
    ended_at=null(),
    epoch=literal_column("1"),
    attempt=literal_column("1"),
)
_INSERT_QUEUED: Final = inserting(
    RUNS,
    status=_QUEUED,
    lease_until=null(),
    owner=null(),
    last_number=_ZERO,
    cancel_requested=_ZERO,
    waiting=null(),
    usage=null(),
    error=null(),
    successor=null(),
    started_at=null(),
    ended_at=null(),
    epoch=_ZERO,
    attempt=_ZERO,
)
INSERT_MESSAGE: Final = inserting(MESSAGES)

_RUN_KEY: Final = (_R.tenant == bindparam("tenant"), _R.id == bindparam("run"))
_START: Final = Statement(
    update(RUNS)
    .where(*_RUN_KEY)
    .values(
        status=_RUNNING,
        epoch=bindparam("new_epoch"),
        owner=bindparam("new_owner"),
        lease_until=_LEASE_END,
        attempt=bindparam("new_attempt"),
        input=null(),
        input_number=bindparam("number"),
        started_at=bindparam("at"),
    )
)
_FIRST_QUEUED: Final = Statement(
    select(*RUN_COLUMNS, _R.input, _R.input_tokens)
    .where(
        _R.tenant == bindparam("tenant"),
        _R.conversation_id == bindparam("conversation_key"),
        _R.status == _QUEUED,
    )
    .order_by(_R.n)
    .limit(literal_column("1"))
)
_DEFINITION: Final = Statement(
    select(AGENT_VERSIONS.c.definition).where(
        AGENT_VERSIONS.c.tenant == bindparam("tenant"),
        AGENT_VERSIONS.c.agent_id == bindparam("agent"),
        AGENT_VERSIONS.c.version == bindparam("version"),
    )
)
_MESSAGE: Final = Statement(
    select(*MESSAGE_COLUMNS).where(
        MESSAGES.c.tenant == bindparam("tenant"),
        MESSAGES.c.conversation_id == bindparam("conversation_key"),
        MESSAGES.c.number == bindparam("number"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run about to be placed on a locked conversation."""

    run_id: str
    performer: str
    options: Mapping[str, object]
    message_id: str
    tokens: int
    content: tuple[Part, ...] | None
    """What is said; ``None`` if the message stands in the log already."""
    number: int = 0
    """Its number then."""


def moved(held: Held, *, at: int, holder: str | None, **change: Any) -> dict[str, Any]:
    """Return the parameters that bring the conversation's row up to date."""
    conversation = held.conversation
    return {
        "tenant": conversation.tenant,
        "conversation_key": ids.to_bytes(conversation.id),
        "new_head": change.get("head", conversation.head),
        "new_tokens": change.get("tokens", conversation.tokens),
        "new_next_run": change.get("next_run", held.next_run),
        "new_holder": None if holder is None else ids.to_bytes(holder),
        "new_queued": change.get("queued", held.queued),
        "at": at,
    }


async def place(
    db: Connection, held: Held, new: NewRun, claimant: Claimant | None
) -> tuple[Run, Claim | None]:
    """Give a free conversation to a new run, or put the run in the queue.

    It is queued also when the conversation is free but the claimant cannot perform it.
    """
    at = now_us()
    run = Run(
        tenant=held.conversation.tenant,
        id=new.run_id,
        conversation_id=held.conversation.id,
        n=held.next_run,
        status=RunStatus.QUEUED,
        performer=new.performer,
        agent_version=held.agent_version,
        options=new.options,
        input_message_id=new.message_id,
        input_number=new.number,
        created_at=at,
    )
    opening = await _opening(db, held, run)
    if claimant is None or not held.standing.is_free or not rules.can_perform(claimant, new.performer):
        await _queue(db, held, (run, new), opening=opening)
        return run, None
    return await _start_at_once(db, held, (run, new), claimant, opening=opening)


async def _opening(db: Connection, held: Held, run: Run) -> str | None:
    """Return the agent's first message if the conversation has none yet."""
    conversation = held.conversation
    if conversation.first_message is not None:
        return None
    row = await db.one(
        _DEFINITION,
        {"tenant": run.tenant, "agent": ids.to_bytes(conversation.agent_id), "version": run.agent_version},
    )
    opening = "" if row is None else AgentDefinition.decode(row[0]).first_message
    held.conversation = replace(conversation, first_message=opening)
    return opening


async def _queue(db: Connection, held: Held, placed: tuple[Run, NewRun], *, opening: str | None) -> None:
    run, new = placed
    kept = None if new.content is None else encode_content(new.content)
    change = {"next_run": held.next_run + 1, "queued": held.queued + 1}
    move = moved(held, at=run.created_at, holder=held.holder, **change)
    await db.together(
        [(_INSERT_QUEUED, {**_run_params(run, new), "input": kept}), _with_opening(move, opening)]
    )


async def _start_at_once(
    db: Connection, held: Held, placed: tuple[Run, NewRun], claimant: Claimant, *, opening: str | None
) -> tuple[Run, Claim]:
    queued, new = placed
    conversation = held.conversation
    number = new.number or conversation.head + 1
    run = replace(
        queued,
        status=RunStatus.RUNNING,
        epoch=1,
        attempt=1,
        input_number=number,
        started_at=queued.created_at,
    )
    work: list[tuple[Statement, Params]] = [
        (
            _INSERT_RUNNING,
            {
                **_run_params(run, new),
                "owner": ids.to_bytes(claimant.owner),
                "lease_us": claimant.lease_us,
                "started_at": run.started_at,
            },
        )
    ]
    change: dict[str, Any] = {"next_run": held.next_run + 1}
    if new.content is None:
        said = await said_at(db, conversation, number)
    else:
        said = input_message(run, new.content, number=number, at=run.created_at)
        change |= {"head": number, "tokens": conversation.tokens + new.tokens}
        work.append((INSERT_MESSAGE, _said_params(conversation, said)))
        held.conversation = replace(conversation, head=number, tokens=conversation.tokens + new.tokens)
    work.append(_with_opening(moved(held, at=run.created_at, holder=run.id, **change), opening))
    await db.together(work)
    return run, claimed(run, held.conversation, said, owner=claimant.owner)


async def promote(db: Connection, held: Held, claimant: Claimant | None) -> Claim | None:
    """Start the run that waits first, if the claimant can perform it; nothing may hold the conversation."""
    if claimant is None or not held.queued:
        return None
    conversation = held.conversation
    key = {"tenant": conversation.tenant, "conversation_key": ids.to_bytes(conversation.id)}
    row = await db.one(_FIRST_QUEUED, key)
    if row is None or not rules.can_perform(claimant, (waiting := run_of(row)).performer):
        return None
    at, (content, tokens) = now_us(), row[len(RUN_COLUMNS) :]
    number = waiting.input_number or conversation.head + 1
    run = replace(
        waiting,
        status=RunStatus.RUNNING,
        epoch=waiting.epoch + 1,
        attempt=waiting.attempt + 1,
        input_number=number,
        started_at=at,
    )
    work: list[tuple[Statement, Params]] = [(_START, started(run, claimant, at=at))]
    change: dict[str, Any] = {"queued": held.queued - 1}
    if waiting.input_number:
        said = await said_at(db, conversation, number)
    else:
        said = input_message(run, decode_content(content), number=number, at=waiting.created_at)
        change |= {"head": number, "tokens": conversation.tokens + tokens}
        work.append((INSERT_MESSAGE, _said_params(conversation, said)))
        held.conversation = replace(conversation, head=number, tokens=conversation.tokens + tokens)
    work.append((MOVE, moved(held, at=at, holder=run.id, **change)))
    await db.together(work)
    return claimed(run, held.conversation, said, owner=claimant.owner)


async def take_over(db: Connection, held: Held, run: Run, claimant: Claimant) -> Claim:
    """Give a run that holds its conversation to the claimant, with what is journaled of it."""
    at = now_us()
    mine = replace(run, status=RunStatus.RUNNING, epoch=run.epoch + 1, attempt=run.attempt + 1)
    await db.run(_START, started(mine, claimant, at=run.started_at or at))
    said = await said_at(db, held.conversation, mine.input_number)
    steps = await journal.steps(db, mine.tenant, ids.to_bytes(mine.id))
    return claimed(mine, held.conversation, said, owner=claimant.owner, steps=steps)


def started(run: Run, claimant: Claimant, *, at: int) -> dict[str, Any]:
    """Return the parameters that note a run's new owner."""
    return {
        "tenant": run.tenant,
        "run": ids.to_bytes(run.id),
        "new_epoch": run.epoch,
        "new_owner": ids.to_bytes(claimant.owner),
        "lease_us": claimant.lease_us,
        "new_attempt": run.attempt,
        "number": run.input_number,
        "at": at,
    }


def claimed(
    run: Run, conversation: Conversation, said: Message, *, owner: str, steps: Iterable[Step] = ()
) -> Claim:
    """Return the claim on a run as it stands now."""
    lease = Lease(
        tenant=run.tenant,
        run_id=run.id,
        conversation_id=conversation.id,
        epoch=run.epoch,
        owner=owner,
    )
    return Claim(run=run, conversation=conversation, lease=lease, input=said, steps=tuple(steps))


async def said_at(db: Connection, conversation: Conversation, number: int) -> Message:
    """Return the message of this number, which is there."""
    key = {"tenant": conversation.tenant, "conversation_key": ids.to_bytes(conversation.id)}
    row = await db.one(_MESSAGE, {**key, "number": number})
    if row is None:
        raise LookupError(f"message {number} of {conversation.id} is missing")
    return message_of(row)


def _with_opening(move: dict[str, Any], opening: str | None) -> tuple[Statement, Params]:
    return (MOVE, move) if opening is None else (MOVE_OPENING, {**move, "opening": opening})


def _said_params(conversation: Conversation, said: Message) -> dict[str, Any]:
    kept = encode_content(said.content)
    return message_params(conversation.tenant, ids.to_bytes(conversation.id), said, kept)


def _run_params(run: Run, new: NewRun) -> dict[str, Any]:
    return {
        "tenant": run.tenant,
        "id": ids.to_bytes(run.id),
        "conversation_id": ids.to_bytes(run.conversation_id),
        "n": run.n,
        "performer": run.performer,
        "agent_version": run.agent_version,
        "options": encode_options(run.options),
        "input_tokens": new.tokens,
        "input_message_id": ids.to_bytes(run.input_message_id),
        "input_number": run.input_number,
        "created_at": run.created_at,
    }
