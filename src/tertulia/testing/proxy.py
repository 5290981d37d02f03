"""Stands between clients and a server, and can cut their connections or let none in."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Self, TypeAlias

_Ends: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_CHUNK: Final = 2**16


class Proxy:
    """Listens on a free port of this machine and passes everything on to a server.

    An asynchronous context. ``refusing`` may be set at any time: who connects then is cut off at
    once. While ``flowing`` is cleared, nothing is passed on and nobody is told. ``passed`` sees every
    piece that a client sends, before it is passed on, so that a test can cut a connection at exactly
    that place.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[_Ends]], *, passed: Callable[[bytes], None] | None = None
    ) -> None:
        self._connect, self._passed = connect, passed
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None
        self.refusing = False
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.port = 0

    @classmethod
    def to_socket(cls, path: Path, *, passed: Callable[[bytes], None] | None = None) -> Self:
        """Return a proxy of a server on a Unix socket."""
        return cls(lambda: asyncio.open_unix_connection(path), passed=passed)

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.port = self._listening.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listening is not None:
            self._listening.close()
        self.flowing.set()
        self.cut()
        await asyncio.gather(*self._serving)

    def cut(self) -> int:
        """Cut every connection, with whatever is under way on it; returns how many there were."""
        writers, self._writers = self._writers, set()
        for writer in writers:
            writer.transport.abort()
        return len(writers) // 2

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            return writer.transport.abort()
        try:
            there, onward = await self._connect()
        except OSError:
            return writer.transport.abort()
        ends = {writer, onward}
        self._writers |= ends
        try:
            await asyncio.gather(
                self._pass_on(reader, onward, self._passed), self._pass_on(there, writer, None)
            )
        finally:
            self._writers -= ends
            for end in ends:
                end.close()
        return None

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        passed: Callable[[bytes], None] | None,
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(_CHUNK):
                if passed is not None:
                    passed(piece)
                await self.flowing.wait()
                writer.write(piece)
                await writer.drain()
            writer.write_eof()
