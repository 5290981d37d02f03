"""The guard of outgoing connections: a name is resolved once, and only to public addresses.

A name that leads to a public address when it is checked, and to a private one when it is connected
to, would get past a check of its own; so what is checked here is what is connected to.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeAlias

from tertulia.errors import AddressRefused, ToolUnavailable
from tertulia.tools.addresses import check_host, is_literal, is_public
from tertulia.tools.threads import Threads

MAX_REDIRECTS: Final = 5
_RESOLVE_SECONDS: Final = 10.0
_TRIED: Final = 8
# Names that anybody may think of, and that may take long, keep no thread from what else is looked up.
_LOOKUPS: Final = Threads("names of hosts are looked up", most=32, waiting=128, wait_seconds=5.0)

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the IP addresses that a name stands for; raises ``OSError`` if there are none."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host, as the system finds them.

    Raises :class:`ToolUnavailable` if too many are looked for already.
    """
    found = await _LOOKUPS.run(partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))
    return [str(address[0]) for *_, address in found]


async def public_addresses(host: str, port: int, *, resolve: Resolve = resolve) -> list[str]:
    """Return the addresses to connect to for a host, each once, and not more than may be tried in turn.

    Raises :class:`AddressRefused` if any of them is not public, or if the host is written in an odd
    way; :class:`ToolUnavailable` if there is no such host, or nobody can say so in time.
    """
    check_host(host)
    if is_literal(host):
        return [host]
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            found = await resolve(host, port)
    except (OSError, UnicodeError) as error:  # A time-out is an OSError, too.
        raise ToolUnavailable("the host of this address cannot be found") from error
    if not found:
        raise ToolUnavailable("the host of this address cannot be found")
    if not all(is_public(address) for address in found):
        raise AddressRefused("this address leads to no public host")
    return [*dict.fromkeys(found)][:_TRIED]
