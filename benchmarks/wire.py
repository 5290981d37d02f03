"""A bare HTTP client on httptools: one kept connection, one request at a time, no conveniences."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Self, cast
from urllib.parse import urlsplit

import httptools
import orjson
from typing_extensions import override

_HEAD: Final = b"POST %s HTTP/1.1\r\nhost: %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


class Wire(asyncio.Protocol):
    """A connection to one server; as much as is needed to post JSON and read what comes back."""

    def __init__(self, host: bytes) -> None:
        self._host = host
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._reply: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect to the server of this URL."""
        at = urlsplit(url)
        make: Callable[[], Self] = lambda: cls(at.netloc.encode())  # noqa: E731  # for its type
        _, wire = await asyncio.get_running_loop().create_connection(make, at.hostname or "", at.port or 80)
        return wire

    async def post(self, path: bytes, body: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer; raises ``ConnectionError`` when there is none."""
        reply: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._reply = reply
        self._transport.write(_HEAD % (path, self._host, len(body)) + body)
        return await reply

    async def post_json(self, path: str, body: Mapping[str, str]) -> dict[str, str]:
        """Post and return JSON; raises ``RuntimeError`` unless the answer is 200."""
        status, answer = await self.post(path.encode(), orjson.dumps(body))
        if status != 200:
            raise RuntimeError(f"{path}: HTTP {status}: {answer[:300]!r}")
        found: dict[str, str] = orjson.loads(answer)
        return found

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(ConnectionError("the server hung up"))

    @override
    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        body, self._parts = b"".join(self._parts), []
        if self._reply is not None and not self._reply.done():
            self._reply.set_result((self._parser.get_status_code(), body))
