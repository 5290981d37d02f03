"""Between rows and the data that the rest of the house works with."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from sqlalchemy import Column, Table, bindparam, insert

from tertulia import ids
from tertulia.conversations import Conversation, Lease, Run, RunStatus, Step, Stop, Wait
from tertulia.definitions import AgentDefinition, StoredAgent
from tertulia.errors import Failure
from tertulia.messages import Flag, Message
from tertulia.parts import Part, decode_content
from tertulia.stores.sql.schema import AGENT_VERSIONS, AGENTS, CONVERSATIONS, MESSAGES, RUNS, STEPS
from tertulia.stores.sql.statements import Row, Statement
from tertulia.usage import Usage

HIDDEN: Final = 1
"""In ``conversations.flags``: lists leave it out."""

_AMOUNTS: Final = (
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "model_calls",
    "wasted_calls",
    "tool_calls",
    "reasoning_tokens",
    "cost",
    "unpriced_calls",
)
"""Of usage, by their places in its list; what comes later goes to the end."""

AGENT_COLUMNS = (
    AGENTS.c.tenant,
    AGENTS.c.id,
    AGENT_VERSIONS.c.version,
    AGENT_VERSIONS.c.definition,
    AGENTS.c.created_at,
)

CONVERSATION_COLUMNS: tuple[Column[Any], ...] = tuple(
    CONVERSATIONS.c[name]
    for name in [
        "tenant",
        "id",
        "agent_id",
        "agent_version",
        "alias",
        "user_id",
        "parent_id",
        "base",
        "flags",
        "head",
        "tokens",
        "version",
        "lineage_id",
        "first_message",
        "state",
        "closed",
        "created_at",
        "updated_at",
    ]
)

MESSAGE_COLUMNS: tuple[Column[Any], ...] = tuple(
    MESSAGES.c[name]
    for name in ["number", "id", "run_id", "turn", "role", "author", "content", "flags", "created_at"]
)

RUN_COLUMNS: tuple[Column[Any], ...] = tuple(
    RUNS.c[name]
    for name in [
        "tenant",
        "id",
        "conversation_id",
        "n",
        "status",
        "performer",
        "epoch",
        "attempt",
        "agent_version",
        "options",
        "input_message_id",
        "input_number",
        "last_number",
        "usage",
        "cancel_requested",
        "waiting",
        "error",
        "created_at",
        "started_at",
        "ended_at",
    ]
)

STEP_COLUMNS: tuple[Column[Any], ...] = tuple(
    STEPS.c[name]
    for name in [
        "path",
        "kind",
        "identity",
        "output",
        "usage",
        "external_id",
        "started_at",
        "ended_at",
    ]
)


def inserting(table: Table, **fixed: Any) -> Statement:
    """Return the statement that inserts a row; a column that is not given a literal is a parameter."""
    return Statement(insert(table).values({c.name: fixed.get(c.name, bindparam(c.name)) for c in table.c}))


def agent_of(row: Row) -> StoredAgent:
    """Return the agent of a row of ``AGENT_COLUMNS``."""
    tenant, ident, version, definition, created_at = row
    return StoredAgent(
        id=ids.from_bytes(ids.AGENT, ident),
        tenant=tenant,
        version=version,
        definition=AgentDefinition.decode(definition),
        created_at=created_at,
    )


def conversation_of(row: Row) -> Conversation:
    """Return the conversation of a row that begins with ``CONVERSATION_COLUMNS``."""
    (
        tenant,
        ident,
        agent_id,
        agent_version,
        alias,
        user_id,
        parent,
        base,
        flags,
        head,
        tokens,
        version,
        lineage,
        first,
        state,
        closed,
        at,
        updated_at,
    ) = row[: len(CONVERSATION_COLUMNS)]
    return Conversation(
        tenant=tenant,
        id=ids.from_bytes(ids.CONVERSATION, ident),
        agent_id=ids.from_bytes(ids.AGENT, agent_id),
        agent_version=agent_version,
        alias=alias,
        user_id=user_id,
        parent_id=None if parent is None else ids.from_bytes(ids.CONVERSATION, parent),
        base=base,
        is_hidden=bool(flags & HIDDEN),
        head=head,
        tokens=tokens,
        version=version,
        lineage_id=ids.from_bytes(ids.CONVERSATION, lineage),
        first_message=first,
        state=state,
        closed=closed,
        created_at=at,
        updated_at=updated_at,
    )


def message_of(row: Row) -> Message:
    """Return the message of a row of ``MESSAGE_COLUMNS``."""
    number, ident, run_id, turn, role, author, content, flags, created_at = row
    return Message(
        id=ids.from_bytes(ids.MESSAGE, ident),
        role=role,
        content=decode_content(content),
        author=author,
        number=number,
        run_id=None if run_id is None else ids.from_bytes(ids.RUN, run_id),
        turn=turn,
        flags=Flag(flags),
        created_at=created_at,
    )


def run_of(row: Row) -> Run:
    """Return the run of a row that begins with ``RUN_COLUMNS``."""
    (
        tenant, ident, conversation, n, status, performer, epoch, attempt, agent_version, options, message,
        input_number, last_number, usage, stop, waiting, error, created_at, started_at, ended_at,
    ) = row[: len(RUN_COLUMNS)]  # fmt: skip
    return Run(
        tenant=tenant,
        id=ids.from_bytes(ids.RUN, ident),
        conversation_id=ids.from_bytes(ids.CONVERSATION, conversation),
        n=n,
        status=RunStatus(status),
        performer=performer,
        epoch=epoch,
        attempt=attempt,
        agent_version=agent_version,
        options=decode_options(options),
        input_message_id=ids.from_bytes(ids.MESSAGE, message),
        input_number=input_number,
        last_number=last_number,
        usage=decode_usage(usage),
        stop=Stop(stop),
        wait=decode_wait(waiting),
        failure=decode_failure(error),
        created_at=created_at,
        started_at=started_at,
        ended_at=ended_at,
    )


def step_of(row: Row) -> Step:
    """Return the step of a row of ``STEP_COLUMNS``."""
    path, kind, identity, output, usage, external_id, started_at, ended_at = row
    return Step(
        path=path,
        kind=kind,
        identity=bytes(identity),
        output=output or "",
        usage=decode_usage(usage),
        external_id=external_id,
        started_at=started_at,
        ended_at=ended_at,
    )


def input_message(run: Run, content: tuple[Part, ...], *, number: int, at: int) -> Message:
    """Return the numbered message that a run answers."""
    return Message(
        id=run.input_message_id, role="user", content=content, number=number, run_id=run.id, created_at=at
    )


def message_params(tenant: int, conversation: bytes, message: Message, content: str) -> dict[str, Any]:
    """Return the parameters that insert a message."""
    return {
        "tenant": tenant,
        "conversation_id": conversation,
        "number": message.number,
        "id": ids.to_bytes(message.id),
        "run_id": None if message.run_id is None else ids.to_bytes(message.run_id),
        "turn": message.turn,
        "role": message.role,
        "author": message.author,
        "content": content,
        "flags": int(message.flags),
        "created_at": message.created_at,
    }


def step_params(lease: Lease, step: Step, *, output: str | None) -> dict[str, Any]:
    """Return the parameters that insert a step."""
    return {
        "tenant": lease.tenant,
        "run_id": ids.to_bytes(lease.run_id),
        "path": step.path,
        "epoch": lease.epoch,
        "kind": step.kind,
        "identity": step.identity,
        "external_id": step.external_id,
        "output": output,
        "usage": encode_usage(step.usage),
        "started_at": step.started_at,
        "ended_at": step.ended_at,
    }


def encode_usage(usage: Usage) -> str | None:
    """Return usage as a short JSON list; None for nothing."""
    return None if usage == Usage() else spell_usage(usage)


def spell_usage(usage: Usage) -> str:
    """Return usage as a short JSON list, also where it is nothing; zeros at its end are left off."""
    amounts = [getattr(usage, name) for name in _AMOUNTS]
    while amounts and not amounts[-1]:
        amounts.pop()
    return orjson.dumps(amounts).decode()


def decode_usage(kept: str | None) -> Usage:
    """Return what :func:`encode_usage` was given."""
    if kept is None:
        return Usage()
    given: dict[str, Any] = dict(zip(_AMOUNTS, orjson.loads(kept), strict=False))
    return Usage(**given)


def encode_options(options: Mapping[str, object]) -> str | None:
    """Return a run's options as JSON text; None for nothing."""
    return orjson.dumps(dict(options)).decode() if options else None


def decode_options(kept: str | None) -> Mapping[str, object]:
    """Return what :func:`encode_options` was given."""
    found: Mapping[str, object] = orjson.loads(kept) if kept else {}
    return found


def encode_wait(wait: Wait | None) -> str | None:
    """Return what a run waits for as JSON text; None for nothing."""
    return None if wait is None else orjson.dumps(wait).decode()


def decode_wait(kept: str | None) -> Wait | None:
    """Return what :func:`encode_wait` was given."""
    return Wait(**orjson.loads(kept)) if kept else None


def encode_failure(failure: Failure | None) -> str | None:
    """Return a failure as JSON text; None for nothing."""
    return None if failure is None else orjson.dumps(failure).decode()


def decode_failure(kept: str | None) -> Failure | None:
    """Return what :func:`encode_failure` was given."""
    return Failure(**orjson.loads(kept)) if kept else None
