"""Ways to a server that speaks MCP over HTTP."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import httpx2
from mcp.client.streamable_http import streamable_http_client

from tertulia.tools.allowance import Allowance
from tertulia.tools.bounded_httpx import UNPACKED, bound
from tertulia.tools.mcp_file import Endpoint

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

_SILENCE_SECONDS: Final = 300.0


@asynccontextmanager
async def over_http(
    url: str, make: Callable[[Allowance], httpx2.AsyncClient], allowance: Allowance
) -> "AsyncIterator[TransportStreams]":
    """Connect to the server at an address, with a client of its own."""
    async with make(allowance) as client, streamable_http_client(url, http_client=client) as streams:
        yield streams


def trusting_client(endpoint: Endpoint, seconds: float, allowance: Allowance) -> httpx2.AsyncClient:
    """Return a client for a server that the installation names, wherever that is."""
    return httpx2.AsyncClient(
        headers={**UNPACKED, **endpoint.headers},
        timeout=httpx2.Timeout(seconds, read=_SILENCE_SECONDS),
        event_hooks={"response": [partial(bound, allowance=allowance)]},
    )
