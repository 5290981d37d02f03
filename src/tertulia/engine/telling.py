"""Events as they are stored: the short form of a frame, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

import orjson

from tertulia.conversations import Frame, Run, Wait
from tertulia.events import (
    Event,
    Numbered,
    ProviderFailed,
    ReasoningDelta,
    RunFinished,
    RunStarted,
    RunWaiting,
    StepRestarted,
    TextDelta,
    ToolCalled,
    ToolFinished,
    TurnFinished,
    TurnStarted,
)
from tertulia.messages import Message


class Recall(Protocol):
    """Looks up what events only name: messages and ends stand in tables of their own."""

    async def message(self, number: int) -> Message | None:
        """Return a message of the run's conversation; None if it is gone."""
        ...

    async def end(self) -> RunFinished:
        """Return how the run has ended; what it has closed, and why its model stopped, its event tells."""
        ...


def encode(events: Sequence[Numbered]) -> Frame:
    """Return consecutive events as one frame.

    Its text is a JSON list: first who speaks, then every event. A delta of theirs is its bare text;
    one that is the whole of a message which the frame tells of as well is that message's number. A
    delta of what they think is its text in a list of its own.
    """
    deltas = (each.event for each in events if isinstance(each.event, TextDelta | ReasoningDelta))
    author = next((delta.author for delta in deltas), "")
    whole = {
        each.event.message.text: each.event.message.number
        for each in events
        if isinstance(each.event, TurnFinished) and each.event.message.author == author
    }
    kept = [author, *(_short(each.event, author, whole) for each in events)]
    return Frame(first_seq=events[0].seq, last_seq=events[-1].seq, data=_text(kept))


async def decode(frame: Frame, run: Run, recall: Recall, *, after: int) -> list[Numbered]:
    """Return the events of a frame that come after a number."""
    author, *kept = orjson.loads(frame.data)
    found = []
    for seq, short in enumerate(kept, start=frame.first_seq):
        if seq > after:
            event = await _long(short, author, run, recall)
            if event is not None:
                found.append(Numbered(seq, event))
    return found


_FIELDS: Final[Mapping[type[Event], tuple[str, ...]]] = {
    RunStarted: ("input_number", "epoch"),
    TurnStarted: ("turn", "author", "reason"),
    StepRestarted: ("path",),
    TextDelta: ("text", "author"),
    ReasoningDelta: ("text", "author"),
    ToolCalled: ("turn", "author", "call_id", "name", "arguments"),
    ToolFinished: ("turn", "author", "call_id", "name", "text", "is_error"),
    ProviderFailed: ("provider", "stage", "message"),
}
"""What is kept of the events that stand for themselves."""
_BY_KIND: Final = {event.kind: event for event in _FIELDS}
_END: Final = ("closed", "finish_reason")
_WAIT: Final = ("kind", "path", "message", "until", "subject")


def _short(event: Event, author: str, whole: Mapping[str, int]) -> object:
    match event:
        case TextDelta(text=text) if event.author == author:
            return whole.get(text, text)
        case ReasoningDelta(text=text) if event.author == author:
            return [text]
        case TurnFinished():
            return [event.kind, event.turn, event.message.number]
        case RunWaiting():
            return [event.kind, *_waits(event.wait)]
        case RunFinished():
            return [event.kind, event.status, *_ends(event)]
        case _:
            return [event.kind, *(getattr(event, name) for name in _FIELDS[type(event)])]


async def _long(short: object, author: str, run: Run, recall: Recall) -> Event | None:
    """Return a stored event; None for one that is gone, or that a newer version has written."""
    match short:
        case str() | int():
            return await _delta(short, author, recall)
        case [RunFinished.kind, _, *rest]:
            ends: dict[str, Any] = dict(zip(_END, rest, strict=False))
            return replace(await recall.end(), **{"closed": None, **ends})
        case [TurnFinished.kind, int(turn), int(number)]:
            message = await recall.message(number)
            return None if message is None else TurnFinished(turn=turn, message=message)
        case [RunWaiting.kind, *rest]:
            wait: dict[str, Any] = dict(zip(_WAIT, rest, strict=False))
            return RunWaiting(run_id=run.id, conversation_id=run.conversation_id, wait=Wait(**wait))
        case [str(kind), *rest]:
            return _plain(kind, rest, author, run)
    return None


def _ends(end: RunFinished) -> list[object]:
    """Return what is kept of an end that no table tells, as far as there is anything to tell."""
    if end.finish_reason:
        return [end.closed, end.finish_reason]
    return [] if end.closed is None else [end.closed]


def _waits(wait: Wait) -> list[object]:
    """Return what is kept of a wait; what it is about only where that is known."""
    kept = [getattr(wait, name) for name in _WAIT]
    return kept if wait.subject else kept[:-1]


async def _delta(short: str | int, author: str, recall: Recall) -> Event | None:
    if isinstance(short, str):
        return TextDelta(text=short, author=author)
    said = await recall.message(short)
    return None if said is None else TextDelta(text=said.text, author=author)


def _plain(first: str, kept: Sequence[object], author: str, run: Run) -> Event | None:
    """Return an event that stands for itself; what stands alone is what somebody thought."""
    if not kept:
        return ReasoningDelta(text=first, author=author)
    kind = _BY_KIND.get(first)
    if kind is None:
        return None
    made: dict[str, Any] = dict(zip(_FIELDS[kind], kept, strict=True))
    if kind is RunStarted:
        made |= {"run_id": run.id, "conversation_id": run.conversation_id}
    return kind(**made)


def _text(kept: list[object]) -> str:
    try:
        return orjson.dumps(kept).decode()
    except TypeError:  # half a surrogate pair, which a model has sent in two pieces
        return orjson.dumps([_whole(each) for each in kept]).decode()


def _whole(value: object) -> object:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    return [_whole(each) for each in value] if isinstance(value, list) else value
