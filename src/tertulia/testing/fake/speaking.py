"""How the fake model server sends an answer: when, in what pieces, and with which faults."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Final

from tertulia.testing.fake.calls import Call, ResponseCall
from tertulia.testing.fake.keeping import Kept
from tertulia.testing.fake.model import FakeModel
from tertulia.testing.fake.response import ResponseAnswer
from tertulia.testing.fake.said import Said
from tertulia.testing.fake.sent import STREAM_END, STREAM_HEAD, Wrong, framed, response
from tertulia.testing.fake.wire import Answer
from tertulia.testing.faults import Fault

_LARGE: Final = 64 * 1024


class Speech:
    """One answer on its way to a client."""

    def __init__(self, model: FakeModel, transport: asyncio.Transport) -> None:
        self._model, self._transport = model, transport
        self._unsent: list[bytes] = []

    async def answer(self, call: Call, fault: Fault | None) -> None:
        """Answer a call as it was told to."""
        if self._model.latency:
            await asyncio.sleep(self._model.latency)
        try:
            await self._answer(call, fault)
        except Wrong as wrong:
            self._transport.write(wrong.response())
        finally:
            call.leave()

    async def fetch(self, kept: Kept, fault: Fault | None, *, after: int | None) -> None:
        """Tell what has become of a kept answer: as it is now, or the events after a number, as they come."""
        if fault is None or not await self._is_settled(fault):
            await self._send(_told(kept, after), fault, kept.answer.is_word)

    async def _answer(self, call: Call, fault: Fault | None) -> None:
        if fault and await self._is_settled(fault):
            return None
        if self._model.strict:
            call.check()
        asked = call.asked()
        said = fault.said() if fault else None
        if said is None:
            reply = self._model.reply(asked)
            if isinstance(reply, Fault):
                self._model.faulted += 1
                # A fault of the script is struck once: what comes after it is the next entry's.
                return await self._answer(call, reply)
            said = reply
        await self._say(call, said, fault)
        return None

    async def _is_settled(self, fault: Fault) -> bool:
        """Commit a fault that needs no answer; return whether that was all."""
        if whole := fault.response():
            self._transport.write(whole)
        elif fault.kind == "close":
            self._transport.abort()
        elif fault.kind == "hang":
            # Ends with the connection.
            await asyncio.Event().wait()
        else:
            if fault.kind == "gone":
                self._model.expire()
            elif fault.kind == "slow":
                await asyncio.sleep(fault.seconds)
            return False
        return True

    async def _say(self, call: Call, said: Said, fault: Fault | None) -> None:
        answer = call.answer(said)
        if fault and fault.kind == "error-event":
            return self._transport.write(response(200, answer.broken(), kind=b"text/event-stream"))
        if fault and fault.kind == "plain":
            call.streams = False
        size = _LARGE if fault and fault.kind == "huge" else self._model.chunk_chars
        await self._send(self._pieces(call, answer, said, size), fault, answer.is_word)
        return None

    async def _pieces(self, call: Call, answer: Answer, said: Said, size: int) -> AsyncGenerator[bytes, None]:
        if call.is_background and isinstance(call, ResponseCall) and isinstance(answer, ResponseAnswer):
            kept = self._begin(call, answer, size)
            async with aclosing(_told(kept, -1 if call.streams else None)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        if not call.streams:
            if self._model.tps:
                await asyncio.sleep(len(said.text) / size / self._model.tps)
            call.finish(answer)
            yield response(200, answer.whole())
            return
        yield STREAM_HEAD
        async with aclosing(_paced(answer.events(size), self._model.tps)) as events:
            async for event in events:
                call.tell(answer, event)
                yield framed(event)
        yield STREAM_END

    def _begin(self, call: ResponseCall, answer: ResponseAnswer, size: int) -> Kept:
        """Let the work on an answer begin that goes on when the client leaves."""
        kept = call.kept(answer)
        for event in answer.queued():
            kept.tell(event)
        self._model.keep(kept)
        kept.work = asyncio.create_task(self._work(call, kept, size))
        kept.work.add_done_callback(lambda _: call.leave())
        return kept

    async def _work(self, call: ResponseCall, kept: Kept, size: int) -> None:
        # Whoever asked is told first that it waits.
        await asyncio.sleep(0)
        await kept.released.wait()
        kept.become("in_progress")
        if self._model.background_seconds:
            await asyncio.sleep(self._model.background_seconds)
        async for event in _paced(kept.answer.work(size), self._model.tps):
            call.tell(kept.answer, event)
            kept.tell(event)

    async def _send(
        self, pieces: AsyncGenerator[bytes, None], fault: Fault | None, is_word: Callable[[bytes], bool]
    ) -> None:
        kind = fault.kind if fault else ""
        if fault and kind == "drip":
            return await self._drip(pieces, fault.seconds)
        if fault and kind in ("cut", "stall"):
            await self._send_some(pieces, fault.tokens, is_word)
            if kind == "stall":
                await asyncio.Event().wait()
            # What is written is still sent, unlike after an abort.
            return self._transport.close()
        async for piece in pieces:
            # Whatever is there without waiting goes out as one.
            if not self._unsent:
                asyncio.get_running_loop().call_soon(self._flush)
            self._unsent.append(piece)
        self._flush()
        return None

    def _flush(self) -> None:
        if self._unsent:
            self._transport.write(b"".join(self._unsent))
            self._unsent.clear()

    async def _send_some(
        self, pieces: AsyncGenerator[bytes, None], tokens: int | None, is_word: Callable[[bytes], bool]
    ) -> None:
        if tokens is None:
            whole = b"".join([piece async for piece in pieces])
            return self._transport.write(whole[: len(whole) // 2])
        words = 0
        async for piece in pieces:
            words += is_word(piece)
            if words > tokens:
                await pieces.aclose()
                return None
            self._transport.write(piece)
        return None

    async def _drip(self, pieces: AsyncGenerator[bytes, None], seconds: float) -> None:
        async for piece in pieces:
            for place in range(len(piece)):
                self._transport.write(piece[place : place + 1])
                await asyncio.sleep(seconds)


async def _told(kept: Kept, after: int | None) -> AsyncGenerator[bytes, None]:
    if after is None:
        yield response(200, kept.told())
        return
    yield STREAM_HEAD
    async with aclosing(kept.follow(after=after)) as events:
        async for event in events:
            yield framed(event)
    yield STREAM_END


async def _paced(events: Iterator[bytes], tps: float) -> AsyncGenerator[bytes, None]:
    """Yield events, so many a second; 0: all at once."""
    now = asyncio.get_running_loop().time
    begun = now()
    for count, event in enumerate(events):
        yield event
        if tps:
            await asyncio.sleep(max(0.0, begun + (count + 1) / tps - now()))
