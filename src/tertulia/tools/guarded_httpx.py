"""The HTTP client of the MCP library under guard: public addresses only, and answers of bounded size."""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self

import httpx2
from typing_extensions import override

from tertulia.errors import ToolUnavailable
from tertulia.tools.addresses import check_url, is_literal
from tertulia.tools.guard import Resolve, public_addresses, resolve

MAX_ANSWER: Final = 4 * 1024 * 1024
"""Bytes of an answer that is no stream of events."""
_EVENTS: Final = "text/event-stream"


def guarded_client(*, timeout: float, resolve: Resolve = resolve) -> httpx2.AsyncClient:
    """Return a client that connects to public addresses only and uses no proxy.

    Requests raise what :func:`public_addresses` raises.
    """
    return httpx2.AsyncClient(
        transport=PinnedTransport(httpx2.AsyncHTTPTransport(trust_env=False), resolve=resolve),
        headers={"Accept-Encoding": "identity"},
        timeout=timeout,
        trust_env=False,
        follow_redirects=False,
        max_redirects=5,
    )


class PinnedTransport(httpx2.AsyncBaseTransport):
    """Asks the address that was checked, under the name that was asked for."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, *, resolve: Resolve) -> None:
        self._inner, self._resolve = inner, resolve

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host, port = request.url.raw_host.decode("ascii"), request.url.port
        check_url(str(request.url))
        port = port or (443 if request.url.scheme == "https" else 80)
        addresses = await public_addresses(host, port, resolve=self._resolve)
        response = await self._first(request, host, addresses)
        return await _bounded(response)

    async def _first(self, request: httpx2.Request, host: str, addresses: list[str]) -> httpx2.Response:
        """Ask the first address that can be connected to; nothing has been sent to the others."""
        *others, last = addresses
        for address in others:
            try:
                return await self._inner.handle_async_request(_pinned(request, host, address))
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        return await self._inner.handle_async_request(_pinned(request, host, last))

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()

    @override
    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    @override
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._inner.__aexit__(exc_type, exc_value, traceback)


def _pinned(request: httpx2.Request, host: str, address: str) -> httpx2.Request:
    """Return a request to an address that says, in its headers and to TLS, which host is meant."""
    name = {} if is_literal(host) else {"sni_hostname": host}
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,  # With the host's name, since it was made for that.
        stream=request.stream,
        extensions={**request.extensions, **name},
    )


async def _bounded(response: httpx2.Response) -> httpx2.Response:
    if response.headers.get("content-encoding", "identity") != "identity":
        await response.aclose()
        raise ToolUnavailable("a server of tools sends packed answers that nobody asked for")
    if not response.headers.get("content-type", "").startswith(_EVENTS):
        response.stream = _BoundedStream(response.stream)
    return response


class _BoundedStream(httpx2.AsyncByteStream):
    """An answer that ends with an error when it grows too large."""

    def __init__(self, inner: httpx2.AsyncByteStream | httpx2.SyncByteStream) -> None:
        assert isinstance(inner, httpx2.AsyncByteStream)  # noqa: S101  # what an asynchronous transport gives
        self._inner = inner

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._inner:
            size += len(chunk)
            if size > MAX_ANSWER:
                raise httpx2.StreamError("an answer is too large")
            yield chunk

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()
