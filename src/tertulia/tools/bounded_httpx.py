"""Answers of the MCP library's HTTP client, within bounds."""

from collections.abc import AsyncIterator
from typing import Final

import httpx2
from typing_extensions import override

from tertulia.errors import ToolUnavailable
from tertulia.tools.allowance import Allowance

UNPACKED: Final = {"Accept-Encoding": "identity"}
"""Headers that ask for answers whose size is what is sent."""
_EVENTS: Final = "text/event-stream"
_HEAD: Final = 256 * 1024


async def bound(response: httpx2.Response, allowance: Allowance) -> None:
    """See to it that an answer is not read beyond an allowance.

    Reading it raises ``httpx2.StreamError`` then, which the library takes for the end of that answer.
    Raises :class:`ToolUnavailable` for a packed answer, of which nobody knows how much it holds.
    """
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        await response.aclose()
        raise ToolUnavailable("a server of tools sends packed answers that nobody asked for")
    is_events = response.headers.get("content-type", "").lower().startswith(_EVENTS)
    response.stream = _BoundedStream(response.stream, allowance, is_events=is_events)


class _BoundedStream(httpx2.AsyncByteStream):
    """An answer that ends with an error when it grows too large."""

    def __init__(
        self,
        inner: httpx2.AsyncByteStream | httpx2.SyncByteStream,
        allowance: Allowance,
        *,
        is_events: bool,
    ) -> None:
        assert isinstance(inner, httpx2.AsyncByteStream)  # noqa: S101  # what an asynchronous transport gives
        self._inner, self._allowance, self._is_events = inner, allowance, is_events

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            # Whoever is told to come again at once, and again, is not to do so for ever.
            self._allowance.heard(_HEAD, so_far=0)
            async for chunk in self._inner:
                size += len(chunk)
                lines = chunk.count(b"\n") + chunk.count(b"\r") if self._is_events else 0
                self._allowance.heard(len(chunk), so_far=size, lines=lines)
                yield chunk
        except ToolUnavailable as error:
            raise httpx2.StreamError(str(error)) from error

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()
