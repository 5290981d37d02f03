"""A server that answers as a provider does, in pieces of any number, and costs next to nothing itself.

``python -m benchmarks.replay`` listens on a free port, which is the first line of its output. What is
posted to ``/WIRE/PIECES/…`` is answered on that wire, ``/last`` with what was posted last: its path in
the first line, its body behind it.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from tertulia.testing.fake.chat import ChatAnswer
from tertulia.testing.fake.completion import CompletionAnswer
from tertulia.testing.fake.response import ResponseAnswer
from tertulia.testing.fake.said import Said
from tertulia.testing.fake.sent import STREAM_END, STREAM_HEAD, framed, response
from tertulia.testing.fake.wire import Answer

PIECE: Final = "word"
RECORDED: Final = {"anthropic": 3, "cohere": 2, "google": 0, "groq": 1, "huggingface": 1, "mistral": 1}
"""Providers with recorded exchanges, and which event of their stream says something."""

_EXCHANGES: Final = Path(__file__).parents[1] / "tests" / "llms" / "exchanges"
_DONE: Final = b"data: [DONE]\n\n"
_TOKENS: Final = 20
_HEAD_END: Final = b"\r\n\r\n"


def answer(wire: str, pieces: int, *, streams: bool) -> bytes:
    """Return a whole HTTP response of so many pieces of text."""
    if not streams:
        return response(200, _whole(wire))
    return STREAM_HEAD + b"".join(framed(event) for event in _events(wire, pieces)) + STREAM_END


def _whole(wire: str) -> bytes:
    if wire in RECORDED:
        return json.dumps(_exchanges(wire)["plain"]).encode()
    return _ours(wire, 1).whole()


def _events(wire: str, pieces: int) -> Iterator[bytes]:
    if wire not in RECORDED:
        yield from _ours(wire, pieces).events(len(PIECE))
        return
    events, spoken = _exchanges(wire)["stream"], RECORDED[wire]
    for place, event in enumerate(events):
        named = f"event: {event['type']}\n" if "type" in event else ""
        written = f"{named}data: {json.dumps(event)}\n\n".encode()
        yield from [written] * (pieces if place == spoken else 1)
    if wire not in {"anthropic", "google"}:
        yield _DONE


def _ours(wire: str, pieces: int) -> Answer:
    said = Said(text=PIECE * pieces)
    if wire == "openai":
        return ResponseAnswer(said, request={}, asked=_TOKENS)
    if wire == "openai-completions":
        return CompletionAnswer(said, asked=_TOKENS, wants_usage=True)
    return ChatAnswer(said, asked=_TOKENS, wants_usage=True)


@lru_cache
def _exchanges(provider: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((_EXCHANGES / f"{provider}.json").read_text(encoding="utf-8"))
    return found


_prepared = lru_cache(answer)


class _Replay:
    """Answers connections, one request after another."""

    def __init__(self) -> None:
        self._last = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the caller goes away."""
        try:
            while True:
                head = await reader.readuntil(_HEAD_END)
                body = await reader.readexactly(_length(head))
                writer.write(self._answer(head.split(b" ", 2)[1], body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _answer(self, path: bytes, body: bytes) -> bytes:
        if path == b"/last":
            return response(200, self._last)
        self._last = path + b"\n" + body
        _, wire, pieces, rest = path.decode().split("/", 3)
        streams = "streamGenerateContent" in rest or b'"stream":true' in body or b'"stream": true' in body
        return _prepared(wire, int(pieces), streams=streams)


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


async def _serve() -> None:
    server = await asyncio.start_server(_Replay().serve, "127.0.0.1", 0, limit=2**24)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
