"""A run's events as a ``text/event-stream`` that a client can leave, and resume anywhere."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeAlias

from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Message, Send
from typing_extensions import override

from tertulia.errors import Stopping, TertuliaError
from tertulia.events import Numbered, RunFinished
from tertulia.server.errors import told
from tertulia.server.event_rows import block, told_as

MEDIA_TYPE: Final = "text/event-stream"
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}
_OPENING: Final = b"retry: 1000\n\n"
"""Sent at once, so that nothing between us and the client waits for a first byte."""
_BEAT: Final = b":\n\n"

Closing: TypeAlias = Callable[[RunFinished], Awaitable[dict[str, object] | None]]
"""Says how it is told that a conversation has come to its end with a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """How long a stream may stand still."""

    heartbeat: float = 10.0
    """Seconds of silence after which a comment shows that the stream lives."""
    patience: float = 20.0
    """Seconds for which a reader may leave bytes untaken; then it is cut off, and resumes where it was."""


_CADENCE: Final = Cadence()


class EventStream(StreamingResponse):
    """Tells a run's events until the last; a client that hangs up stops nothing.

    When this process is about to end, the last that is told is ``stream.resume``: where to go on.
    What keeps the stream from going on is told as ``error``, with a problem document; it can be
    resumed then as well.
    """

    def __init__(  # noqa: PLR0913  # a public constructor
        self,
        run_id: str,
        events: AsyncGenerator[Numbered, None],
        *,
        closing: Closing,
        after: int = -1,
        cadence: Cadence = _CADENCE,
        headers: Mapping[str, str] | None = None,
        mounted_at: str = "",
    ) -> None:
        blocks = _blocks(run_id, events, after=after, closing=closing, mounted_at=mounted_at)
        super().__init__(blocks, headers={**_HEADERS, **(headers or {})}, media_type=MEDIA_TYPE)
        self._blocks, self._cadence = blocks, cadence

    @override
    async def stream_response(self, send: Send) -> None:
        out = _Out(send, patience=self._cadence.patience)
        async with aclosing(self._blocks) as blocks:
            await out.begin(self.status_code, self.raw_headers)
            try:
                async with asyncio.TaskGroup() as tasks:
                    beating = tasks.create_task(out.beat(self._cadence.heartbeat))
                    async for told_block in blocks:
                        await out.write(told_block)
                    beating.cancel()
            except ExceptionGroup as group:  # what went wrong first says why
                raise group.exceptions[0] from None
        await out.end()


class _TooSlow(ClientDisconnect):
    """The reader does not take its bytes."""


class _Out:
    """The way to one reader."""

    def __init__(self, send: Send, *, patience: float) -> None:
        self._send, self._patience = send, patience
        self._time = asyncio.get_running_loop().time
        self._wrote_at = self._time()

    async def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        await self._carry({"type": "http.response.start", "status": status, "headers": headers})
        await self.write(_OPENING)

    async def write(self, chunk: bytes) -> None:
        await self._carry({"type": "http.response.body", "body": chunk, "more_body": True})
        self._wrote_at = self._time()

    async def end(self) -> None:
        await self._carry({"type": "http.response.body", "body": b"", "more_body": False})

    async def beat(self, every: float) -> None:
        """Write a comment whenever nothing was written for so many seconds."""
        while True:
            silent = self._time() - self._wrote_at
            if silent < every:
                await asyncio.sleep(every - silent)
            else:
                await self.write(_BEAT)

    async def _carry(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self._send(message)
        except TimeoutError:
            raise _TooSlow from None


async def _blocks(
    run_id: str, events: AsyncGenerator[Numbered, None], *, after: int, closing: Closing, mounted_at: str
) -> AsyncGenerator[bytes, None]:
    last = after
    try:
        async for numbered in events:
            if isinstance(numbered.event, RunFinished):
                yield told_as(numbered, closed=await closing(numbered.event))
            else:
                yield told_as(numbered)
            last = numbered.seq
    except Stopping:
        yield block("stream.resume", _resumption(run_id, last, mounted_at=mounted_at))
    except TertuliaError as error:
        yield block("error", told(error.in_run(run_id)))
    finally:
        await events.aclose()


def _resumption(run_id: str, last: int, *, mounted_at: str) -> dict[str, object]:
    events = f"{mounted_at}/v1/runs/{run_id}/events"
    if last < 0:
        return {"run_id": run_id, "starting_after": None, "url": events}
    return {"run_id": run_id, "starting_after": last, "url": f"{events}?starting_after={last}"}
