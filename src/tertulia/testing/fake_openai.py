"""A real HTTP server that speaks OpenAI's wires and does as it is told.

Its default reply begins ``m=<n> ``, n being how often ``[[`` stands in all that the model is shown:
whoever puts that mark into every user message once can see that the whole history was sent, and
nothing twice.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from typing import Self

from typing_extensions import override

from tertulia.registry import load
from tertulia.testing.fake.connection import Connection
from tertulia.testing.fake.model import FakeModel, FakeReply, Scripted
from tertulia.testing.fake.said import Said
from tertulia.testing.fake.wire import Request

__all__ = ["FakeOpenAI", "FakeReply", "Request", "Said", "Scripted", "main"]


class FakeOpenAI(FakeModel):
    """A server on a free port of the loopback address; an async context manager.

    It has chat completions, Responses (streamed, kept, in the background), conversations,
    completions, embeddings and a list of models. What it does next can be set at any time:
    ``latency`` seconds before the first byte, ``tps`` pieces a second of a stream (0: all at once),
    ``reply_chars`` of the default reply, ``chunk_chars`` of a piece, ``background_seconds`` that
    background work takes, and whether it is ``strict``, that is, refuses what OpenAI refuses. The
    default reply meets the JSON Schema that is asked for, and calls the tool that has to be called.
    The same can be done from another process by ``POST /__control``; ``GET /__stats`` returns
    :meth:`stats`.
    """

    def __init__(  # noqa: PLR0913  # a public constructor
        self,
        *,
        latency: float = 0.0,
        tps: float = 0.0,
        reply_chars: int = 400,
        chunk_chars: int = 4,
        keeps_requests: bool = True,
        strict: bool = True,
        background_seconds: float = 0.0,
    ) -> None:
        super().__init__()
        self.latency, self.tps = latency, tps
        self.reply_chars, self.chunk_chars = reply_chars, chunk_chars
        self.keeps_requests = keeps_requests
        """Whether bodies are kept and counted by message; a benchmark goes without this and ``strict``,
        and chats are then not even taken apart: the default reply is text, whatever is asked for."""
        self.strict = strict
        """Whether requests are refused that OpenAI would refuse."""
        self.background_seconds = background_seconds
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()

    @property
    def base_url(self) -> str:
        """What to set as the base URL, version part included."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def port(self) -> int:
        """The port that it listens on."""
        if self._server is None:
            raise RuntimeError("the server has not been started")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @override
    def stats(self) -> Mapping[str, object]:
        return {**super().stats(), "connections": len(self._connections)}

    async def start(self, *, host: str = "127.0.0.1", port: int = 0) -> Self:
        """Listen; port 0 takes a free one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self, self._connections), host, port, backlog=1024
        )
        return self

    async def stop(self) -> None:
        """Stop listening, end all work and cut every connection; may be called twice."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            connection.cut()
        await self.stop_working()
        await self._server.wait_closed()
        self._server = None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


async def _serve(server: FakeOpenAI, host: str, port: int) -> None:
    await server.start(host=host, port=port)
    sys.stdout.write(f"{server.base_url}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> None:
    """Serve until interrupted; the first line of output is the base URL."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before the first byte")
    parser.add_argument("--tps", type=float, default=0.0, help="pieces a second; 0: all at once")
    parser.add_argument("--reply-chars", type=int, default=400)
    parser.add_argument("--chunk-chars", type=int, default=4)
    parser.add_argument("--forget", action="store_true", help="keep, count and check no bodies")
    given = parser.parse_args()
    server = FakeOpenAI(
        latency=given.latency,
        tps=given.tps,
        reply_chars=given.reply_chars,
        chunk_chars=given.chunk_chars,
        keeps_requests=not given.forget,
        strict=not given.forget,
    )
    try:
        run = load("uvloop:run")
    except ImportError:
        run = asyncio.run
    try:
        run(_serve(server, given.host, given.port))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
