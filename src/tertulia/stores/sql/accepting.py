"""Taking requests in: once per idempotency key, and failed ones again."""

from dataclasses import replace
from typing import Final

from sqlalchemy import bindparam, delete, select, update

from tertulia import ids
from tertulia.conversations import (
    Accepted,
    Branch,
    Claimant,
    NewConversation,
    Once,
    Run,
    RunStatus,
    Stop,
    Submission,
)
from tertulia.errors import IdempotencyMismatch, NotFound
from tertulia.messages import now_us
from tertulia.stores import rules
from tertulia.stores.sql import branching, closing, once, placing, standing, stopping
from tertulia.stores.sql.placing import NewRun
from tertulia.stores.sql.rows import RUN_COLUMNS, run_of
from tertulia.stores.sql.schema import IDEMPOTENCY, RUNS
from tertulia.stores.sql.standing import Held
from tertulia.stores.sql.statements import Connection, Statement, inserting_once

_I: Final = IDEMPOTENCY.c
_KEY: Final = (
    _I.tenant == bindparam("tenant"),
    _I.scope == bindparam("scope"),
    _I.key == bindparam("key"),
)
_FORGET: Final = Statement(delete(IDEMPOTENCY).where(*_KEY, _I.expires <= bindparam("at")))
_TAKE: Final = inserting_once(IDEMPOTENCY, _I.run_id)
_TAKEN: Final = Statement(select(_I.run_id, _I.request_hash).where(*_KEY))
_RUN: Final = Statement(
    select(*RUN_COLUMNS, RUNS.c.successor, RUNS.c.input_tokens).where(
        RUNS.c.tenant == bindparam("tenant"), RUNS.c.id == bindparam("run")
    )
)
_SUCCESSOR: Final = len(RUN_COLUMNS)
_SUCCEED: Final = Statement(
    update(RUNS)
    .where(RUNS.c.tenant == bindparam("tenant"), RUNS.c.id == bindparam("run"))
    .values(successor=bindparam("new_successor"))
)


async def accept(db: Connection, submission: Submission, claimant: Claimant | None) -> Accepted:
    """Do what :meth:`RunStore.accept` promises."""
    named, tenant = submission.conversation, submission.tenant
    there = await _existing(db, tenant, named)
    if there is None and isinstance(named, NewConversation) and named.alias is not None:
        # Before its key is looked for: where many make it at once, one id is the scope of them all.
        there = await standing.make(db, tenant, named)
    if submission.key is not None:
        scopes = rules.key_scopes(named, existing=there)
        earlier = await _take_key(db, submission, scopes)
        if earlier is not None:
            return await _repeated(db, submission, earlier, claimant)
    held = await _taking_in(db, tenant, named, there)
    rules.admit(
        held.standing,
        multitask=submission.multitask,
        expected_head=submission.expected_head,
        reopens=submission.reopens,
    )
    await closing.open_again(db, held)
    new = NewRun(
        run_id=submission.run_id,
        performer=submission.performer,
        options=submission.options,
        message_id=submission.message_id,
        tokens=submission.tokens,
        content=submission.content,
    )
    run, claim = await placing.place(db, held, new, claimant)
    accepted = Accepted(run=run, conversation=held.conversation, claim=claim)
    how = rules.stop_for(submission.multitask)
    if how is Stop.NONE or held.holder is None:
        return accepted
    return await _making_room(db, accepted, held.holder, how, claimant)


async def _existing(db: Connection, tenant: int, named: str | NewConversation | Branch) -> str | None:
    """Return the id of the conversation that is named, if it is there; an id is not looked up yet.

    Of a branch it is its source's.
    """
    if isinstance(named, NewConversation):
        return await standing.existing(db, tenant, named)
    return await standing.resolved(db, tenant, named if isinstance(named, str) else named.source)


async def _taking_in(
    db: Connection, tenant: int, named: str | NewConversation | Branch, there: str | None
) -> Held:
    """Lock the conversation that the run will stand in, made if need be."""
    if isinstance(named, Branch):
        return await _branch(db, tenant, named, there)
    if there is None and isinstance(named, NewConversation):
        there = await standing.make(db, tenant, named)
    return await _locked(db, tenant, there)


async def _branch(db: Connection, tenant: int, branch: Branch, source: str | None) -> Held:
    held = await _locked(db, tenant, source)
    if rules.appends(branch, held.standing):
        return held
    return await _locked(db, tenant, await branching.make(db, tenant, branch))


async def _locked(db: Connection, tenant: int, conversation_id: str | None) -> Held:
    held = None if conversation_id is None else await standing.locked(db, tenant, conversation_id)
    if held is None:
        raise NotFound("there is no such conversation")
    return held


async def _making_room(
    db: Connection, accepted: Accepted, holder: str, how: Stop, claimant: Claimant | None
) -> Accepted:
    """Stop the run that holds the conversation; start the first in the queue if that has ended it."""
    run = accepted.run
    left, stopped = await stopping.stop(db, run.tenant, holder, how, claimant)
    claim = stopped.next
    if claim is not None and claim.run.id == run.id:
        run = claim.run
    return Accepted(
        run=run,
        conversation=left.conversation if claim is None else claim.conversation,
        claim=claim,
        stops=holder if stopped.run.status is RunStatus.RUNNING else None,
    )


async def _take_key(
    db: Connection, submission: Submission, scopes: tuple[str, ...]
) -> tuple[bytes, bytes] | None:
    """Note the request's key; return run and digest of the earlier request if it is noted already."""
    at = now_us()
    for place, scope in enumerate(scopes):
        params = {
            "tenant": submission.tenant,
            "scope": ids.to_bytes(scope),
            "key": submission.key,
            "request_hash": submission.request_hash,
            "resource": ids.to_bytes(submission.message_id),
            "run_id": ids.to_bytes(submission.run_id),
            "expires": at + rules.KEY_LIFE_US,
            "at": at,
        }
        await db.run(_FORGET, params)
        if await db.one(_TAKE, params) is None and place == 0:
            row = await db.one(_TAKEN, params)
            if row is not None:
                return bytes(row[0]), bytes(row[1])
    return None


async def _repeated(
    db: Connection, submission: Submission, earlier: tuple[bytes, bytes], claimant: Claimant | None
) -> Accepted:
    raw, stored_hash = earlier
    if stored_hash != submission.request_hash or raw == once.NO_RUN:  # it need not be a run's
        raise IdempotencyMismatch
    held, run, tokens = await _newest_on_its_message(db, submission.tenant, raw)
    verdict = rules.repeat(
        run,
        held.standing,
        request_hash=submission.request_hash,
        stored_hash=stored_hash,
        fate=await _fate(db, held, run),
        reopens=submission.reopens,
    )
    if verdict == "join":
        return Accepted(run=run, conversation=held.conversation, is_new=False)
    await closing.open_again(db, held)
    renewed = replace(run, performer=submission.performer, options=submission.options)
    return await _again(db, (held, renewed, tokens), submission.run_id, claimant)


async def retry(
    db: Connection, tenant: int, names: tuple[str, str], claimant: Claimant, *, key: Once | None = None
) -> Accepted:
    """Do what :meth:`RunStore.retry` promises; ``names`` are the failed and the new run's id."""
    failed, new = names
    held, run, tokens = await _newest_on_its_message(db, tenant, ids.sought(failed), follow=False)
    earlier = None if key is None else await once.taken(db, tenant, run.id, key, new)
    if earlier is not None:
        found = await standing.run_found(db, tenant, earlier)
        return Accepted(run=found, conversation=held.conversation, is_new=False)
    rules.check_open(held.standing)
    rules.check_repeatable(run, held.standing, await _fate(db, held, run))
    return await _again(db, (held, run, tokens), new, claimant)


async def _fate(db: Connection, held: Held, run: Run) -> rules.Fate:
    """Return what has become of the message of a failed run since; of no other it is asked."""
    if run.status is not RunStatus.FAILED or not run.input_number:
        return rules.Fate(is_newest=False)
    said = await placing.said_at(db, held.conversation, run.input_number)
    if run.input_number == held.standing.head:
        return rules.Fate(flags=said.flags)
    newest = await placing.said_at(db, held.conversation, held.standing.head)
    if newest.run_id is None:
        return rules.Fate(flags=said.flags, is_newest=False)
    row = await db.one(_RUN, {"tenant": run.tenant, "run": ids.to_bytes(newest.run_id)})
    return rules.Fate(flags=said.flags, is_newest=row is not None and rules.went_before(run_of(row), run))


async def _newest_on_its_message(
    db: Connection, tenant: int, raw: bytes, *, follow: bool = True
) -> tuple[Held, Run, int]:
    """Lock the run's conversation; return the newest run on the same message and the message's tokens."""
    key = {"tenant": tenant, "run": raw}
    row = await db.one(_RUN, key)
    if row is None:
        raise NotFound("there is no such run")
    held = await standing.locked(db, tenant, run_of(row).conversation_id)
    if held is None:
        raise NotFound("there is no such conversation")
    row = await db.one(_RUN, key)  # again, now that nobody else can change it
    while row is not None and follow and row[_SUCCESSOR] is not None:
        row = await db.one(_RUN, {"tenant": tenant, "run": row[_SUCCESSOR]})
    if row is None:
        raise NotFound("there is no such run")
    return held, run_of(row), row[_SUCCESSOR + 1]


async def _again(
    db: Connection, failed: tuple[Held, Run, int], run_id: str, claimant: Claimant | None
) -> Accepted:
    """Put a new run on the message of a failed one, with the performer and options it says."""
    held, earlier, tokens = failed
    new = NewRun(
        run_id=run_id,
        performer=earlier.performer,
        options=earlier.options,
        message_id=earlier.input_message_id,
        tokens=tokens,
        content=None,
        number=earlier.input_number,
    )
    run, claim = await placing.place(db, held, new, claimant)
    await db.run(
        _SUCCEED,
        {"tenant": run.tenant, "run": ids.to_bytes(earlier.id), "new_successor": ids.to_bytes(run.id)},
    )
    return Accepted(run=run, conversation=held.conversation, claim=claim)
