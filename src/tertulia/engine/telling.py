"""Events as they are stored: the short form of a frame, and back."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import orjson

from tertulia.conversations import Frame, Run, Wait
from tertulia.events import (
    Event,
    Numbered,
    RunFinished,
    RunStarted,
    RunWaiting,
    StepRestarted,
    TextDelta,
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
        """Return how the run has ended."""
        ...


def encode(events: Sequence[Numbered]) -> Frame:
    """Return consecutive events as one frame.

    Its text is a JSON list: first who speaks, then every event. A delta of theirs is its bare text;
    one that is the whole of a message which the frame tells of as well is that message's number.
    """
    author = next((each.event.author for each in events if isinstance(each.event, TextDelta)), "")
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
}
"""What is kept of the events that stand for themselves."""
_BY_KIND: Final = {event.kind: event for event in _FIELDS}


def _short(event: Event, author: str, whole: Mapping[str, int]) -> object:
    match event:
        case TextDelta(text=text) if event.author == author:
            return whole.get(text, text)
        case TurnFinished():
            return [event.kind, event.turn, event.message.number]
        case RunWaiting():
            wait = event.wait
            return [event.kind, wait.kind, wait.path, wait.message, wait.until]
        case RunFinished():
            return [event.kind, event.status]
        case _:
            return [event.kind, *(getattr(event, name) for name in _FIELDS[type(event)])]


async def _long(short: object, author: str, run: Run, recall: Recall) -> Event | None:
    """Return a stored event; None for one that is gone, or that a newer version has written."""
    match short:
        case str() | int():
            return await _delta(short, author, recall)
        case [RunFinished.kind, *_]:
            return await recall.end()
        case [TurnFinished.kind, int(turn), int(number)]:
            message = await recall.message(number)
            return None if message is None else TurnFinished(turn=turn, message=message)
        case [RunWaiting.kind, *rest]:
            wait: dict[str, Any] = dict(zip(("kind", "path", "message", "until"), rest, strict=True))
            return RunWaiting(run_id=run.id, conversation_id=run.conversation_id, wait=Wait(**wait))
        case [str(kind), *rest] if kind in _BY_KIND:
            return _plain(_BY_KIND[kind], rest, run)
    return None


async def _delta(short: str | int, author: str, recall: Recall) -> Event | None:
    if isinstance(short, str):
        return TextDelta(text=short, author=author)
    said = await recall.message(short)
    return None if said is None else TextDelta(text=said.text, author=author)


def _plain(kind: type[Event], kept: Sequence[object], run: Run) -> Event:
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
