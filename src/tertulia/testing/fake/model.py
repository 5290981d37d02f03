"""What the fake model server does next: its dials, its script, its faults and what it has kept."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson

from tertulia.llms.base import Finished
from tertulia.parts import ToolCall
from tertulia.testing.fake.filling import filled
from tertulia.testing.fake.keeping import Kept, Shelf
from tertulia.testing.fake.said import Said, filler
from tertulia.testing.fake.wire import JSON, Request
from tertulia.testing.faults import Fault, Kind

FakeReply: TypeAlias = (
    str | ToolCall | Said | Finished | Exception | Fault | Mapping[str, object] | list[Any] | tuple[Any, ...]
)
Scripted: TypeAlias = FakeReply | Callable[[Request], FakeReply]

_KEPT_REQUESTS: Final = 1000
_DIALS: Final = frozenset(
    {
        "latency",
        "tps",
        "reply_chars",
        "chunk_chars",
        "keeps_requests",
        "strict",
        "background_seconds",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One call of the model, whatever its wire."""

    request: Request
    marks: int
    """How often ``[[`` stands in all that the model is shown."""
    schema: object = None
    """JSON Schema that the answer is to meet."""
    tool: tuple[str, object] | None = None
    """A tool that must be called, and the JSON Schema of its arguments."""


class FakeModel:
    """Decides what is answered; the settings of :class:`~tertulia.testing.fake_openai.FakeOpenAI`."""

    def __init__(self) -> None:
        self.latency = self.tps = self.background_seconds = 0.0
        self.reply_chars, self.chunk_chars = 400, 4
        self.keeps_requests = self.strict = True
        self.shelf = Shelf()
        self._script: deque[Scripted] = deque()
        self._faults: list[Fault] = []
        self._is_holding = False
        self.reset()

    def reset(self) -> None:
        """Forget what was asked; settings, script, faults and kept answers stay."""
        self.calls = self.open = self.max_open = self.faulted = self.aborted = 0
        self.fetches = self.embeddings = self.conversed = 0
        self._bodies: deque[bytes] = deque(maxlen=_KEPT_REQUESTS)
        self._by_message: Counter[str] = Counter()

    @property
    def requests(self) -> list[Request]:
        """The newest thousand bodies of calls, decoded, oldest first."""
        return [orjson.loads(body) for body in self._bodies]

    @property
    def working(self) -> int:
        """How many answers are being worked on in the background."""
        return sum(not kept.is_over for kept in self.shelf.answers.values())

    @property
    def is_told(self) -> bool:
        """Whether it was told what to say next, or to take its time."""
        return bool(self._script or self.latency or self.tps)

    @property
    def has_faults(self) -> bool:
        """Whether a fault may strike."""
        return bool(self._faults)

    def script(self, replies: Iterable[Scripted]) -> None:
        """Answer the next calls, on whatever wire, with these, one entry a call.

        An entry is a text, a value to say as JSON, a :class:`~tertulia.parts.ToolCall` or a list of
        them, a :class:`~tertulia.testing.fake.said.Said` or a
        :class:`~tertulia.llms.base.Finished` to decide on everything, an exception that the client is
        to raise, a :class:`~tertulia.testing.faults.Fault`, or a function of the request's body that
        returns one of these.
        """
        self._script.extend(replies)

    def fault(self, kind: str, **settings: object) -> None:
        """Commit a fault on the next call; ``times``, ``every`` and the rest as in :class:`Fault`."""
        self._faults.append(Fault.parse({"kind": kind, **settings}))

    def clear_faults(self) -> None:
        """Behave from now on."""
        self._faults.clear()

    def expire(self, wanted: str | None = None) -> None:
        """Forget a kept answer or conversation, or all of them: who asks for it gets a 404."""
        self.shelf.expire(wanted)

    def hold(self) -> None:
        """Let the background answers that are asked for from now on wait until they are released."""
        self._is_holding = True

    def release(self, wanted: str | None = None) -> None:
        """Let a background answer go on, or all of them and those to come."""
        if wanted is None:
            self._is_holding = False
        for name, kept in self.shelf.answers.items():
            if wanted in (None, name):
                kept.released.set()

    def keep(self, kept: Kept) -> None:
        """Keep an answer that is asked for, and let the work on it begin, unless it is held."""
        self.shelf.add(kept)
        if not self._is_holding:
            kept.released.set()

    def stats(self) -> Mapping[str, object]:
        """Return the counts since the last reset, among them calls by the newest user message's text."""
        return {
            "calls": self.calls,
            "open": self.open,
            "max_open": self.max_open,
            "faulted": self.faulted,
            "aborted": self.aborted,
            "fetches": self.fetches,
            "embeddings": self.embeddings,
            "working": self.working,
            "by_message": dict(self._by_message),
        }

    def control(self, wanted: Mapping[str, object]) -> None:
        """Set things as ``POST /__control`` does: any setting, ``faults``, ``script``, ``reset``,
        ``hold``, and ``release`` and ``expire`` with an id or ``true`` for all.

        In a script, ``{"$said": {...}}`` stands for a ``Said`` and ``{"$fault": {...}}`` for a fault.
        """
        for name in _DIALS & wanted.keys():
            setattr(self, name, wanted[name])
        faults, script = wanted.get("faults"), wanted.get("script")
        # All are made first, so that a wrong one changes nothing.
        made = [Fault.parse(fault) for fault in faults] if isinstance(faults, list) else self._faults
        said = deque(_from_outside(entry) for entry in script) if isinstance(script, list) else self._script
        self._faults, self._script = made, said
        if wanted.get("reset"):
            self.reset()
        if wanted.get("hold"):
            self.hold()
        for name, act in (("release", self.release), ("expire", self.expire)):
            if given := wanted.get(name):
                act(given if isinstance(given, str) else None)

    def called(self, body: bytes, newest: Callable[[], str]) -> Fault | None:
        """Take note of a call, and of the newest user message; return the fault that strikes it."""
        self.calls += 1
        if self.keeps_requests:
            self._bodies.append(body)
            self._by_message[newest()] += 1
        return self._struck("call", self.calls, body)

    def fetched(self, path: bytes) -> Fault | None:
        """Take note that a kept answer is asked for; return the fault that strikes."""
        self.fetches += 1
        return self._struck("fetch", self.fetches, path)

    def embedded(self, body: bytes) -> Fault | None:
        """Take note that vectors are asked for; return the fault that strikes."""
        self.embeddings += 1
        return self._struck("embed", self.embeddings, body)

    def converse(self, body: bytes) -> Fault | None:
        """Take note that something is done to conversations; return the fault that strikes."""
        self.conversed += 1
        return self._struck("converse", self.conversed, body)

    def reply(self, asked: Asked) -> Said | Fault:
        """Return what is said to a call, or the fault that the script has instead."""
        if self._script:
            entry = self._script.popleft()
            return _said_by(entry(asked.request) if callable(entry) else entry)
        if asked.tool:
            name, schema = asked.tool
            return Said(calls=(ToolCall(id="", name=name, arguments=_json(filled(schema))),))
        if asked.schema is not None:
            return Said(text=_json(filled(asked.schema)))
        return Said(text=filler(asked.marks, self.reply_chars))

    async def stop_working(self) -> None:
        """End all work in the background."""
        works = [kept.work for kept in self.shelf.answers.values() if kept.work]
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    def _struck(self, kind: Kind, number: int, body: bytes) -> Fault | None:
        """Return the fault whose turn it is, and count it."""
        for fault in self._faults:
            if fault.on == kind and fault.strikes(number, body):
                self.faulted += 1
                return fault
        return None


def _said_by(entry: FakeReply) -> Said | Fault:
    if isinstance(entry, Said | Fault):
        return entry
    if isinstance(entry, str):
        return Said(text=entry)
    if isinstance(entry, Finished):
        return Said.of(entry)
    if isinstance(entry, Exception):
        return Fault.of(entry)
    calls = (entry,) if isinstance(entry, ToolCall) else entry
    if isinstance(calls, list | tuple) and calls and all(isinstance(call, ToolCall) for call in calls):
        return Said(calls=tuple(calls))
    return Said(text=_json(entry))


def _from_outside(entry: JSON) -> Scripted:
    match entry:
        case {"$said": dict(given)} if len(entry) == 1:
            calls = tuple(ToolCall(**({"id": ""} | call)) for call in given.get("calls", ()))
            return Said(**(given | {"calls": calls}))
        case {"$fault": dict(given)} if len(entry) == 1:
            return Fault.parse(given)
        case _:
            return entry  # type: ignore[no-any-return]  # any JSON may be said


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
