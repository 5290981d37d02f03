"""What the fake model server keeps: answers that can be asked for again, and conversations."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import orjson

from tertulia.testing.fake.response import ENDED, Item, ResponseAnswer, Status
from tertulia.testing.fake.said import fresh_id, marks
from tertulia.testing.fake.sent import Wrong
from tertulia.testing.fake.wire import Request

_MOST: Final = 2000


@dataclass(slots=True)
class Kept:
    """One answer that can be asked for by its id, perhaps still being worked on."""

    answer: ResponseAnswer
    request: Request
    context: list[Item]
    """What was said before, by whoever."""
    input: list[Item]
    status: Status = "queued"
    events: list[bytes] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the work may begin."""
    work: asyncio.Task[None] | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ENDED

    def items(self) -> list[Item]:
        """Return all that was said, up to and with this answer."""
        return [*self.context, *self.input, *self.output()]

    def output(self) -> list[Item]:
        """Return what it says so far."""
        return self.answer.output if self.status in ("completed", "incomplete") else []

    def told(self) -> bytes:
        """Return it as it is now, as JSON."""
        return orjson.dumps(self.answer.state(self.status))

    def tell(self, event: bytes) -> None:
        """Add an event for those who follow."""
        self.events.append(event)
        self._wake()

    def become(self, status: Status) -> None:
        """Take note of a new status, unless it is over."""
        if not self.is_over:
            self.status = status
            self._wake()

    def cancel(self) -> None:
        """End the work, if there is any."""
        self.become("cancelled")
        if self.work:
            self.work.cancel()

    async def follow(self, *, after: int = -1) -> AsyncGenerator[bytes, None]:
        """Yield the events whose number is greater, as they come, to the last one."""
        place = after + 1
        while True:
            changed = self._changed
            for event in self.events[place:]:
                yield event
            place = max(place, len(self.events))
            if self.is_over and place >= len(self.events):
                return
            if changed is self._changed:
                await changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


@dataclass(slots=True, kw_only=True)
class Talk:
    """One conversation that the server keeps."""

    id: str
    created: int
    metadata: object
    items: list[Item] = field(default_factory=list)
    holder: object = None
    """The call that is being answered in it; there is one at a time."""

    def hold(self, call: object) -> None:
        """Let a call be answered in it; raises ``Wrong`` while another one is."""
        if self.holder not in (None, call):
            raise Wrong(
                "Another process is currently operating on this conversation. Please retry in a few seconds.",
                param="conversation",
                code="conversation_locked",
            )
        self.holder = call

    def told(self) -> bytes:
        """Return what is told of it, as JSON."""
        named = {"id": self.id, "object": "conversation"}
        return orjson.dumps(named | {"created_at": self.created, "metadata": self.metadata})


class Shelf:
    """Answers and conversations by their ids."""

    def __init__(self) -> None:
        self.answers: dict[str, Kept] = {}
        self.talks: dict[str, Talk] = {}

    def add(self, kept: Kept) -> None:
        """Keep an answer; of very many, the oldest are forgotten."""
        self.answers[kept.answer.id] = kept
        if len(self.answers) > _MOST:
            self.expire(next(iter(self.answers)))

    def expire(self, wanted: str | None = None) -> None:
        """Forget the answer or conversation of this id, or all; what is under way is stopped."""
        for name in [wanted] if wanted else list(self.answers):
            if kept := self.answers.pop(name, None):
                kept.cancel()
        for name in [wanted] if wanted else list(self.talks):
            self.talks.pop(name, None)

    def answer(self, name: str) -> Kept:
        """Return the answer of this id; raises ``Wrong``."""
        if name not in self.answers:
            raise Wrong(f"Response with id '{name}' not found.", status=404)
        return self.answers[name]

    def talk(self, name: str) -> Talk:
        """Return the conversation of this id; raises ``Wrong``."""
        if name not in self.talks:
            raise Wrong(f"Conversation with id '{name}' not found.", status=404)
        return self.talks[name]

    def talk_of(self, request: Request) -> Talk | None:
        """Return the conversation that a request belongs to."""
        named = request.get("conversation")
        if isinstance(named, dict):
            named = named.get("id")
        return self.talk(str(named)) if named else None

    def context(self, request: Request) -> list[Item]:
        """Return what was said before a request, as far as the server keeps it; raises ``Wrong``."""
        if talk := self.talk_of(request):
            return list(talk.items)
        previous = request.get("previous_response_id")
        if not previous:
            return []
        if previous not in self.answers:
            raise Wrong(
                f"Previous response with id '{previous}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        return self.answers[previous].items()

    def thought_before(self, name: object) -> object:
        """Return the id of the thought that an item of a kept answer goes with, if it is the next."""
        for kept in self.answers.values():
            for thought, item in pairwise(kept.output()):
                if item.get("id") == name and thought.get("type") == "reasoning":
                    return thought["id"]
        return None

    def item(self, name: object) -> Item | None:
        """Return a kept item by its id."""
        for kept in self.answers.values():
            for item in (*kept.input, *kept.output()):
                if item.get("id") == name:
                    return item
        for talk in self.talks.values():
            for item in talk.items:
                if item.get("id") == name:
                    return item
        return None


def items_of(given: object) -> list[Item]:
    """Return the items of an ``input``, each with an id, in the long form."""
    if isinstance(given, str):
        return [_long({"role": "user", "content": given})]
    return [_long(item) for item in given if isinstance(item, dict)] if isinstance(given, list) else []


def marks_in(items: list[Item]) -> int:
    """Return how often ``[[`` stands in items."""
    return marks(orjson.dumps(items))


def _long(item: Item) -> Item:
    kind = item.get("type") or "message"
    if kind != "message":
        ids = {"function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}
        return {"id": fresh_id(ids.get(str(kind), "item")), "status": "completed", **item}
    content = item.get("content")
    if isinstance(content, str):
        is_ours = item.get("role") == "assistant"
        text = {"type": "output_text", "annotations": []} if is_ours else {"type": "input_text"}
        content = [{**text, "text": content}]
    return {"id": fresh_id("msg"), "status": "completed", **item, "type": "message", "content": content}
