"""How runs, and what belongs to them, are shown under ``/v1``."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import orjson

from tertulia.conversations import Conversation, Run, Step, StoredJob, Wait
from tertulia.engine import VERDICTS
from tertulia.engine.journal import MODEL
from tertulia.errors import Failure, TertuliaError
from tertulia.messages import Flag, Message, to_datetime
from tertulia.parts import Part, Reasoning, encode_part
from tertulia.server.errors import told
from tertulia.usage import Usage

_CENTS: Final = 9
"""Digits after the point of what something cost, in US dollars."""


def run_row(run: Run, said: Iterable[Message] | None = None) -> dict[str, object]:
    """Return a run, with what was said in it if that is given."""
    row: dict[str, object] = {
        "object": "run",
        "id": run.id,
        "conversation_id": run.conversation_id,
        "n": run.n,
        "status": run.status,
        "stop": run.stop.name.lower() if run.stop else None,
        "wait": None if run.wait is None else wait_row(run.wait),
        "error": error_of(run.failure, run_id=run.id, conversation=run.conversation_id),
        "input": {"message_id": run.input_message_id, "number": run.input_number or None},
        "performer": run.performer,
        "agent_version": run.agent_version,
        "settings": run.options.get("settings", {}),
        "limits": run.options.get("limits", {}),
        "metadata": run.options.get("metadata", {}),
        "attempt": run.attempt,
        "usage": usage_row(run.usage),
        "created_at": to_datetime(run.created_at),
        "started_at": _time(run.started_at),
        "ended_at": _time(run.ended_at),
    }
    return row if said is None else row | {"messages": [message_row(message) for message in said]}


def error_of(failure: Failure | None, *, run_id: str, conversation: str) -> dict[str, object] | None:
    """Return the problem document of what ended a run."""
    if failure is None:
        return None
    return told(TertuliaError.of(failure, run_id=run_id), conversation=conversation)


def usage_row(usage: Usage) -> dict[str, object]:
    """Return what something cost."""
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "model_calls": usage.model_calls,
        "wasted_calls": usage.wasted_calls,
        "tool_calls": usage.tool_calls,
        "cost_usd": round(usage.cost, _CENTS),
        "unpriced_calls": usage.unpriced_calls,
    }


def wait_row(wait: Wait) -> dict[str, object]:
    """Return what a run waits for, with the verdicts that let it go on."""
    return {
        "kind": wait.kind,
        "path": wait.path,
        "message": wait.message,
        "subject": orjson.loads(wait.subject) if wait.subject else None,
        "until": to_datetime(wait.until),
        "verdicts": VERDICTS[wait.kind],
    }


def message_row(message: Message) -> dict[str, object]:
    """Return a message; what waits for its number has null there.

    What was thought before it was said stands apart, and what only its provider reads is left out.
    """
    return {
        "object": "message",
        "id": message.id,
        "number": message.number or None,
        "role": message.role,
        "author": message.author,
        "content": [_part(part) for part in message.content if not isinstance(part, Reasoning)],
        "reasoning": [part.text for part in message.content if isinstance(part, Reasoning) and part.text],
        "run_id": message.run_id,
        "turn": message.turn,
        "withdrawn": bool(message.flags & Flag.WITHDRAWN),
        "incomplete": bool(message.flags & Flag.INCOMPLETE),
        "deleted": bool(message.flags & Flag.DELETED),
        "created_at": to_datetime(message.created_at),
    }


def step_row(step: Step) -> dict[str, object]:
    """Return a step as it is journaled; outputs are let go of when a run ends.

    What only its provider reads of a model's answer is left out.
    """
    return {
        "object": "step",
        "path": step.path,
        "kind": step.kind,
        "output": _output(step),
        "external_id": step.external_id,
        "usage": usage_row(step.usage),
        "started_at": to_datetime(step.started_at),
        "ended_at": _time(step.ended_at),
    }


def conversation_row(conversation: Conversation) -> dict[str, object]:
    """Return a conversation."""
    return {
        "object": "conversation",
        "id": conversation.id,
        "alias": conversation.alias,
        "agent_id": conversation.agent_id,
        "agent_version": conversation.agent_version,
        "user_id": conversation.user_id,
        "parent_id": conversation.parent_id,
        "base": conversation.base,
        "hidden": conversation.is_hidden,
        "head": conversation.head,
        "closed": conversation.closed,
        "version": conversation.version,
        "created_at": to_datetime(conversation.created_at),
    }


def job_row(stored: StoredJob) -> dict[str, object]:
    """Return a job, without what it is to be done with."""
    return {
        "object": "job",
        "id": stored.job.id,
        "kind": stored.job.kind,
        "status": stored.status,
        "conversation_id": stored.conversation_id,
        "run_id": stored.run_id,
        "attempt": stored.attempt,
        "due_at": _time(stored.due_at),
        "error": stored.error,
        "created_at": to_datetime(stored.created_at),
    }


def _output(step: Step) -> object:
    kept = orjson.loads(step.output) if step.output else None
    if step.kind != MODEL or not isinstance(kept, dict):
        return kept
    return {
        name: [*map(_readable, value)] if isinstance(value, list) else value for name, value in kept.items()
    }


def _readable(part: object) -> object:
    if not isinstance(part, dict):
        return part
    return {name: value for name, value in part.items() if name != "opaque"}


def _part(part: Part) -> object:
    return _readable(encode_part(part))


def _time(microseconds: int | None) -> datetime | None:
    return to_datetime(microseconds) if microseconds else None
