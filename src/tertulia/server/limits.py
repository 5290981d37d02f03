"""What a request may not be: too large, compressed, or meant for another host."""

import re
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tertulia.server.errors import problem
from tertulia.settings import is_loopback


class BodyTooLarge(Exception):
    """More bytes came than a request may have."""


class Limits:
    """Refuses such requests before anything reads them; bodies without a length are counted.

    Documents may be larger than other bodies.
    """

    def __init__(
        self, inner: ASGIApp, *, max_body_bytes: int, max_document_bytes: int, any_host: bool
    ) -> None:
        self._inner, self._any_host = inner, any_host
        self._max, self._max_document = max_body_bytes, max(max_body_bytes, max_document_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a problem document."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        headers, most = Headers(scope=scope), self._most(scope)
        if (refusal := self._refusal(headers, most)) is not None:
            status, detail = refusal
            await problem(status, detail, headers={"connection": "close"})(scope, receive, send)
        elif "transfer-encoding" in headers or "content-length" not in headers:
            await self._counting(scope, receive, send, most=most)
        else:
            await self._inner(scope, receive, send)

    def _most(self, scope: Scope) -> int:
        """Return how many bytes the body of a request may have."""
        takes_documents = scope["method"] == "POST" and _DOCUMENTS.search(scope["path"])
        return self._max_document if takes_documents else self._max

    def _refusal(self, headers: Headers, most: int) -> tuple[int, str] | None:
        if len(headers.getlist("host")) > 1:
            return 400, "A request has one Host header."
        if not self._any_host and not _is_here(_host_of(headers.get("host", ""))):
            return 421, "This server answers only on this machine: name it 127.0.0.1 or localhost."
        if headers.get("content-encoding", "identity").lower() != "identity":
            return 415, "Send the body as it is: compressed bodies are not accepted."
        if not _fits(headers.get("content-length"), most):
            return 413, _too_large(most)
        return None

    async def _counting(self, scope: Scope, receive: Receive, send: Send, *, most: int) -> None:
        seen, answered = 0, False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
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
            await problem(413, _too_large(most), headers={"connection": "close"})(scope, receive, send)


def _too_large(most: int) -> str:
    return f"A request body has at most {most} bytes."


_DOCUMENTS: Final = re.compile(r"/v1/knowledge/[^/]+/documents\Z")
"""Where documents are sent to."""
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
