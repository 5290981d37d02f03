"""The HTTP client of the MCP library under guard: public addresses only, and answers of bounded size."""

from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Final, Self

import httpx2
from typing_extensions import override

from tertulia.errors import AddressRefused
from tertulia.tools.addresses import check_url, is_literal
from tertulia.tools.allowance import Allowance
from tertulia.tools.bounded_httpx import UNPACKED, bound
from tertulia.tools.guard import Resolve, public_addresses, resolve

_CONNECT_SECONDS: Final = 5.0
_NEXT_SECONDS: Final = 2.0


def guarded_client(allowance: Allowance, *, timeout: float, resolve: Resolve = resolve) -> httpx2.AsyncClient:
    """Return a client for one host, which must be public; it uses no proxy and keeps no cookies.

    Requests raise what :func:`public_addresses` raises, and ``AddressRefused`` for a second host.
    """
    inner = httpx2.AsyncHTTPTransport(trust_env=False, http1=True, http2=False)
    return httpx2.AsyncClient(
        transport=PinnedTransport(inner, resolve=resolve, allowance=allowance),
        headers=UNPACKED,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=httpx2.Timeout(timeout, connect=_CONNECT_SECONDS),
        trust_env=False,
        follow_redirects=False,
        max_redirects=5,
    )


class PinnedTransport(httpx2.AsyncBaseTransport):
    """Asks the address that was checked, under the name that was asked for.

    It serves the first host that it is asked for, and no other: connections are kept by address, and
    one that was made, and certified, for one name must not be used for another at the same address.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, *, resolve: Resolve, allowance: Allowance) -> None:
        self._inner, self._resolve, self._allowance = inner, resolve, allowance
        self._host: str | None = None

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host, port = request.url.raw_host.decode("ascii"), request.url.port
        check_url(str(request.url))
        if self._host not in {None, host}:
            raise AddressRefused("a connection to one host is not used for another")
        self._host = host
        port = port or (443 if request.url.scheme == "https" else 80)
        addresses = await public_addresses(host, port, resolve=self._resolve)
        response = await self._first(request, host, addresses)
        await bound(response, self._allowance)
        return response

    async def _first(self, request: httpx2.Request, host: str, addresses: list[str]) -> httpx2.Response:
        """Ask the first address that can be connected to; nothing has been sent to the others."""
        *others, last = addresses
        for address in others:
            try:
                return await self._inner.handle_async_request(_impatient(_pinned(request, host, address)))
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


def _impatient(request: httpx2.Request) -> httpx2.Request:
    """Return a request that is given up in time for the next address, if nobody takes the connection."""
    limits = {**request.extensions.get("timeout", {}), "connect": _NEXT_SECONDS}
    request.extensions = {**request.extensions, "timeout": limits}
    return request
