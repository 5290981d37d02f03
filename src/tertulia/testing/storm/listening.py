"""What is heard of a run from outside: its events, over as many connections as it takes."""

from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass, field
from typing import Final

import orjson

_RESUME: Final = "stream.resume"


@dataclass(frozen=True, slots=True)
class Told:
    """An event as it came over the wire; one that moves no place in the stream has no number."""

    number: int | None
    kind: str
    value: dict[str, object]


@dataclass
class Heard:
    """A run as somebody knows it who listens: begun with this message, its own Idempotency-Key.

    ``faults`` are the promises of a stream that were broken before our ears.
    """

    conversation: str
    text: str
    options: dict[str, object] = field(default_factory=dict)
    """Further fields of the request."""
    run_id: str | None = None
    told: list[Told] = field(default_factory=list)
    """The events that have a number."""
    spoken: str = ""
    """The answer, piece by piece."""
    kept: str | None = None
    """The answer as it is kept."""
    status: str | None = None
    """How the run has ended."""
    resumptions: int = 0
    """How often we were asked to go on elsewhere."""
    faults: list[str] = field(default_factory=list)

    @property
    def last(self) -> int | None:
        """Number of the newest event."""
        return self.told[-1].number if self.told else None

    @property
    def places(self) -> list[tuple[int | None, str]]:
        """Number and kind of every event."""
        return [(each.number, each.kind) for each in self.told]

    def has(self, kind: str) -> bool:
        """Whether such an event has come."""
        return any(each.kind == kind for each in self.told)

    def take(self, told: Told) -> None:
        """Take an event in."""
        self.run_id = self.run_id or _run_of(told)
        self.resumptions += told.kind == _RESUME
        if told.number is None:
            return
        if self.last is not None and told.number <= self.last:
            self.faults.append(f"event {told.number} came after {self.last}")
        self.told.append(told)
        match told.kind:
            case "text.delta":
                self.spoken += str(told.value["text"])
            case "step.restarted":
                self.spoken = ""
            case "turn.finished":
                self._finish_turn(text_of(told.value["message"]))
            case "run.finished":
                self.status = str(told.value["status"])

    def _finish_turn(self, kept: str) -> None:
        self.kept = kept
        if self.spoken != kept:
            self.faults.append(f"heard {self.spoken!r}, kept is {kept!r}")


def _run_of(told: Told) -> str | None:
    found = told.value.get("run_id")
    return found if isinstance(found, str) else None


def text_of(message: object) -> str:
    """Return what a message says, as the interface shows it."""
    assert isinstance(message, dict)
    return "".join(part["text"] for part in message["content"])


async def events(lines: AsyncIterable[bytes]) -> AsyncGenerator[Told, None]:
    """Yield the events of a ``text/event-stream``."""
    number, kind, value = None, "", b""
    async for raw in lines:
        line = raw.rstrip(b"\r\n")
        name, _, rest = line.partition(b":")
        if name == b"id":
            number = int(rest)
        elif name == b"event":
            kind = rest.strip().decode()
        elif name == b"data":
            value = rest
        elif not line and kind:
            yield Told(number, kind, orjson.loads(value))
            number, kind, value = None, "", b""
