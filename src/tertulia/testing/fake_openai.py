"""A real HTTP server that speaks OpenAI's chat completions and does as it is told.

Its default reply begins ``m=<n> ``, n being how often ``[[`` stands in the request: whoever puts
that mark into every user message once can see that the whole history was sent, and nothing twice.
"""

import argparse
import asyncio
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Self, TypeAlias, cast

import httptools
import orjson
from typing_extensions import override

from tertulia.registry import load
from tertulia.testing import fake_answers as answers
from tertulia.testing.faults import Fault

Request: TypeAlias = dict[str, object]
FakeReply: TypeAlias = str | Mapping[str, object] | list[object]
Scripted: TypeAlias = FakeReply | Callable[[Request], FakeReply]

_KEPT_REQUESTS: Final = 1000
_DIALS: Final = frozenset({"latency", "tps", "reply_chars", "chunk_chars", "keeps_requests"})


class FakeOpenAI:
    """A server on a free port of the loopback address; an async context manager.

    What it does next can be set at any time: ``latency`` seconds before the first byte, ``tps``
    pieces a second of a stream (0: all at once), ``reply_chars`` of the default reply, ``chunk_chars``
    of a piece. The same can be done from another process by ``POST /__control``; ``GET /__stats``
    returns :meth:`stats`.
    """

    def __init__(
        self,
        *,
        latency: float = 0.0,
        tps: float = 0.0,
        reply_chars: int = 400,
        chunk_chars: int = 4,
        keeps_requests: bool = True,
    ) -> None:
        self.latency, self.tps = latency, tps
        self.reply_chars, self.chunk_chars = reply_chars, chunk_chars
        self.keeps_requests = keeps_requests
        """Whether bodies are kept and counted by message; a benchmark goes without."""
        self._script: deque[Scripted] = deque()
        self._faults: list[Fault] = []
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self.reset()

    def reset(self) -> None:
        """Forget what was asked; settings, script and faults stay."""
        self.calls = self.open = self.max_open = self.faulted = self.aborted = 0
        self._bodies: deque[bytes] = deque(maxlen=_KEPT_REQUESTS)
        self._by_message: Counter[str] = Counter()

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

    @property
    def requests(self) -> list[Request]:
        """The newest thousand bodies of calls, decoded, oldest first."""
        return [orjson.loads(body) for body in self._bodies]

    def script(self, replies: Iterable[Scripted]) -> None:
        """Answer the next calls with these: texts, values to say as JSON, or functions of the body."""
        self._script.extend(replies)

    def fault(self, kind: str, **settings: object) -> None:
        """Commit a fault on the next call; ``times``, ``every`` and the rest as in :class:`Fault`."""
        self._faults.append(Fault.parse({"kind": kind, **settings}))

    def clear_faults(self) -> None:
        """Behave from now on."""
        self._faults.clear()

    def stats(self) -> dict[str, object]:
        """Return the counts since the last reset, among them calls by the newest user message's text."""
        return {
            "calls": self.calls,
            "open": self.open,
            "max_open": self.max_open,
            "faulted": self.faulted,
            "aborted": self.aborted,
            "connections": len(self._connections),
            "by_message": dict(self._by_message),
        }

    def control(self, wanted: Mapping[str, object]) -> None:
        """Set things as ``POST /__control`` does: any setting, ``faults``, ``script``, ``reset``."""
        for name in _DIALS & wanted.keys():
            setattr(self, name, wanted[name])
        if isinstance(faults := wanted.get("faults"), list):
            # Made first, so that a wrong one changes nothing.
            self._faults = [Fault.parse(fault) for fault in faults]
        if isinstance(script := wanted.get("script"), list):
            self._script = deque(script)
        if wanted.get("reset"):
            self.reset()

    async def start(self, *, host: str = "127.0.0.1", port: int = 0) -> Self:
        """Listen; port 0 takes a free one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port, backlog=1024)
        return self

    async def stop(self) -> None:
        """Stop listening and cut every connection; may be called twice."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            connection.cut()
        await self._server.wait_closed()
        self._server = None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _called(self, body: bytes) -> Fault | None:
        self.calls += 1
        if self.keeps_requests:
            self._bodies.append(body)
            self._by_message[_newest_user_text(body)] += 1
        for fault in self._faults:
            if fault.strikes(self.calls, body):
                self.faulted += 1
                return fault
        return None

    def _reply(self, body: bytes) -> str:
        if not self._script:
            return answers.default_reply(body, self.reply_chars)
        entry = self._script.popleft()
        said = entry(orjson.loads(body)) if callable(entry) else entry
        return said if isinstance(said, str) else orjson.dumps(said).decode()


def _newest_user_text(body: bytes) -> str:
    try:
        messages = orjson.loads(body)["messages"]
        return next(str(each["content"]) for each in reversed(messages) if each["role"] == "user")
    except (ValueError, LookupError, TypeError, StopIteration):
        return ""


class _Connection(asyncio.Protocol):
    """One client; its requests are answered one after another."""

    _transport: asyncio.Transport

    def __init__(self, server: FakeOpenAI) -> None:
        self._server = server
        self._task: asyncio.Task[None] | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []
        self._path = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server._connections.add(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._server._connections.discard(self)
        if self._task and not self._task.done():
            self._server.aborted += 1
            self._task.cancel()

    @override
    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.cut()

    def cut(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def on_message_begin(self) -> None:
        self._body, self._path = [], b""

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        path, body = self._path.partition(b"?")[0], b"".join(self._body)
        if path.endswith(b"/chat/completions"):
            self._complete(body)
        else:
            self._transport.write(self._aside(path, body))

    def _aside(self, path: bytes, body: bytes) -> bytes:
        """Return the response to everything that is no call of the model."""
        if path == b"/__stats":
            return answers.response(200, orjson.dumps(self._server.stats()))
        if path == b"/__control":
            return self._control(body)
        if path.endswith(b"/models"):
            return answers.response(200, answers.models())
        return answers.response(404, answers.failure("no such path", kind="invalid_request_error"))

    def _control(self, body: bytes) -> bytes:
        try:
            self._server.control(orjson.loads(body or b"{}"))
        except (ValueError, TypeError, AttributeError) as error:
            return answers.response(400, answers.failure(str(error), kind="invalid_request_error"))
        return answers.response(200, b"{}")

    def _complete(self, body: bytes) -> None:
        server = self._server
        fault = server._called(body)
        server.max_open = max(server.max_open, server.open + 1)
        if fault or server.latency or server.tps:
            server.open += 1
            self._task = asyncio.get_running_loop().create_task(self._slowly(body, fault))
            self._task.add_done_callback(self._done)
        else:
            self._transport.write(_at_once(body, server._reply(body), server.chunk_chars))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._server.open -= 1
        if not task.cancelled() and task.exception():
            self.cut()

    async def _slowly(self, body: bytes, fault: Fault | None) -> None:
        if self._server.latency:
            await asyncio.sleep(self._server.latency)
        if fault is None:
            await self._speak(body)
        elif said := fault.said():
            self._transport.write(said)
        else:
            await getattr(self, f"_{fault.kind}")(body, fault)

    async def _speak(self, body: bytes) -> None:
        server, text = self._server, self._server._reply(body)
        if not answers.wants_stream(body):
            if server.tps:
                await asyncio.sleep(len(text) / server.chunk_chars / server.tps)
            self._transport.write(answers.response(200, answers.whole(text, _asked(body))))
        elif not server.tps:
            self._transport.write(_at_once(body, text, server.chunk_chars))
        else:
            await self._drip(body, text)

    async def _drip(self, body: bytes, text: str) -> None:
        now = asyncio.get_running_loop().time
        begun = now()
        self._transport.write(answers.STREAM_HEAD)
        for count, event in enumerate(answers.events(text, self._server.chunk_chars)):
            self._transport.write(answers.framed(event))
            due = begun + (count + 1) / self._server.tps if self._server.tps else 0
            await asyncio.sleep(max(0.0, due - now()))
        self._transport.write(answers.framed(_tail(body, text)) + answers.STREAM_END)

    async def _slow(self, body: bytes, fault: Fault) -> None:
        await asyncio.sleep(fault.seconds)
        await self._speak(body)

    async def _hang(self, _body: bytes, _fault: Fault) -> None:
        # Ends with the connection.
        await asyncio.Event().wait()

    async def _close(self, _body: bytes, _fault: Fault) -> None:
        self.cut()

    async def _cut(self, body: bytes, _fault: Fault) -> None:
        whole = _at_once(body, self._server._reply(body), self._server.chunk_chars)
        self._transport.write(whole[: len(whole) // 2])
        # What is written is still sent, unlike after an abort.
        self._transport.close()

    async def _plain(self, body: bytes, _fault: Fault) -> None:
        text = self._server._reply(body)
        self._transport.write(answers.response(200, answers.whole(text, _asked(body))))

    async def _nul(self, body: bytes, _fault: Fault) -> None:
        if not answers.wants_stream(body):
            self._transport.write(answers.response(200, answers.dirty_whole(_asked(body))))
            return
        events = answers.dirty_event() + answers.all_events("", 1) + answers.DONE
        self._transport.write(answers.STREAM_HEAD + answers.framed(events) + answers.STREAM_END)


def _asked(body: bytes) -> int:
    return len(body) // 4


def _at_once(body: bytes, text: str, size: int) -> bytes:
    if not answers.wants_stream(body):
        return answers.response(200, answers.whole(text, _asked(body)))
    stream = answers.framed(answers.all_events(text, size) + _tail(body, text))
    return answers.STREAM_HEAD + stream + answers.STREAM_END


def _tail(body: bytes, text: str) -> bytes:
    usage = answers.usage_event(text, _asked(body)) if answers.wants_usage(body) else b""
    return usage + answers.DONE


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
    parser.add_argument("--forget", action="store_true", help="keep and count no bodies")
    given = parser.parse_args()
    server = FakeOpenAI(
        latency=given.latency,
        tps=given.tps,
        reply_chars=given.reply_chars,
        chunk_chars=given.chunk_chars,
        keeps_requests=not given.forget,
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
