"""What the holder of a lease writes: steps, messages, state, the end."""

from dataclasses import replace
from typing import Any, Final

from sqlalchemy import bindparam, func, literal_column, null, select, update

from tertulia import ids
from tertulia.conversations import Claimant, Commit, Committed, Ending, Lease
from tertulia.errors import LeaseLost
from tertulia.messages import Message, encode_content, now_us
from tertulia.stores import rules
from tertulia.stores.sql import placing, standing
from tertulia.stores.sql.rows import (
    encode_failure,
    encode_usage,
    inserting,
    message_params,
    step_params,
)
from tertulia.stores.sql.schema import FRAMES, JOBS, MESSAGES, RUNS, STEPS
from tertulia.stores.sql.standing import Held, Underway
from tertulia.stores.sql.statements import Connection, Params, Statement, inserting_once

_R: Final = RUNS.c
_RUN: Final = update(RUNS).where(_R.tenant == bindparam("tenant"), _R.id == bindparam("run"))
_PROGRESS: Final[dict[str, Any]] = {
    "attempt": bindparam("new_attempt"),
    "last_number": bindparam("new_last_number"),
    "usage": func.coalesce(bindparam("new_usage"), _R.usage),
}
_GO_ON: Final = Statement(_RUN.values(**_PROGRESS))
_END: Final = Statement(
    _RUN.values(
        **_PROGRESS,
        status=bindparam("new_status"),
        error=bindparam("new_error"),
        ended_at=bindparam("at"),
        input=null(),
        owner=null(),
        lease_until=null(),
    )
)
_INSERT_STEP: Final = inserting_once(STEPS)
_CLEAR_STEPS: Final = Statement(
    update(STEPS)
    .where(
        STEPS.c.tenant == bindparam("tenant"),
        STEPS.c.run_id == bindparam("run"),
        STEPS.c.output.is_not(null()),
    )
    .values(output=null())
)
_INSERT_FRAME: Final = inserting_once(FRAMES)
_INSERT_JOB: Final = inserting(
    JOBS,
    status=literal_column("'queued'"),
    attempt=literal_column("0"),
    owner=null(),
    lease_until=null(),
    error=null(),
)
_IS_WRITTEN: Final = Statement(
    select(MESSAGES.c.number).where(
        MESSAGES.c.tenant == bindparam("tenant"), MESSAGES.c.id == bindparam("message")
    )
)


async def commit(db: Connection, lease: Lease, commit: Commit, claimant: Claimant | None) -> Committed:
    """Do what :meth:`RunStore.commit` promises."""
    found = await standing.underway(db, lease)
    if found is None:
        raise LeaseLost().in_run(lease.run_id)
    if await _is_done(db, lease, commit, found):
        return Committed(head=found.held.conversation.head)
    rules.check_lease(lease, status=found.status, epoch=found.epoch)
    if found.owner != lease.owner:
        raise LeaseLost().in_run(lease.run_id)
    held, at = found.held, now_us()
    numbered = _numbered(held, lease, commit, at=at)
    holder = held.holder if commit.ending is None else None
    await db.together(
        [
            *_journal(lease, commit, at=at),
            *[(placing.INSERT_MESSAGE, _message(lease, message)) for message in numbered],
            *_conversation(held, commit, numbered, holder=holder, at=at),
            _run(lease, commit, found, numbered, at=at),
        ]
    )
    await _clear_steps(db, lease, commit.ending, found)
    head = held.conversation.head + len(numbered)
    if commit.ending is None or claimant is None or not held.queued:
        return Committed(head=head)
    conversation = replace(held.conversation, head=head, tokens=held.conversation.tokens + commit.tokens)
    if commit.state is not None:
        conversation = replace(conversation, state=commit.state)
    freed = replace(held, conversation=conversation, holder=None)
    following = await placing.promote(db, freed, claimant)
    return Committed(head=freed.conversation.head, next=following)


async def _is_done(db: Connection, lease: Lease, commit: Commit, found: Underway) -> bool:
    """Whether this very commit has happened before; the log is only looked at where that can be."""
    is_written = False
    if commit.messages and (commit.ending is None or found.status is commit.ending.status):
        key = {"tenant": lease.tenant, "message": ids.to_bytes(commit.messages[-1].id)}
        is_written = await db.one(_IS_WRITTEN, key) is not None
    return rules.is_repeated(commit, lease, status=found.status, epoch=found.epoch, is_written=is_written)


def _numbered(held: Held, lease: Lease, commit: Commit, *, at: int) -> list[Message]:
    head = held.conversation.head
    return [
        replace(message, number=head + place, run_id=lease.run_id, created_at=message.created_at or at)
        for place, message in enumerate(commit.messages, start=1)
    ]


def _message(lease: Lease, message: Message) -> Params:
    kept = encode_content(message.content)
    return message_params(lease.tenant, ids.to_bytes(lease.conversation_id), message, kept)


def _journal(lease: Lease, commit: Commit, *, at: int) -> list[tuple[Statement, Params]]:
    """Return the writes of steps, frames and jobs; an ended run keeps no outputs."""
    key = {"tenant": lease.tenant, "run_id": ids.to_bytes(lease.run_id)}
    work: list[tuple[Statement, Params]] = []
    for step in commit.steps:
        output = step.output if commit.ending is None else None
        work.append((_INSERT_STEP, step_params(lease, step, output=output)))
    for frame in commit.frames:
        row = {"first_seq": frame.first_seq, "last_seq": frame.last_seq, "data": frame.data}
        work.append((_INSERT_FRAME, {**key, **row, "epoch": lease.epoch, "created_at": at}))
    for job in commit.jobs:
        row = {"id": ids.to_bytes(job.id), "kind": job.kind, "payload": job.payload}
        of = {"conversation_id": ids.to_bytes(lease.conversation_id), "due_at": at, "created_at": at}
        work.append((_INSERT_JOB, {**key, **row, **of}))
    return work


def _conversation(
    held: Held, commit: Commit, numbered: list[Message], *, holder: str | None, at: int
) -> list[tuple[Statement, Params]]:
    """Return the write of the conversation's row, if anything in it changes."""
    if not numbered and commit.state is None and commit.ending is None:
        return []
    head, tokens = held.conversation.head + len(numbered), held.conversation.tokens + commit.tokens
    move = placing.moved(held, at=at, holder=holder, head=head, tokens=tokens)
    if commit.state is None:
        return [(placing.MOVE, move)]
    return [(placing.MOVE_STATE, {**move, "new_state": commit.state})]


def _run(
    lease: Lease, commit: Commit, found: Underway, numbered: list[Message], *, at: int
) -> tuple[Statement, Params]:
    has_grown = bool(commit.steps or commit.messages)
    progress = {
        "tenant": lease.tenant,
        "run": ids.to_bytes(lease.run_id),
        "new_attempt": 0 if has_grown else found.attempt,
        "new_last_number": numbered[-1].number if numbered else found.last_number,
        "new_usage": None if commit.usage is None else encode_usage(commit.usage),
    }
    if commit.ending is None:
        return _GO_ON, progress
    ending = {
        "new_status": str(commit.ending.status),
        "new_error": encode_failure(commit.ending.failure),
        "at": at,
    }
    return _END, {**progress, **ending}


async def _clear_steps(db: Connection, lease: Lease, ending: Ending | None, found: Underway) -> None:
    """Empty the outputs of earlier steps when a run ends; a run of a single commit has none."""
    is_first_commit = found.epoch == 1 and found.attempt == 1
    if ending is not None and not is_first_commit:
        await db.run(_CLEAR_STEPS, {"tenant": lease.tenant, "run": ids.to_bytes(lease.run_id)})
