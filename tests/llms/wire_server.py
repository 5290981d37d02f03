"""A local server that answers as one provider does, from recorded exchanges, and checks what it is asked."""

import asyncio
import json
import zlib
from collections import deque
from pathlib import Path
from struct import pack
from typing import Any, Final, Self

import pytest
from aiohttp import web

from tertulia.llms.options import LLMOptions
from tests.llms.wire_rules import RULES, Refused

KEY: Final = "key-that-nobody-may-see"
EXCHANGES: Final = Path(__file__).parent / "exchanges"
MODELS: Final = {
    "anthropic": "claude-haiku-5-5",
    "bedrock": "global.anthropic.claude-haiku-4-5-20251001-v1:0",
    "cohere": "command-a-03-2025",
    "google": "gemini-2.5-flash",
    "groq": "llama-3.3-70b-versatile",
    "huggingface": "Qwen/Qwen3-235B-A22B",
    "mistral": "mistral-large-latest",
}


_STREAMS: Final = (":streamGenerateContent", "/converse-stream")
_STRING: Final = b"\x07"


class WireServer:
    """One provider on a free port of the loopback address; an async context manager.

    It answers with the exchanges named in ``script``, one for each request, and then with ``says``
    (``plain``, ``call``, ``length``), streamed or whole as it is asked. Before all, ``faults`` are
    committed: a status, ``cut``, ``malformed``, ``broken`` (an error within the stream) or ``hang``.
    """

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.says = "plain"
        self.script: deque[str] = deque()
        self.faults: deque[str] = deque()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.gone = asyncio.Event()
        """Set when a caller has gone away from a call that hangs."""
        self._environment = pytest.MonkeyPatch()
        self._exchanges = json.loads((EXCHANGES / f"{provider}.json").read_text(encoding="utf-8"))

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def options(self) -> LLMOptions:
        """What its models are opened with; Amazon's keys are not sent where there is no TLS."""
        return LLMOptions(api_key=None if self.provider == "bedrock" else KEY, base_url=self.base_url)

    async def __aenter__(self) -> Self:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            self._environment.setenv(name, KEY)
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        self._environment.undo()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        streams = bool(body.get("stream")) or request.path.endswith(_STREAMS)
        try:
            RULES[self.provider](body)
        except Refused as refused:
            return web.json_response(
                {"error": {"message": str(refused)}, "message": str(refused)}, status=400
            )
        if self.faults:
            return await self._fail(request, self.faults.popleft(), streams=streams)
        says = self.script.popleft() if self.script else self.says
        if not streams:
            return web.json_response(self._exchanges[says])
        name = "stream" if says == "plain" else f"{says}_stream"
        return await self._stream(request, self._exchanges[name])

    async def _fail(self, request: web.Request, fault: str, *, streams: bool) -> web.StreamResponse:
        if fault.isdecimal():
            headers = {"retry-after": "7"} if fault == "429" else None
            return web.json_response(self._exchanges["errors"][fault], status=int(fault), headers=headers)
        if fault == "malformed":
            return web.Response(body=b"<html>this is no answer</html>", content_type="text/html")
        if fault == "broken":
            return await self._stream(request, self._exchanges["broken_stream"])
        if fault == "hang":
            return await self._hang(request)
        if streams:
            await self._stream(request, self._exchanges["stream"][:-2], ends=False)
        if request.transport:
            request.transport.abort()
        return web.Response()

    async def _hang(self, request: web.Request) -> web.StreamResponse:
        try:
            await self._stream(request, self._exchanges["stream"][:-2], ends=False)
            await asyncio.Event().wait()
        finally:
            self.gone.set()
        raise AssertionError

    async def _stream(
        self, request: web.Request, events: list[dict[str, Any]], *, ends: bool = True
    ) -> web.StreamResponse:
        is_binary = self.provider == "bedrock"
        media_type = "application/vnd.amazon.eventstream" if is_binary else "text/event-stream"
        response = web.StreamResponse(headers={"Content-Type": media_type})
        await response.prepare(request)
        for event in events:
            if is_binary:
                await response.write(_framed(event))
                continue
            named = f"event: {event['type']}\n" if "type" in event else ""
            await response.write(f"{named}data: {json.dumps(event)}\n\n".encode())
        if ends and self.provider not in {"anthropic", "bedrock", "google"}:
            await response.write(b"data: [DONE]\n\n")
        return response


def _framed(event: dict[str, Any]) -> bytes:
    """Return an event in the binary frames of Amazon's event streams."""
    ((kind, payload),) = event.items()
    is_error = kind.endswith("Exception")
    named = {":exception-type" if is_error else ":event-type": kind, ":content-type": "application/json"}
    headers = b""
    for name, value in {**named, ":message-type": "exception" if is_error else "event"}.items():
        headers += pack("!B", len(name)) + name.encode() + _STRING + pack("!H", len(value)) + value.encode()
    body = json.dumps(payload).encode()
    prelude = pack("!II", len(headers) + len(body) + 16, len(headers))
    checked = prelude + pack("!I", zlib.crc32(prelude)) + headers + body
    return checked + pack("!I", zlib.crc32(checked))
