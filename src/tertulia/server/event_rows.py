"""How the events of a run are told: each as one block of a ``text/event-stream``."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final, get_args

from tertulia.events import (
    Event,
    Numbered,
    ReasoningDelta,
    RunFinished,
    RunWaiting,
    TextDelta,
    TurnFinished,
)
from tertulia.messages import clean_text
from tertulia.server.lists import as_json
from tertulia.server.run_rows import error_of, message_row, usage_row, wait_row


def told_as(numbered: Numbered, **more: object) -> bytes:
    """Return an event as it goes over the wire, under the number by which a stream is resumed.

    ``more`` is what is to be found out beside what it says itself.
    """
    event = numbered.event
    row = event_row(event) | more
    try:
        told = as_json(row)
    except TypeError:  # half a surrogate pair, which a model has sent in two pieces
        told = as_json(_whole(row))
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (numbered.seq, _KINDS[type(event)], told)


def block(kind: str, told: Mapping[str, object]) -> bytes:
    """Return something that is no event of the run, and moves no client's place in it."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), as_json(told))


def event_row(event: Event) -> dict[str, object]:
    """Return an event with its type."""
    return {"type": event.kind, **_ROWS.get(type(event), _plain)(event)}


def _whole(row: Mapping[str, object]) -> dict[str, object]:
    return {name: clean_text(value) if isinstance(value, str) else value for name, value in row.items()}


def _plain(event: Event) -> dict[str, object]:
    return {field.name: getattr(event, field.name) for field in fields(event)}


def _delta(event: TextDelta | ReasoningDelta) -> dict[str, object]:
    return {"text": event.text, "author": event.author}


def _turn_finished(event: TurnFinished) -> dict[str, object]:
    return {"turn": event.turn, "message": message_row(event.message)}


def _waiting(event: RunWaiting) -> dict[str, object]:
    return {
        "run_id": event.run_id,
        "conversation_id": event.conversation_id,
        "wait": wait_row(event.wait),
    }


def _finished(event: RunFinished) -> dict[str, object]:
    return {
        "object": "run",
        "id": event.run_id,
        "conversation_id": event.conversation_id,
        "status": event.status,
        "error": error_of(event.failure, run_id=event.run_id, conversation=event.conversation_id),
        "usage": usage_row(event.usage),
        "finish_reason": event.finish_reason or None,
        "messages": [message_row(message) for message in event.messages],
    }


_ROWS: Final[Mapping[type[Event], Callable[[Any], dict[str, object]]]] = {
    TextDelta: _delta,
    ReasoningDelta: _delta,
    TurnFinished: _turn_finished,
    RunWaiting: _waiting,
    RunFinished: _finished,
}
_KINDS: Final[Mapping[type[Event], bytes]] = {kind: kind.kind.encode() for kind in get_args(Event)}
