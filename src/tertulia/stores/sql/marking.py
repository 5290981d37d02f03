"""Marks on messages: withdrawn, erased; and what follows for those who share them."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, delete, literal_column, null, select, update

from tertulia import ids
from tertulia.errors import ConversationBusy, NotFound
from tertulia.messages import Flag, now_us
from tertulia.parts import encode_content
from tertulia.stores.sql import standing, states
from tertulia.stores.sql.schema import CONVERSATIONS, FRAMES, MESSAGES, RUNS, SEGMENTS
from tertulia.stores.sql.statements import Connection, Row, Statement, listed, places, size_for

_C: Final = CONVERSATIONS.c
_M: Final = MESSAGES.c
_S: Final = SEGMENTS.c
_CHUNK: Final = 64
"""Rows that are changed in one statement."""

_SHARERS: Final = select(_S.conversation_id).where(
    _S.tenant == bindparam("tenant"),
    _S.source_conversation_id == bindparam("conversation"),
    _S.to_number >= bindparam("least"),
)
_LOCK_SHARERS: Final = Statement(
    select(_C.id)
    .where(_C.tenant == bindparam("tenant"), _C.id.in_(_SHARERS))
    .order_by(_C.id)
    .with_for_update()
)
_RUN: Final = (RUNS.c.tenant == bindparam("tenant"), RUNS.c.id == bindparam("run"))
_INPUT: Final = Statement(select(RUNS.c.input_number).where(*_RUN))
_SUCCESSOR: Final = Statement(select(RUNS.c.successor).where(*_RUN))
_DROP_FRAMES: Final = Statement(
    delete(FRAMES).where(FRAMES.c.tenant == bindparam("tenant"), FRAMES.c.run_id == bindparam("run"))
)


@cache
def _mark(flag: Flag, size: int) -> Statement:
    """Return the statement that marks up to ``size`` messages and returns those that were not marked."""
    bit: ColumnElement[int] = literal_column(str(int(flag)))
    erased = {"author": null(), "content": bindparam("nothing")} if flag is Flag.DELETED else {}
    return Statement(
        update(MESSAGES)
        .where(
            _M.tenant == bindparam("tenant"),
            _M.conversation_id == bindparam("conversation"),
            _M.number.in_(places(size, prefix="at")),
            _M.flags.bitwise_and(bit) == literal_column("0"),
        )
        .values(flags=_M.flags.bitwise_or(bit), **erased)
        .returning(_M.number, _M.run_id)
    )


@cache
def _raise(flag: Flag, size: int) -> Statement:
    """Return the statement that notes in up to ``size`` conversations that something written has changed."""
    erased = {"title": null()} if flag is Flag.DELETED else {}  # it may have been cut from the message
    return Statement(
        update(CONVERSATIONS)
        .where(_C.tenant == bindparam("tenant"), _C.id.in_(places(size, prefix="touched")))
        .values(version=_C.version + literal_column("1"), updated_at=bindparam("at"), **erased)
    )


async def mark(db: Connection, tenant: int, conversation_id: str, numbers: Sequence[int], flag: Flag) -> bool:
    """Mark messages of a locked conversation that are its own; return whether any was not marked so.

    The version of the conversation rises then, and that of every branch that shares one of these.
    """
    touched = await _touched(db, tenant, conversation_id, numbers, flag)
    await _raise_versions(db, tenant, touched, flag)
    return bool(touched)


async def mark_owned(db: Connection, tenant: int, owned: Mapping[str, Collection[int]], flag: Flag) -> None:
    """Lock conversations and mark messages of theirs, as :func:`mark` does; no version rises twice.

    Raises :class:`~tertulia.errors.ConversationBusy` if a run that holds one is at work on one of them.
    """
    touched: set[bytes] = set()
    for owner in sorted(owned):
        numbers = sorted(owned[owner])
        await _lock_idle(db, tenant, owner, numbers)
        touched |= await _touched(db, tenant, owner, numbers, flag)
    await _raise_versions(db, tenant, touched, flag)


async def _lock_idle(db: Connection, tenant: int, conversation_id: str, numbers: Sequence[int]) -> None:
    """Lock a conversation; raises ``ConversationBusy`` if its holder said or answers one of these."""
    held = await standing.locked(db, tenant, conversation_id)
    if held is None:
        raise NotFound("there is no such conversation")
    if held.holder is None:
        return
    row = await db.one(_INPUT, {"tenant": tenant, "run": ids.to_bytes(held.holder)})
    # Whatever comes after the message that the holder answers, the holder has said.
    if row is not None and row[0] <= max(numbers):
        raise ConversationBusy("a run is at work on one of these messages; stop it, or wait")


async def _touched(
    db: Connection, tenant: int, conversation_id: str, numbers: Sequence[int], flag: Flag
) -> set[bytes]:
    """Mark messages; return the conversations that show one that has changed, all locked now."""
    key: dict[str, Any] = {"tenant": tenant, "conversation": ids.to_bytes(conversation_id)}
    changed = await _marked(db, key, numbers, flag)
    if not changed:
        return set()
    if flag is Flag.DELETED:
        await _drop_frames(db, tenant, changed)
    least = min(number for number, _ in changed)
    return {key["conversation"], *await _locked_sharers(db, {**key, "least": least})}


async def _raise_versions(db: Connection, tenant: int, touched: Collection[bytes], flag: Flag) -> None:
    listing, at = sorted(touched), now_us()
    for start in range(0, len(listing), _CHUNK):
        chunk = listing[start : start + _CHUNK]
        size = size_for(len(chunk))
        params = {"tenant": tenant, "at": at, **listed(chunk, prefix="touched", size=size)}
        await db.run(_raise(flag, size), params)
    await states.drop_views(db, tenant, listing)


async def _marked(db: Connection, key: dict[str, Any], numbers: Sequence[int], flag: Flag) -> list[Row]:
    """Set the flag; return number and run of the messages on which it was not set."""
    changed: list[Row] = []
    for start in range(0, len(numbers), _CHUNK):
        chunk = numbers[start : start + _CHUNK]
        size = size_for(len(chunk))
        params = {**key, **listed(chunk, prefix="at", size=size), "nothing": encode_content(())}
        changed += await db.all(_mark(flag, size), params)
    return changed


async def _locked_sharers(db: Connection, sought: dict[str, Any]) -> set[bytes]:
    """Lock all branches that share a message from number ``least`` on, and return them.

    While one of them is waited for, another branch may have been made of it: they are looked up
    until there are no more. Of those that are locked none can be made.
    """
    found: set[bytes] | None = None
    while True:
        rows = await db.all(_LOCK_SHARERS, sought)
        seen, found = found, {bytes(row[0]) for row in rows}
        if not found or found == seen:
            return found


async def _drop_frames(db: Connection, tenant: int, erased: Sequence[Row]) -> None:
    """Delete the events of the runs that said these messages or were asked by them."""
    gone: set[bytes] = set()
    for _, run_id in erased:
        run = run_id
        while run is not None and bytes(run) not in gone:
            gone.add(bytes(run))
            key = {"tenant": tenant, "run": bytes(run)}
            await db.run(_DROP_FRAMES, key)
            # What a failed run was asked, the one that took its place was asked as well.
            row = await db.one(_SUCCESSOR, key)
            run = None if row is None else row[0]
