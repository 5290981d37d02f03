"""The moves of the ledger in memory: how a run enters, begins, writes and ends."""

from dataclasses import replace

import orjson

from tertulia.conversations import (
    Claim,
    Claimant,
    Commit,
    Ending,
    Lease,
    Run,
    RunStatus,
    Submission,
)
from tertulia.messages import Message, decode_content, encode_content
from tertulia.stores.in_memory.state import Entry, Log, Room
from tertulia.stores.rules import attempt_given_back


def said(submission: Submission, *, now: int) -> Message:
    """Return the message of a submission, not yet numbered; content as after a round trip."""
    return Message(
        id=submission.message_id,
        role="user",
        content=decode_content(encode_content(submission.content)),
        run_id=submission.run_id,
        created_at=now,
    )


def asked(submission: Submission, *, now: int) -> Run:
    """Return the run of a submission, not yet in the ledger; options as after a round trip."""
    return Run(
        tenant=submission.tenant,
        id=submission.run_id,
        conversation_id="",
        n=0,
        status=RunStatus.QUEUED,
        performer=submission.performer,
        options=orjson.loads(orjson.dumps(submission.options)),
        input_message_id=submission.message_id,
        created_at=now,
    )


def asked_again(earlier: Run, run_id: str, *, now: int) -> Run:
    """Return a run like an earlier one, on the same input message, not yet in the ledger."""
    return Run(
        tenant=earlier.tenant,
        id=run_id,
        conversation_id=earlier.conversation_id,
        n=0,
        status=RunStatus.QUEUED,
        performer=earlier.performer,
        options=earlier.options,
        input_message_id=earlier.input_message_id,
        input_number=earlier.input_number,
        created_at=now,
    )


def enter(room: Room, log: Log, run: Run, *, message: Message, tokens: int) -> Entry:
    """Put a run in its conversation's queue, with the agent's version and opening as they are now."""
    agent = room.agent(log.row.agent_id, version=log.row.agent_version)
    if log.row.first_message is None:
        log.row = replace(log.row, first_message=agent.definition.first_message)
    entry = Entry(
        run=replace(run, conversation_id=log.row.id, n=len(log.entries) + 1, agent_version=agent.version),
        input=message,
        tokens=tokens,
    )
    log.entries.append(entry)
    log.unfinished.append(entry)
    room.runs[run.id] = entry
    room.busy[log.row.id] = log
    return entry


def begin(log: Log, entry: Entry, claimant: Claimant, *, now: int) -> Claim:
    """Give a run to a claimant; its message is numbered if it has no number yet."""
    if not entry.input.number:
        _number(log, entry, now=now)
    entry.owner, entry.lease_until = claimant.owner, now + claimant.lease_us
    entry.run = run = replace(
        entry.run,
        status=RunStatus.RUNNING,
        epoch=entry.run.epoch + 1,
        attempt=entry.run.attempt + 1,
        input_number=entry.input.number,
        started_at=entry.run.started_at or now,
    )
    lease = Lease(
        tenant=run.tenant,
        run_id=run.id,
        conversation_id=run.conversation_id,
        epoch=run.epoch,
        owner=claimant.owner,
    )
    return Claim(
        run=run, conversation=log.row, lease=lease, input=entry.input, steps=tuple(entry.steps.values())
    )


def _number(log: Log, entry: Entry, *, now: int) -> None:
    head = log.row.head + 1
    entry.input = replace(entry.input, number=head)
    log.messages.append(entry.input)
    log.row = replace(log.row, head=head, tokens=log.row.tokens + entry.tokens, updated_at=now)


def give_back(entry: Entry) -> None:
    """Take a run from its owner, so that it can be claimed at once."""
    entry.owner, entry.lease_until = None, 0
    entry.run = replace(entry.run, attempt=attempt_given_back(entry.run.attempt))


def write(room: Room, log: Log, entry: Entry, commit: Commit, *, now: int) -> None:
    """Write all of a commit but its ending."""
    for step in commit.steps:
        entry.steps.setdefault(step.path, step)
    for number, message in enumerate(commit.messages, start=log.row.head + 1):
        log.messages.append(_kept(message, number=number, run=entry.run, now=now))
    room.written.update(message.id for message in commit.messages)
    entry.frames.extend(commit.frames)
    room.jobs.update((job.id, job) for job in commit.jobs if job.id not in room.jobs)
    log.row = replace(
        log.row,
        head=len(log.messages),
        updated_at=now,
        tokens=log.row.tokens + commit.tokens,
        state=log.row.state if commit.state is None else commit.state,
    )
    entry.run = replace(
        entry.run,
        attempt=0 if commit.steps or commit.messages else entry.run.attempt,
        last_number=log.row.head if commit.messages else entry.run.last_number,
        usage=entry.run.usage if commit.usage is None else commit.usage,
    )


def _kept(message: Message, *, number: int, run: Run, now: int) -> Message:
    return replace(
        message,
        content=decode_content(encode_content(message.content)),
        number=number,
        run_id=message.run_id or run.id,
        created_at=message.created_at or now,
    )


def end(room: Room, log: Log, entry: Entry, ending: Ending, *, now: int) -> None:
    """End a run: its lease is over, what its steps brought is in the messages and forgotten here."""
    entry.run = replace(entry.run, status=ending.status, failure=ending.failure, ended_at=now)
    entry.owner, entry.lease_until = None, 0
    entry.steps = {path: replace(step, output="") for path, step in entry.steps.items()}
    log.unfinished.remove(entry)
    if not log.unfinished:
        del room.busy[log.row.id]
