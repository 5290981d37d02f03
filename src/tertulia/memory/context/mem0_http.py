"""Mem0's platform over HTTP, without a library of its own in between."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit
from weakref import finalize

import aiohttp
import orjson

from tertulia.errors import InvalidInput, ProviderError
from tertulia.per_loop import PerLoop

PLATFORM: Final = "https://api.mem0.ai"
"""Where it is, if nothing else was said."""

_OK: Final = range(200, 300)
_MOST: Final = 4 * 1024 * 1024
_SECONDS: Final = 30.0
_REASONS: Final[Mapping[int, str]] = {
    400: "the request was not understood",
    401: "the key is not accepted",
    403: "the key is not accepted",
    404: "there is no such address",
    429: "it is busy",
}


class Mem0HTTP:
    """Searches and adds, as the clients of the mem0ai package do; connections are kept for every loop."""

    def __init__(self, base_url: str, *, api_key: str | None = None) -> None:
        """Raises :class:`InvalidInput` for what is no address over HTTP."""
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidInput("base_url of Mem0 must begin with https:// or http:// and name a host")
        self._url = base_url.rstrip("/")
        self._sessions = PerLoop(partial(_new_session, api_key))
        finalize(self, _let_go, self._sessions)

    async def search(self, query: str, *, filters: Mapping[str, str], top_k: int) -> object:
        """Return what the platform answers: memories that belong to ``filters``, under ``results``."""
        return await self._post(
            "/v3/memories/search/", {"query": query, "filters": dict(filters), "top_k": top_k}
        )

    async def add(self, messages: Sequence[Mapping[str, str]], **scope: Any) -> object:
        """Give it messages to learn from, for ``user_id``, ``agent_id`` and ``app_id``."""
        return await self._post("/v3/memories/add/", {"messages": list(messages), **scope})

    async def close(self) -> None:
        """Let go of all connections; may be called twice."""
        for loop, session in self._sessions.take_all():
            if loop is asyncio.get_running_loop() or loop.is_closed():
                await session.close()
            else:
                asyncio.run_coroutine_threadsafe(session.close(), loop)

    async def _post(self, path: str, body: Mapping[str, Any]) -> object:
        try:
            async with self._sessions.get().post(
                self._url + path, data=orjson.dumps(body), allow_redirects=False
            ) as response:
                return _answer(response.status, await _read(response.content))
        except TimeoutError as error:
            raise ProviderError("Mem0 took too long to answer") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ProviderError("Mem0 cannot be reached") from error


async def _read(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > _MOST:
            raise ProviderError("Mem0 sent more than an answer can be")
    return bytes(body)


def _answer(status: int, body: bytes) -> object:
    if status not in _OK:
        raise ProviderError(f"Mem0 answered with status {status}: {_REASONS.get(status, 'it failed')}")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProviderError("Mem0 sent something that is no answer") from error


def _new_session(api_key: str | None) -> aiohttp.ClientSession:
    headers = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "tertulia"}
    if api_key:
        headers["Authorization"] = f"Token {api_key}"
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=_SECONDS),
    )


def _let_go(sessions: PerLoop[aiohttp.ClientSession]) -> None:
    """Close, without waiting, what a program left open when it ended its loop."""
    for loop, session in sessions.take_all():
        if loop.is_closed():
            with suppress(StopIteration):
                session.close().send(None)
