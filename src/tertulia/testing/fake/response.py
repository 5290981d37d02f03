"""OpenAI's Responses: an answer of the fake model in their form."""

import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from itertools import count
from typing import Final, Literal, TypeAlias

import orjson
from typing_extensions import override

from tertulia.testing.fake.said import FAILURE, MODEL, Said, fresh_id, pieces, tokens_of
from tertulia.testing.fake.wire import Answer, Request

Item: TypeAlias = dict[str, object]
Status: TypeAlias = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]

SEALED: Final = "sealed-"
"""How encrypted thoughts begin."""
ENDED: Final = frozenset({"completed", "incomplete", "failed", "cancelled"})
_HEAD: Final = 90
"""Bytes of an event that its kind lies within."""
_REASONS: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ECHOED: Final[Request] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response repeats of its request, and what it tells where that says nothing."""


class ResponseAnswer(Answer):
    """What the model says, as a Response or the events that make one."""

    def __init__(self, said: Said, *, request: Request, asked: int, cached: int = 0) -> None:
        self._said, self._asked, self._cached = said.named(), asked, cached
        self._request = request
        self._numbers = count()
        self._created = int(time.time())
        self.id = fresh_id("resp")
        self.output: list[Item] = _items(self._said)
        self.ends: Status = _status(self._said)

    @override
    def whole(self) -> bytes:
        return self._said.sent(orjson.dumps(self.state(self.ends)))

    @override
    def events(self, size: int) -> Iterator[bytes]:
        yield self.event("response.created", response=self.state("in_progress"))
        yield from self.work(size)

    @override
    def broken(self) -> bytes:
        return self.event("error", code="server_error", message=FAILURE, param=None)

    @override
    def is_word(self, event: bytes) -> bool:
        return b".delta\n" in event[:_HEAD]

    def is_last(self, event: bytes) -> bool:
        """Whether an event is the one that ends the stream."""
        return event.startswith(b"event: response.%s\n" % self.ends.encode())

    def queued(self) -> Iterator[bytes]:
        """Yield the events that tell that work will begin."""
        yield self.event("response.created", response=self.state("queued"))
        yield self.event("response.queued", response=self.state("queued"))

    def work(self, size: int) -> Iterator[bytes]:
        """Yield the events that follow the first."""
        yield self.event("response.in_progress", response=self.state("in_progress"))
        for index, item in enumerate(self.output):
            for event in self._item(item, index, size):
                yield self._said.sent(event)
        last = self.event(f"response.{self.ends}", response=self.state(self.ends))
        yield self._said.sent(last)

    def event(self, kind: str, **more: object) -> bytes:
        """Return an event under the next number."""
        told = orjson.dumps({"type": kind, "sequence_number": next(self._numbers), **more})
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), told)

    def state(self, status: Status) -> dict[str, object]:
        """Return the Response as it is in a status."""
        request, is_said = self._request, status in ("completed", "incomplete")
        repeated = {name: request.get(name, default) for name, default in _ECHOED.items()}
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": bool(request.get("background")),
            "completed_at": int(time.time()) if status == "completed" else None,
            "error": _failure(self._said) if status == "failed" else None,
            "incomplete_details": _incomplete(self._said) if status == "incomplete" else None,
            "model": MODEL,
            "output": self.output if is_said else [],
            "conversation": _conversation(request),
            "usage": self._usage() if is_said else None,
            **repeated,
            "text": {"format": {"type": "text"}} | (request.get("text") or {}),
        }

    def _usage(self) -> dict[str, object]:
        said = self._said.tokens
        return {
            "input_tokens": self._asked,
            "input_tokens_details": {"cached_tokens": self._cached, "cache_write_tokens": 0},
            "output_tokens": said,
            "output_tokens_details": {"reasoning_tokens": tokens_of(self._said.reasoning)},
            "total_tokens": self._asked + said,
        }

    def _item(self, item: Item, index: int, size: int) -> Iterator[bytes]:
        tell = {"message": self._message, "reasoning": self._thought, "function_call": self._call}
        begun = item | _BEGINNINGS[str(item["type"])]
        yield self.event("response.output_item.added", output_index=index, item=begun)
        yield from tell[str(item["type"])](item, index, size)
        yield self.event("response.output_item.done", output_index=index, item=item)

    def _message(self, item: Item, index: int, size: int) -> Iterator[bytes]:
        for place, part in enumerate(item["content"]):  # type: ignore[arg-type,var-annotated]  # made below
            where = {"item_id": item["id"], "output_index": index, "content_index": place}
            field = "text" if part["type"] == "output_text" else "refusal"
            kind = f"response.{part['type']}"
            more: Item = {"logprobs": []} if field == "text" else {}
            yield self.event("response.content_part.added", **where, part=part | {field: ""})
            for piece in pieces(part[field], size):
                yield self.event(f"{kind}.delta", **where, delta=piece, **more)
            yield self.event(f"{kind}.done", **where, **{field: part[field]}, **more)
            yield self.event("response.content_part.done", **where, part=part)

    def _thought(self, item: Item, index: int, size: int) -> Iterator[bytes]:
        for place, part in enumerate(item["summary"]):  # type: ignore[arg-type,var-annotated]  # made below
            where = {"item_id": item["id"], "output_index": index, "summary_index": place}
            kind = "response.reasoning_summary"
            yield self.event(f"{kind}_part.added", **where, part=part | {"text": ""})
            for piece in pieces(part["text"], size):
                yield self.event(f"{kind}_text.delta", **where, delta=piece)
            yield self.event(f"{kind}_text.done", **where, text=part["text"])
            yield self.event(f"{kind}_part.done", **where, part=part)

    def _call(self, item: Item, index: int, size: int) -> Iterator[bytes]:
        where = {"item_id": item["id"], "output_index": index}
        arguments, kind = str(item["arguments"]), "response.function_call_arguments"
        for piece in pieces(arguments, size):
            yield self.event(f"{kind}.delta", **where, delta=piece)
        yield self.event(f"{kind}.done", **where, arguments=arguments)


_BEGINNINGS: Final[dict[str, Item]] = {
    "message": {"status": "in_progress", "content": []},
    "reasoning": {"summary": [], "encrypted_content": ""},
    "function_call": {"status": "in_progress", "arguments": ""},
}
"""What is different in an item when it is told of first."""


def _items(said: Said) -> list[Item]:
    if said.is_nothing or said.failure:
        return []
    items: list[Item] = []
    status = "incomplete" if _status(said) == "incomplete" else "completed"
    if said.reasoning:
        items.append(
            {
                "id": fresh_id("rs"),
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": said.reasoning}],
                "encrypted_content": SEALED + urlsafe_b64encode(said.reasoning.encode()).decode(),
            }
        )
    if said.text or not (said.calls or said.refusal):
        text: Item = {"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}
        items.append(_says(text, status))
    if said.refusal:
        items.append(_says({"type": "refusal", "refusal": said.refusal}, status))
    for call in said.calls:
        named = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
        items.append({"id": fresh_id("fc"), "type": "function_call", "status": status, **named})
    return items


def _says(part: Item, status: str) -> Item:
    return {
        "id": fresh_id("msg"),
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [part],
    }


def _status(said: Said) -> Status:
    if said.failure:
        return "failed"
    return "incomplete" if said.ends in _REASONS else "completed"


def _failure(said: Said) -> dict[str, object]:
    return {"code": said.failure, "message": FAILURE}


def _incomplete(said: Said) -> dict[str, object]:
    return {"reason": _REASONS[said.ends]}


def _conversation(request: Request) -> dict[str, object] | None:
    named = request.get("conversation")
    return {"id": named} if isinstance(named, str) else named
