"""The moves of the ledger in memory: how a run enters, begins, writes, waits and ends."""

from dataclasses import replace

import orjson

from tertulia.conversations import (
    Claim,
    Claimant,
    Commit,
    Ending,
    Frame,
    JobStatus,
    Lease,
    Run,
    RunStatus,
    Step,
    Stop,
    StoredJob,
    Submission,
    Wait,
)
from tertulia.messages import Flag, Message
from tertulia.parts import decode_content, encode_content
from tertulia.stores import rules
from tertulia.stores.in_memory.marking import mark
from tertulia.stores.in_memory.state import Entry, JobEntry, KeptFrame, Log, Room


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


def enter(room: Room, log: Log, run: Run, *, message: Message | None, tokens: int) -> Entry:
    """Put a run in its conversation's queue, with the agent's version and opening as they are now.

    ``message`` is what it is asked, ``None`` if that stands in the log already.
    """
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
    number = _numbered(log, entry, now=now)
    entry.owner, entry.lease_until = claimant.owner, now + claimant.lease_us
    entry.run = run = replace(
        entry.run,
        status=RunStatus.RUNNING,
        epoch=entry.run.epoch + 1,
        attempt=entry.run.attempt + 1,
        input_number=number,
        started_at=entry.run.started_at or now,
    )
    lease = Lease(
        tenant=run.tenant,
        run_id=run.id,
        conversation_id=run.conversation_id,
        epoch=run.epoch,
        owner=claimant.owner,
    )
    return Claim(run=run, conversation=log.row, lease=lease, input=log.own(number), steps=entry.journal)


def begin_next(log: Log, claimant: Claimant | None, *, now: int) -> Claim | None:
    """Give the first queued run to the claimant, if nothing holds the conversation and it can perform it."""
    first = next(iter(log.unfinished), None)
    if claimant is None or first is None or not first.is_queued:
        return None
    return begin(log, first, claimant, now=now) if rules.can_perform(claimant, first.run.performer) else None


def _numbered(log: Log, entry: Entry, *, now: int) -> int:
    """Return the number of what a run is asked, which from now on stands in the log."""
    if entry.input is None:
        return entry.run.input_number
    head = log.row.head + 1
    log.say([replace(entry.input, number=head)])
    log.row = replace(log.row, head=head, tokens=log.row.tokens + entry.tokens, updated_at=now)
    entry.input = None
    return head


def give_back(entry: Entry) -> None:
    """Take a run from its owner, so that it can be claimed at once."""
    entry.owner, entry.lease_until = None, 0
    entry.run = replace(entry.run, attempt=rules.attempt_given_back(entry.run.attempt))


def write(room: Room, log: Log, entry: Entry, commit: Commit, *, now: int) -> None:
    """Write all of a commit but that the run ends or waits from now on."""
    said_now = [
        _kept(message, number=number, run=entry.run, now=now)
        for number, message in enumerate(commit.messages, start=log.row.head + 1)
    ]
    for step in commit.steps:
        journal(entry, step)
    for frame in commit.frames:
        tell(entry, frame, now=now)
    log.say(said_now)
    _want(room, entry, commit, now=now)
    log.row = replace(
        log.row,
        head=log.row.head + len(said_now),
        updated_at=now,
        tokens=log.row.tokens + commit.tokens,
        state=log.row.state if commit.state is None else commit.state,
        closed=log.row.closed if commit.closes is None else commit.closes,
    )
    entry.run = replace(
        entry.run,
        attempt=0 if rules.has_grown(commit) else entry.run.attempt,
        last_number=log.row.head if commit.messages else entry.run.last_number,
        usage=entry.run.usage if commit.usage is None else commit.usage,
    )


def journal(entry: Entry, step: Step) -> None:
    """Journal a step, unless what stands under its path is to stay."""
    stored = entry.steps.get(step.path)
    if stored is None or rules.replaces(step, stored):
        entry.steps[step.path] = step


def tell(entry: Entry, frame: Frame, *, now: int) -> None:
    """Keep events, unless those that are kept from the same one on reach as far."""
    kept = entry.frames.get(frame.first_seq)
    if kept is None or kept.frame.last_seq < frame.last_seq:
        entry.frames[frame.first_seq] = KeptFrame(frame=frame, stored_at=now)


def _want(room: Room, entry: Entry, commit: Commit, *, now: int) -> None:
    for job in commit.jobs:
        stored = StoredJob(
            tenant=entry.run.tenant,
            job=job,
            status=JobStatus.QUEUED,
            conversation_id=entry.run.conversation_id,
            run_id=entry.run.id,
            due_at=now,
            created_at=now,
        )
        room.jobs.setdefault(job.id, JobEntry(stored=stored))


def _kept(message: Message, *, number: int, run: Run, now: int) -> Message:
    return replace(
        message,
        content=decode_content(encode_content(message.content)),
        number=number,
        run_id=run.id,
        created_at=message.created_at or now,
    )


def wait(entry: Entry, wanted: Wait) -> None:
    """Have a run wait: its lease is over, and it goes on holding its conversation."""
    entry.run = replace(entry.run, status=RunStatus.WAITING, wait=wanted)
    entry.owner, entry.lease_until = None, wanted.until


def end(room: Room, log: Log, entry: Entry, ending: Ending, *, now: int) -> None:
    """End a run: its lease is over, what its steps brought is in the messages and forgotten here."""
    entry.run = replace(entry.run, status=ending.status, failure=ending.failure, wait=None, ended_at=now)
    entry.owner, entry.lease_until = None, 0
    entry.steps = {path: replace(step, output="") for path, step in entry.steps.items()}
    log.unfinished.remove(entry)
    if not log.unfinished:
        del room.busy[log.row.id]
    if entry.run.stop is Stop.ROLLBACK:
        first = entry.run.input_number
        # Behind it stands nothing but what this run, or a failed one before it, has done in answer.
        mark(log, range(first, log.row.head + 1) if first else range(0), Flag.WITHDRAWN, now=now)
