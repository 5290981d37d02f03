"""What the holder of a lease writes: steps, messages, state, the end."""

from dataclasses import replace
from typing import Any, Final

from sqlalchemy import bindparam, func, literal_column, null, select, update

from tertulia import ids
from tertulia.conversations import Claimant, Commit, Committed, Ending, Frame, Job, Lease, Step
from tertulia.errors import LeaseLost
from tertulia.messages import Message, now_us
from tertulia.parts import encode_content
from tertulia.stores import rules
from tertulia.stores.sql import closing, journal, placing, recording, standing, stopping
from tertulia.stores.sql.rows import (
    encode_failure,
    encode_wait,
    message_params,
    spell_usage,
    step_params,
)
from tertulia.stores.sql.schema import JOBS, MESSAGES, RUNS
from tertulia.stores.sql.standing import Held, Underway
from tertulia.stores.sql.statements import Connection, Params, Statement, inserting_once

_FEW: Final = 8
"""Frames that may be written in one statement with everything else."""

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
        waiting=null(),
        owner=null(),
        lease_until=null(),
    )
)
_WAIT: Final = Statement(
    _RUN.values(
        **_PROGRESS,
        status=literal_column("'waiting'"),
        waiting=bindparam("new_wait"),
        owner=null(),
        lease_until=bindparam("until"),
    )
)
_INSERT_JOB: Final = inserting_once(
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
    rules.check_stop(found.stop, commit)
    if commit.closes is not None:
        await closing.note(db, found.held, commit.closes)
    numbered = await _written(db, lease, commit, found)
    head = found.held.conversation.head + len(numbered)
    if commit.ending is None:
        return Committed(head=head)
    freed = _freed(found.held, commit, head=head)
    freed = await stopping.rolled_back(db, freed, found.stop, first=found.input_number)
    following = await placing.promote(db, freed, claimant)
    return Committed(head=freed.conversation.head, next=following)


async def _written(db: Connection, lease: Lease, commit: Commit, found: Underway) -> list[Message]:
    """Write the commit; return its messages as they stand in the log."""
    at = now_us()
    numbered = _numbered(found.held, lease, commit, at=at)
    first = {step.path: step for step in reversed(commit.steps)}
    frames = await _few_frames(db, lease, commit)
    await db.together(
        [
            *[_step(lease, commit, step) for step in first.values()],
            *[(recording.INSERT_FRAME, recording.frame_params(lease, each, at=at)) for each in frames],
            *[(_INSERT_JOB, _job(lease, job, at=at)) for job in commit.jobs],
            *[(placing.INSERT_MESSAGE, _message(lease, message)) for message in numbered],
            *_conversation(found.held, commit, numbered, at=at),
            _run(lease, commit, found, numbered, at=at),
        ]
    )
    for step in commit.steps:
        if step is not first[step.path]:  # the row of its path could not be written twice at once
            await db.run(*_step(lease, commit, step))
    await _clear_steps(db, lease, commit.ending, found)
    return numbered


def _freed(held: Held, commit: Commit, *, head: int) -> Held:
    """Return the conversation as it stands after the run has ended."""
    conversation = replace(held.conversation, head=head, tokens=held.conversation.tokens + commit.tokens)
    if commit.state is not None:
        conversation = replace(conversation, state=commit.state)
    return replace(held, conversation=conversation, holder=None)


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


def _step(lease: Lease, commit: Commit, step: Step) -> tuple[Statement, Params]:
    """Return the write of a step; an ended run keeps no outputs."""
    output = step.output if commit.ending is None else None
    return journal.WRITE_STEP, step_params(lease, step, output=output)


async def _few_frames(db: Connection, lease: Lease, commit: Commit) -> list[Frame]:
    """Return the frames to be written with the rest; many are written at once, before it."""
    told = recording.longest([(lease, frame) for frame in commit.frames])
    if len(told) > _FEW:
        await recording.record(db, told)
        return []
    return [frame for _, frame in told]


def _job(lease: Lease, job: Job, *, at: int) -> Params:
    return {
        "tenant": lease.tenant,
        "id": ids.to_bytes(job.id),
        "kind": job.kind,
        "conversation_id": ids.to_bytes(lease.conversation_id),
        "run_id": ids.to_bytes(lease.run_id),
        "payload": job.payload,
        "due_at": at,
        "created_at": at,
    }


def _conversation(
    held: Held, commit: Commit, numbered: list[Message], *, at: int
) -> list[tuple[Statement, Params]]:
    """Return the write of the conversation's row, if anything in it changes."""
    if not numbered and commit.state is None and commit.ending is None:
        return []
    holder = held.holder if commit.ending is None else None
    head, tokens = held.conversation.head + len(numbered), held.conversation.tokens + commit.tokens
    move = placing.moved(held, at=at, holder=holder, head=head, tokens=tokens)
    if commit.state is None:
        return [(placing.MOVE, move)]
    return [(placing.MOVE_STATE, {**move, "new_state": commit.state})]


def _run(
    lease: Lease, commit: Commit, found: Underway, numbered: list[Message], *, at: int
) -> tuple[Statement, Params]:
    progress = {
        "tenant": lease.tenant,
        "run": ids.to_bytes(lease.run_id),
        "new_attempt": 0 if rules.has_grown(commit) else found.attempt,
        "new_last_number": numbered[-1].number if numbered else found.last_number,
        "new_usage": None if commit.usage is None else spell_usage(commit.usage),
    }
    if commit.ending is not None:
        return _END, {**progress, **_ending(commit.ending), "at": at}
    if commit.wait is not None:
        return _WAIT, {**progress, "new_wait": encode_wait(commit.wait), "until": commit.wait.until}
    return _GO_ON, progress


def _ending(ending: Ending) -> dict[str, Any]:
    return {"new_status": str(ending.status), "new_error": encode_failure(ending.failure)}


async def _clear_steps(db: Connection, lease: Lease, ending: Ending | None, found: Underway) -> None:
    """Empty the outputs of earlier steps when a run ends; a run of a single commit has none."""
    is_first_commit = found.epoch == 1 and found.attempt == 1
    if ending is not None and not is_first_commit:
        await journal.clear(db, lease.tenant, lease.run_id)
