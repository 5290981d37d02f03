"""What a request may not be: too large, compressed, or meant for another host."""

from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tertulia.server.errors import problem
from tertulia.settings import is_loopback


class BodyTooLarge(Exception):
    """More bytes came than a request may have."""


class Limits:
    """Refuses such requests before anything reads them; bodies without a length are counted."""

    def __init__(self, inner: ASGIApp, *, max_body_bytes: int, any_host: bool) -> None:
        self._inner, self._max, self._any_host = inner, max_body_bytes, any_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a problem document."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if (refusal := self._refusal(headers)) is not None:
            status, detail = refusal
            await problem(status, detail, headers={"connection": "close"})(scope, receive, send)
        elif "transfer-encoding" in headers or "content-length" not in headers:
            await self._counting(scope, receive, send)
        else:
            await self._inner(scope, receive, send)

    def _refusal(self, headers: Headers) -> tuple[int, str] | None:
        if len(headers.getlist("host")) > 1:
            return 400, "A request has one Host header."
        if not self._any_host and not _is_here(_host_of(headers.get("host", ""))):
            return 421, "This server answers only on this machine: name it 127.0.0.1 or localhost."
        if headers.get("content-encoding", "identity").lower() != "identity":
            return 415, "Send the body as it is: compressed bodies are not accepted."
        if not _fits(headers.get("content-length"), self._max):
            return 413, self._too_large
        return None

    @property
    def _too_large(self) -> str:
        return f"A request body has at most {self._max} bytes."

    async def _counting(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen, answered = 0, False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max:
                raise BodyTooLarge
            return message

        async def noticed(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._inner(scope, counted, noticed)
        except BodyTooLarge:
            if answered:
                raise
            await problem(413, self._too_large, headers={"connection": "close"})(scope, receive, send)


_PORT: Final = ":"
_UNSPECIFIED: Final = frozenset({"0.0.0.0", "[::"})  # noqa: S104 - compared with, not listened on
"""As :func:`_host_of` returns them."""


def _is_here(host: str) -> bool:
    """Whether a request for this host can only be meant for this machine.

    The check is there for names: a foreign page that has its own name resolved to this machine
    (DNS rebinding) would be same-origin with us. Addresses cannot be rebound, so that the one
    which connects to this machine as well, and which clients copy from servers' logs, is let in.
    """
    return is_loopback(host) or host in _UNSPECIFIED


def _host_of(header: str) -> str:
    """Return the host of a Host header without its port."""
    if header.startswith("["):
        return header.partition("]")[0]
    return header.partition(_PORT)[0]


def _fits(content_length: str | None, limit: int) -> bool:
    return content_length is None or (content_length.isdecimal() and int(content_length[:20]) <= limit)
