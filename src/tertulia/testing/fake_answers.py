"""What the fake model server says: the bytes of answers, whole or streamed, and of failures."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import orjson

MODEL: Final = "fake-1"
DONE: Final = b"data: [DONE]\n\n"
DIRTY: Final = b"nul \\u0000 and half a pair \\ud83d in it"
STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
STREAM_END: Final = b"0\r\n\r\n"

_FILLER: Final = "The quick brown fox jumps over the lazy dog, and the dog sleeps on. "
_WANTS_STREAM: Final = re.compile(rb'"stream"\s*:\s*true')
_WANTS_USAGE: Final = re.compile(rb'"include_usage"\s*:\s*true')
_MARK: Final = b"[["
_CHARACTERS_PER_TOKEN: Final = 4
_PLACEHOLDER: Final = "\ue000"


def wants_stream(body: bytes) -> bool:
    """Whether a request asks for a stream."""
    return _WANTS_STREAM.search(body) is not None


def wants_usage(body: bytes) -> bool:
    """Whether a request asks for its usage in the stream."""
    return _WANTS_USAGE.search(body) is not None


def default_reply(body: bytes, characters: int) -> str:
    """Return ``m=<marks> `` and filler: how often ``[[`` stands in what the model was sent."""
    return _filled(body.count(_MARK), characters)


@lru_cache(maxsize=1024)
def _filled(marks: int, characters: int) -> str:
    head = f"m={marks} "
    missing = max(0, characters - len(head))
    return head + (_FILLER * (missing // len(_FILLER) + 1))[:missing]


def response(status: int, body: bytes, *, headers: bytes = b"", kind: bytes = b"application/json") -> bytes:
    """Return a whole HTTP response."""
    head = b"HTTP/1.1 %d Fake\r\ncontent-type: %s\r\ncontent-length: %d\r\n%s\r\n"
    return head % (status, kind, len(body), headers) + body


def framed(piece: bytes) -> bytes:
    """Return a piece of a body as HTTP's chunked form wants it."""
    return b"%x\r\n%s\r\n" % (len(piece), piece)


def whole(text: str, asked: int) -> bytes:
    """Return an answer that is not streamed."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return orjson.dumps(_envelope("chat.completion") | {"choices": [choice], "usage": _usage(text, asked)})


def events(text: str, size: int) -> Iterator[bytes]:
    """Yield the events of a stream in pieces of ``size`` characters, without usage and without end."""
    yield _event({"role": "assistant", "content": ""})
    for start in range(0, len(text), size):
        yield _event({"content": text[start : start + size]})
    yield _event({}, "stop")


@lru_cache(maxsize=1024)
def all_events(text: str, size: int) -> bytes:
    """Return :func:`events` in one piece, remembered."""
    return b"".join(events(text, size))


def usage_event(text: str, asked: int) -> bytes:
    """Return the event that tells the usage of a stream."""
    chunk = _envelope("chat.completion.chunk") | {"choices": [], "usage": _usage(text, asked)}
    return b"data: %s\n\n" % orjson.dumps(chunk)


def dirty_event() -> bytes:
    """Return an event whose text no encoder writes: with a NUL and half a surrogate pair."""
    return _event({"content": _PLACEHOLDER}).replace(_PLACEHOLDER.encode(), DIRTY)


def dirty_whole(asked: int) -> bytes:
    """Return an answer with the text of :func:`dirty_event`."""
    return whole(_PLACEHOLDER, asked).replace(_PLACEHOLDER.encode(), DIRTY)


def no_choices() -> bytes:
    """Return an answer without any choice."""
    return orjson.dumps(_envelope("chat.completion") | {"choices": []})


def failure(message: str, *, kind: str, code: str | None = None) -> bytes:
    """Return an error object as OpenAI sends it."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def models() -> bytes:
    """Return the list of models."""
    only = {"id": MODEL, "object": "model", "created": 1, "owned_by": "fake"}
    return orjson.dumps({"object": "list", "data": [only]})


def _event(delta: dict[str, str], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return b"data: %s\n\n" % orjson.dumps(_envelope("chat.completion.chunk") | {"choices": [choice]})


def _envelope(kind: str) -> dict[str, object]:
    return {"id": "chatcmpl-fake", "object": kind, "created": 1, "model": MODEL}


def _usage(text: str, asked: int) -> dict[str, object]:
    said = -(-len(text) // _CHARACTERS_PER_TOKEN)
    return {
        "prompt_tokens": asked,
        "completion_tokens": said,
        "total_tokens": asked + said,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
