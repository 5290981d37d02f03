"""Any server that speaks OpenAI's chat completions, asked without a library in between."""

import asyncio
import io
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import finalize

import aiohttp
from typing_extensions import override

from tertulia.errors import ModelError, ModelRefused, ModelTimeout, ModelUnreachable, UnknownModel
from tertulia.llms.base import LLMEvent, Prompt, TextDelta
from tertulia.llms.options import LLMOptions, LLMPlug
from tertulia.llms.per_loop import PerLoop
from tertulia.llms.wire.answer import Answer
from tertulia.llms.wire.body import Dialect, encode
from tertulia.llms.wire.failures import failure_of

PUBLIC_URL: Final = "https://api.openai.com/v1"
KEY_VARIABLE: Final = "OPENAI_API_KEY"
URL_VARIABLE: Final = "OPENAI_BASE_URL"

_OK: Final = range(200, 300)
_MAYBE_DIALECT: Final = (400, 422)
_MAX_ERROR: Final = 64 * 1024
_LARGE: Final = 1024 * 1024
_GOODBYE_SECONDS: Final = 0.1
_LOOPBACK: Final = ("localhost", "127.", "::1")


class OpenAIChat(LLMPlug):
    """A model behind ``{base_url}/chat/completions``.

    History is sent as bytes that were encoded when a message was first shown, so that a turn costs
    the same however long the conversation is. It is asked to stream where somebody reads along.
    Nothing is retried here.
    """

    def __init__(  # noqa: PLR0913  # a public constructor
        self,
        model: str,
        *,
        base_url: str = PUBLIC_URL,
        api_key: str | None = None,
        connect_seconds: float = 10.0,
        keep_alive_seconds: float = 30.0,
        name: str | None = None,
        window: int | None = None,
    ) -> None:
        self._model, self._key = model, api_key
        self._name, self._window = name or f"openai-chat:{model}", window
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._is_public = urlsplit(base_url).hostname == urlsplit(PUBLIC_URL).hostname
        self._dialect = Dialect(limit_name="max_completion_tokens" if self._is_public else "max_tokens")
        self._sessions = PerLoop(
            partial(_new_session, self._url, api_key, connect=connect_seconds, keep_alive=keep_alive_seconds)
        )
        finalize(self, _let_go, self._sessions)

    @override
    @classmethod
    def build(cls, model: str, options: LLMOptions) -> Self:
        if not model:
            raise UnknownModel("say which model: openai-chat:NAME")
        return cls(
            model,
            base_url=options.url(URL_VARIABLE, PUBLIC_URL),
            api_key=options.key(KEY_VARIABLE),
            connect_seconds=options.connect_seconds,
        )

    @property
    @override
    def name(self) -> str:
        return self._name

    @property
    @override
    def window(self) -> int | None:
        return self._window

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        answer = Answer(self._model)
        reply = await self._ask(prompt)
        try:
            while chunk := await _read(reply):
                if said := answer.feed(chunk):
                    yield TextDelta(said)
                if answer.is_done:
                    await _hear_out(reply)
                    break
        finally:
            # A connection with bytes still to come is closed by this, which ends the call.
            reply.release()
        if said := answer.end():
            yield TextDelta(said)
        yield answer.finished()

    @override
    async def close(self) -> None:
        for loop, session in self._sessions.take_all():
            if loop is asyncio.get_running_loop() or loop.is_closed():
                await session.close()
            else:
                asyncio.run_coroutine_threadsafe(session.close(), loop)

    async def _ask(self, prompt: Prompt) -> aiohttp.ClientResponse:
        if self._is_public and not self._key:
            raise ModelRefused(
                f"OpenAI wants a key: set {KEY_VARIABLE}, or {URL_VARIABLE} for another server,"
                " or choose the model 'local'"
            )
        dialect = self._dialect
        reply = await self._post(encode(self._model, prompt, dialect))
        if reply.status in _OK:
            return reply
        try:
            body = await _read_some(reply)
        finally:
            reply.release()
        if dialect.counts_usage and reply.status in _MAYBE_DIALECT and b"stream_options" in body:
            self._dialect = replace(dialect, counts_usage=False)
            return await self._ask(prompt)
        raise failure_of(reply.status, body, reply.headers)

    async def _post(self, body: bytes) -> aiohttp.ClientResponse:
        # Large bodies as a file: aiohttp warns of large bytes.
        sent = body if len(body) < _LARGE else io.BytesIO(body)
        try:
            return await self._sessions.get().post(self._url, data=sent, allow_redirects=False)
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


async def _read(reply: aiohttp.ClientResponse) -> bytes:
    try:
        return await reply.content.readany()
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _ours(error) from error


async def _read_some(reply: aiohttp.ClientResponse) -> bytes:
    body = b""
    while len(body) < _MAX_ERROR and (chunk := await _read(reply)):
        body += chunk
    return body[:_MAX_ERROR]


async def _hear_out(reply: aiohttp.ClientResponse) -> None:
    """Wait a moment for the end of a reply, so that its connection can be used again."""
    if reply.content.is_eof():
        return
    with suppress(TimeoutError, ModelError):
        async with asyncio.timeout(_GOODBYE_SECONDS):
            while await _read(reply):
                pass


def _ours(error: Exception) -> ModelError:
    """Return our error for one of aiohttp's; ``TimeoutError`` is an ``OSError``, too."""
    if isinstance(error, TimeoutError):
        return ModelTimeout("the model's provider took too long to answer")
    if isinstance(error, ValueError):
        return ModelRefused("the model's address or key cannot be used; check them")
    if isinstance(error, aiohttp.ClientPayloadError):
        return ModelUnreachable("the model's answer was cut before its end")
    return ModelUnreachable("the model's provider cannot be reached")
