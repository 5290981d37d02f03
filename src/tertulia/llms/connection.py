"""HTTP to one provider, without a library of its own in between: bytes out, bytes in, our errors."""

import asyncio
import io
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import finalize

import aiohttp

from tertulia.errors import ModelError, ModelMalformed, ModelRefused, ModelTimeout, ModelUnreachable
from tertulia.llms.wire.failures import failure_of
from tertulia.per_loop import PerLoop

_OK: Final = range(200, 300)
_MAX_ERROR: Final = 64 * 1024
_LARGE: Final = 1024 * 1024
_GOODBYE_SECONDS: Final = 0.1
_LOOPBACK: Final = ("localhost", "127.", "::1")


class Reply:
    """A response whose body is read as it comes; it is to be released whatever happens."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    @property
    def is_ok(self) -> bool:
        """Whether it is what was asked for."""
        return self.status in _OK

    async def read(self) -> bytes:
        """Return what has come; nothing at the end. Raises errors of the ``ModelError`` family."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _ours(error) from error

    async def read_some(self) -> bytes:
        """Return the body, as far as an error or a small answer needs it, and release the reply."""
        body = b""
        try:
            while len(body) < _MAX_ERROR and (chunk := await self.read()):
                body += chunk
        finally:
            self.release()
        return body[:_MAX_ERROR]

    async def read_all(self, *, most: int) -> bytes:
        """Return the whole body, and release the reply; raises ``ModelMalformed`` beyond ``most`` bytes."""
        body = bytearray()
        try:
            while chunk := await self.read():
                body += chunk
                if len(body) > most:
                    raise ModelMalformed("the model's provider sent more than an answer can be")
        finally:
            self.release()
        return bytes(body)

    async def failure(self) -> ModelError:
        """Return the error that a reply stands for which is not ok."""
        return failure_of(self.status, await self.read_some(), self.headers)

    async def hear_out(self) -> None:
        """Wait a moment for the end, so that the connection can be used again."""
        if self._response.content.is_eof():
            return
        with suppress(TimeoutError, ModelError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                while await self.read():
                    pass

    def release(self) -> None:
        """Let go of it; a connection with bytes still to come is closed by this, which ends the call."""
        self._response.release()


class Connection:
    """The provider behind a base URL; connections are kept for a while, for every loop its own."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        connect_seconds: float = 10.0,
        keep_alive_seconds: float = 30.0,
    ) -> None:
        self._url = base_url.rstrip("/")
        self.host = urlsplit(base_url).hostname
        self._sessions = PerLoop(
            partial(_new_session, self._url, api_key, connect=connect_seconds, keep_alive=keep_alive_seconds)
        )
        finalize(self, _let_go, self._sessions)

    async def post(self, path: str, body: bytes) -> Reply:
        """Send JSON; raises errors of the ``ModelError`` family if there is no reply at all."""
        # Large bodies as a file: aiohttp warns of large bytes.
        sent = body if len(body) < _LARGE else io.BytesIO(body)
        return await self._ask("POST", path, sent)

    async def get(self, path: str) -> Reply:
        """Ask for what is there; raises as :meth:`post`."""
        return await self._ask("GET", path, None)

    async def delete(self, path: str) -> Reply:
        """Ask for something to be deleted; raises as :meth:`post`."""
        return await self._ask("DELETE", path, None)

    async def close(self) -> None:
        """Let go of all connections; may be called twice."""
        for loop, session in self._sessions.take_all():
            if loop is asyncio.get_running_loop() or loop.is_closed():
                await session.close()
            else:
                asyncio.run_coroutine_threadsafe(session.close(), loop)

    async def _ask(self, method: str, path: str, body: bytes | io.BytesIO | None) -> Reply:
        session = self._sessions.get()
        try:
            return Reply(await session.request(method, self._url + path, data=body, allow_redirects=False))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _ours(error) from error


def _new_session(url: str, key: str | None, *, connect: float, keep_alive: float) -> aiohttp.ClientSession:
    headers = {
        "Accept": "text/event-stream, application/json",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        "User-Agent": "tertulia",
    }
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return aiohttp.ClientSession(
        connector=_connector(keep_alive),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        # Looked up once: aiohttp's own `trust_env` goes through a thread for every request.
        proxy=_proxy(url),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect),
    )


def _connector(keep_alive: float) -> aiohttp.TCPConnector:
    if keep_alive:
        return aiohttp.TCPConnector(limit=0, keepalive_timeout=keep_alive)
    return aiohttp.TCPConnector(limit=0, force_close=True)


def _proxy(url: str) -> str | None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host.startswith(_LOOPBACK) or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)


def _let_go(sessions: PerLoop[aiohttp.ClientSession]) -> None:
    """Close, without waiting, what a program left open when it ended its loop."""
    for loop, session in sessions.take_all():
        if loop.is_closed():
            with suppress(StopIteration):
                session.close().send(None)


def _ours(error: Exception) -> ModelError:
    """Return our error for one of aiohttp's; ``TimeoutError`` is an ``OSError``, too."""
    if isinstance(error, TimeoutError):
        return ModelTimeout("the model's provider took too long to answer")
    if isinstance(error, ValueError):
        return ModelRefused("the model's address or key cannot be used; check them")
    if isinstance(error, aiohttp.ClientPayloadError):
        return ModelUnreachable("the model's answer was cut before its end")
    return ModelUnreachable("the model's provider cannot be reached")
