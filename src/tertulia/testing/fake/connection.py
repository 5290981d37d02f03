"""One client of the fake model server: its requests are taken apart, and answered one after another."""

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import httptools
from typing_extensions import override

from tertulia.testing.fake.asides import Wish, aside, follows, request_of
from tertulia.testing.fake.calls import Call, ChatCall, CompletionCall, ResponseCall
from tertulia.testing.fake.chat import at_once
from tertulia.testing.fake.model import FakeModel
from tertulia.testing.fake.said import filler, marks
from tertulia.testing.fake.sent import Wrong
from tertulia.testing.fake.speaking import Speech


class Connection(asyncio.Protocol):
    """One client; whoever serves it puts it into ``connections`` and takes it out again."""

    _transport: asyncio.Transport

    def __init__(self, model: FakeModel, connections: set["Connection"]) -> None:
        self._model, self._connections = model, connections
        self._task: asyncio.Task[None] | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []
        self._url = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._task and not self._task.done():
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
        self._body, self._url = [], b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        path, body = self._url.partition(b"?")[0], b"".join(self._body)
        try:
            if path.endswith(b"/chat/completions"):
                self._chat(body)
            elif path.endswith(b"/completions"):
                self._call(CompletionCall(body, request_of(body)))
            elif path.endswith(b"/responses"):
                self._call(ResponseCall(body, request_of(body), shelf=self._model.shelf))
            else:
                self._aside(Wish.of(self._parser.get_method(), self._url, body))
        except Wrong as wrong:
            self._transport.write(wrong.response())

    def _chat(self, body: bytes) -> None:
        """Answer a chat; where nobody wants to know what is asked, it is not even taken apart."""
        model = self._model
        if model.keeps_requests or model.strict or model.has_faults or model.is_told:
            return self._call(ChatCall(body, request_of(body)))
        model.calls += 1
        model.max_open = max(model.max_open, model.open + 1)
        return self._chat_at_once(body)

    def _call(self, call: Call) -> None:
        model = self._model
        fault = model.called(call.body, call.newest)
        model.max_open = max(model.max_open, model.open + 1)
        if isinstance(call, ChatCall) and call.is_plain and not (fault or model.is_told):
            if model.strict:
                call.check()
            return self._chat_at_once(call.body)
        model.open += 1
        self._begin(Speech(model, self._transport).answer(call, fault)).add_done_callback(self._called)
        return None

    def _chat_at_once(self, body: bytes) -> None:
        text = filler(marks(body), self._model.reply_chars)
        self._transport.write(at_once(body, text, self._model.chunk_chars))

    def _aside(self, wish: Wish) -> None:
        model = self._model
        if not wish.is_fetch:
            return self._transport.write(aside(model, wish))
        fault = model.fetched(self._url)
        if fault and fault.kind == "gone":
            model.expire()
        kept = model.shelf.answer(wish.names[0])
        after = follows(wish, kept, strict=model.strict)
        self._begin(Speech(model, self._transport).fetch(kept, fault, after=after))
        return None

    def _begin(self, speaking: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self._task = asyncio.get_running_loop().create_task(speaking)
        self._task.add_done_callback(self._done)
        return self._task

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception():
            self.cut()

    def _called(self, task: asyncio.Task[None]) -> None:
        self._model.open -= 1
        self._model.aborted += task.cancelled()
