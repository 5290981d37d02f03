"""Taking requests in: once per idempotency key, and failed ones again."""

from dataclasses import replace
from typing import Final

from sqlalchemy import bindparam, delete, select, update

from tertulia import ids
from tertulia.conversations import Accepted, Claimant, Run, Submission
from tertulia.errors import NotFound
from tertulia.messages import now_us
from tertulia.stores import rules
from tertulia.stores.sql import placing, standing
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
_SUCCEED: Final = Statement(
    update(RUNS)
    .where(RUNS.c.tenant == bindparam("tenant"), RUNS.c.id == bindparam("run"))
    .values(successor=bindparam("new_successor"))
)


async def accept(db: Connection, submission: Submission, claimant: Claimant | None) -> Accepted:
    """Do what :meth:`RunStore.accept` promises."""
    named = submission.conversation
    there = await _existing(db, submission)
    if submission.key is not None:
        scopes = rules.key_scopes(named, existing=there)
        earlier = await _take_key(db, submission, scopes)
        if earlier is not None:
            return await _repeated(db, submission, earlier, claimant)
    if there is None:
        if isinstance(named, str):
            raise NotFound("there is no such conversation")
        there = await standing.make(db, submission.tenant, named)
    held = await standing.locked(db, submission.tenant, there)
    if held is None:
        raise NotFound("there is no such conversation")
    rules.admit(held.standing, multitask=submission.multitask, expected_head=submission.expected_head)
    new = NewRun(
        run_id=submission.run_id,
        performer=submission.performer,
        options=submission.options,
        message_id=submission.message_id,
        tokens=submission.tokens,
        content=submission.content,
    )
    run, claim = await placing.place(db, held, new, claimant)
    return Accepted(run=run, conversation=held.conversation, claim=claim)


async def _existing(db: Connection, submission: Submission) -> str | None:
    """Return the id of the conversation that is named, if it is there; an id is not looked up yet."""
    named = submission.conversation
    if isinstance(named, str):
        return await standing.resolved(db, submission.tenant, named)
    return await standing.existing(db, submission.tenant, named)


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
    held, run, tokens = await _newest_on_its_message(db, submission.tenant, raw)
    verdict = rules.repeat(run, held.standing, request_hash=submission.request_hash, stored_hash=stored_hash)
    if verdict == "join":
        return Accepted(run=run, conversation=held.conversation, is_new=False)
    renewed = replace(run, performer=submission.performer, options=submission.options)
    return await _again(db, (held, renewed, tokens), submission.run_id, claimant)


async def retry(db: Connection, tenant: int, names: tuple[str, str], claimant: Claimant) -> Accepted:
    """Do what :meth:`RunStore.retry` promises; ``names`` are the failed and the new run's id."""
    failed, new = names
    held, run, tokens = await _newest_on_its_message(db, tenant, ids.sought(failed), follow=False)
    rules.check_repeatable(run, held.standing)
    return await _again(db, (held, run, tokens), new, claimant)


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
    while row is not None and follow and row[18] is not None:
        row = await db.one(_RUN, {"tenant": tenant, "run": row[18]})
    if row is None:
        raise NotFound("there is no such run")
    return held, run_of(row), row[19]


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
