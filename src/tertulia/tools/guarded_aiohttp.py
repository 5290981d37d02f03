"""aiohttp under guard: a session whose connections lead to public addresses only."""

import socket
from typing import TypeAlias

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override

from tertulia.errors import AddressRefused
from tertulia.tools.addresses import is_public
from tertulia.tools.guard import Resolve, public_addresses, resolve

AddressInfo: TypeAlias = tuple[int, int, int, str, tuple[str | int, ...]]


def guarded_session(*, resolve: Resolve = resolve) -> aiohttp.ClientSession:
    """Return a session that connects to public addresses only, keeps no cookies and uses no proxy.

    Requests raise what :func:`public_addresses` raises. Redirects are to be followed by hand.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            force_close=True,
            resolver=_GuardedResolver(resolve),
            # Every connection, also to an address that stood in the URL, which no resolver is asked about.
            socket_factory=_public_socket,
            use_dns_cache=False,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


class _GuardedResolver(AbstractResolver):
    """Names that stand for public addresses; of others it says so."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = await public_addresses(host, port, resolve=self._resolve)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]

    @override
    async def close(self) -> None:
        """There is nothing to let go of."""


def _public_socket(address: AddressInfo) -> socket.socket:
    family, kind, protocol, _, where = address
    if not is_public(str(where[0])):
        raise AddressRefused("this address leads to no public host")
    return socket.socket(family=family, type=kind, proto=protocol)
