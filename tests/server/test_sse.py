"""Streams tell every event once, live while nothing happens, and say where to go on."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Any, get_args

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Scope

from tertulia.conversations import RunStatus, Wait
from tertulia.errors import Stopping, StoreUnavailable, TertuliaError
from tertulia.events import (
    Event,
    Numbered,
    ProviderFailed,
    ReasoningDelta,
    RunFinished,
    RunStarted,
    RunWaiting,
    StepRestarted,
    TextDelta,
    ToolCalled,
    ToolFinished,
    TurnFinished,
    TurnStarted,
)
from tertulia.server.event_rows import told_as
from tertulia.server.sse import Cadence, EventStream
from tertulia.testing import builders
from tertulia.usage import Usage
from tests.server.doing import Told, told, until

RUN, CONVERSATION = "run_1", "conv_1"
SCOPE: Scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}}
WAIT = Wait(kind="approval", path="turn/1/tool/mail", message="May it be sent?", until=builders.LATER_US)


class Reader:
    """A client that takes what it is sent, until it does not."""

    def __init__(self, *, takes: int | None = None) -> None:
        self.messages: list[Message] = []
        self._takes, self._hung_up = takes, asyncio.Event()

    async def send(self, message: Message) -> None:
        if self._takes is not None and len(self.messages) >= self._takes:
            await asyncio.Event().wait()
        self.messages.append(message)

    async def receive(self) -> Message:
        await self._hung_up.wait()
        return {"type": "http.disconnect"}

    def hang_up(self) -> None:
        self._hung_up.set()

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.messages).decode()

    @property
    def is_whole(self) -> bool:
        return not self.messages[-1].get("more_body", True)


class Scripted:
    """Events that come one after another, then nothing, an error, or the end."""

    def __init__(self, *events: Event, then: TertuliaError | None = None, waits: bool = False) -> None:
        self._events, self._then, self._waits = events, then, waits
        self.is_closed = False

    async def follow(self) -> AsyncGenerator[Numbered, None]:
        try:
            for seq, event in enumerate(self._events):
                yield Numbered(seq, event)
            if self._waits:
                await asyncio.Event().wait()
            if self._then is not None:
                raise self._then
        finally:
            self.is_closed = True


def a_delta(text: str = "a") -> TextDelta:
    return TextDelta(text=text, author="Chef")


async def read(
    events: AsyncGenerator[Numbered, None], reader: Reader | None = None, *, after: int = -1, **cadence: float
) -> Reader:
    """Have a stream told to a reader, to its end."""
    reader = reader or Reader()
    stream = EventStream(RUN, events, closing=closed_so, after=after, cadence=Cadence(**cadence))
    await stream(SCOPE, reader.receive, reader.send)
    return reader


async def closed_so(end: RunFinished) -> dict[str, object] | None:
    return None if end.closed is None else {"reason": end.closed, "notice": "Goodbye!"}


async def test_first_bytes_come_before_the_first_event() -> None:
    reader, script = Reader(), Scripted(waits=True)
    reading = asyncio.create_task(read(script.follow(), reader))

    await until(lambda: len(reader.messages) == 2)

    assert reader.messages[0]["status"] == 200
    assert reader.text == "retry: 1000\n\n"
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_every_event_is_told_once_under_its_number() -> None:
    reader = await read(Scripted(a_delta("a"), a_delta("b\nc")).follow())

    assert told(reader.text) == [
        Told(id=0, kind="text.delta", data={"type": "text.delta", "text": "a", "author": "Chef"}),
        Told(id=1, kind="text.delta", data={"type": "text.delta", "text": "b\nc", "author": "Chef"}),
    ]
    assert reader.is_whole


async def test_silence_is_filled_with_comments() -> None:
    reader, script = Reader(), Scripted(a_delta(), waits=True)
    reading = asyncio.create_task(read(script.follow(), reader, heartbeat=0.001))

    await until(lambda: reader.text.count("\n:\n\n") >= 3)

    assert len(told(reader.text)) == 1
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


@pytest.mark.parametrize("takes", [0, 1, 2, 3])
async def test_who_does_not_take_its_bytes_is_cut_off(takes: int) -> None:
    reader, script = Reader(takes=takes), Scripted(a_delta(), a_delta(), waits=True)

    with pytest.raises(ClientDisconnect):
        await read(script.follow(), reader, patience=0.01)

    assert script.is_closed or takes < 3
    assert len(reader.messages) == takes


async def test_who_takes_no_comments_is_cut_off_too() -> None:
    reader, script = Reader(takes=3), Scripted(a_delta(), waits=True)

    with pytest.raises(ClientDisconnect):
        await read(script.follow(), reader, heartbeat=0.001, patience=0.01)

    assert script.is_closed


async def test_who_hangs_up_lets_go_of_the_events() -> None:
    reader, script = Reader(), Scripted(a_delta(), waits=True)
    reading = asyncio.create_task(read(script.follow(), reader))
    await until(lambda: len(reader.messages) == 3)

    reader.hang_up()
    await reading

    assert script.is_closed
    assert not reader.is_whole


@pytest.mark.parametrize(
    ("seen", "events", "starting_after", "query"),
    [
        (-1, (), None, ""),
        (7, (), 7, "?starting_after=7"),
        (-1, (a_delta(), a_delta()), 1, "?starting_after=1"),
    ],
)
async def test_a_server_that_stops_says_where_to_go_on(
    seen: int, events: tuple[Event, ...], starting_after: int | None, query: str
) -> None:
    reader = await read(Scripted(*events, then=Stopping()).follow(), after=seen)

    assert told(reader.text)[-1] == Told(
        id=None,
        kind="stream.resume",
        data={
            "run_id": RUN,
            "starting_after": starting_after,
            "url": f"/v1/runs/{RUN}/events{query}",
        },
    )
    assert reader.is_whole


async def test_a_store_that_fails_in_the_midst_is_told_as_a_problem() -> None:
    reader = await read(Scripted(a_delta(), then=StoreUnavailable()).follow())

    last = told(reader.text)[-1]
    assert (last.id, last.kind) == (None, "error")
    assert (last.data["code"], last.data["status"], last.data["run_id"]) == ("store_unavailable", 503, RUN)
    assert reader.is_whole


async def test_what_nobody_expected_cuts_the_stream() -> None:
    async def broken() -> AsyncGenerator[Numbered, None]:
        yield Numbered(0, a_delta())
        raise RuntimeError("a bug")

    reader = Reader()

    with pytest.raises(RuntimeError):
        await read(broken(), reader)

    assert not reader.is_whole


def finished(**more: Any) -> RunFinished:
    usual: dict[str, Any] = {
        "run_id": RUN,
        "conversation_id": CONVERSATION,
        "status": RunStatus.COMPLETED,
        "messages": (builders.an_answer("Paella."),),
    }
    return RunFinished(**{**usual, **more})


def every() -> Iterator[Event]:
    yield RunStarted(run_id=RUN, conversation_id=CONVERSATION, input_number=1, epoch=1)
    yield TurnStarted(turn=1, author="Chef", reason="asked")
    yield StepRestarted(path="turn/1/model/1")
    yield ReasoningDelta(text="Five guests.", author="Chef")
    yield ToolCalled(turn=1, author="Chef", call_id="c1", name="add", arguments='{"a":1}')
    yield ToolFinished(turn=1, author="Chef", call_id="c1", name="add", text="2")
    yield ProviderFailed(provider="facts", stage="after_run", message="it failed (ValueError)")
    yield a_delta()
    yield TurnFinished(turn=1, message=builders.an_answer("Paella."))
    yield RunWaiting(run_id=RUN, conversation_id=CONVERSATION, wait=WAIT)
    yield finished()


@pytest.mark.parametrize("event", list(every()), ids=lambda event: event.kind)
def test_every_kind_of_event_can_be_told(event: Event) -> None:
    [one] = told(told_as(Numbered(3, event)).decode())

    assert (one.id, one.kind, one.data["type"]) == (3, event.kind, event.kind)
    assert len(one.data) > 1


def test_every_kind_of_event_is_tried() -> None:
    assert {type(event) for event in every()} == set(get_args(Event))


def test_a_run_that_waits_tells_what_can_be_decided() -> None:
    event = RunWaiting(run_id=RUN, conversation_id=CONVERSATION, wait=WAIT)

    [one] = told(told_as(Numbered(3, event)).decode())

    assert one.data["wait"]["verdicts"] == ["approve", "deny"]
    assert one.data["wait"]["message"] == "May it be sent?"


def test_the_use_of_a_tool_is_told_with_what_it_was_given_and_what_came_of_it() -> None:
    called = ToolCalled(turn=1, author="Chef", call_id="c1", name="add", arguments='{"a":1}')
    result = ToolFinished(turn=1, author="Chef", call_id="c1", name="add", text="no number", is_error=True)

    first, second = (told(told_as(Numbered(3, event)).decode())[0].data for event in (called, result))

    both = {"turn": 1, "author": "Chef", "call_id": "c1", "name": "add"}
    assert first == {"type": "tool.called", **both, "arguments": '{"a":1}'}
    assert second == {"type": "tool.finished", **both, "text": "no number", "is_error": True}


@pytest.mark.parametrize("reason", ["The goal is reached.", None])
async def test_the_end_tells_what_it_cost_and_whether_the_conversation_is_closed(reason: str | None) -> None:
    end = finished(usage=Usage(tool_calls=2, cost=0.1 + 0.2), closed=reason)

    reader = await read(Scripted(end).follow())

    [one] = told(reader.text)
    assert (one.data["usage"]["tool_calls"], one.data["usage"]["cost_usd"]) == (2, 0.3)
    assert one.data["closed"] == (reason and {"reason": reason, "notice": "Goodbye!"})


@pytest.mark.parametrize(("known", "told_so"), [("length", "length"), ("", None)])
def test_the_end_tells_why_the_model_stopped(known: str, told_so: str | None) -> None:
    [one] = told(told_as(Numbered(3, finished(finish_reason=known))).decode())

    assert one.data["finish_reason"] == told_so


def test_a_failed_run_carries_its_problem() -> None:
    event = finished(status=RunStatus.FAILED, failure=builders.FAILURE, messages=())

    [one] = told(told_as(Numbered(3, event)).decode())

    assert (one.data["error"]["code"], one.data["error"]["status"]) == ("model_busy", 503)
    assert one.data["messages"] == []


@pytest.mark.parametrize("text", ["half \ud83d", "\ude00 and half"])
def test_half_a_character_stops_no_stream(text: str) -> None:
    [one] = told(told_as(Numbered(0, a_delta(text))).decode())

    assert "\ufffd" in one.data["text"]


@pytest.mark.parametrize("breaking", ["\n\nid: 7\n", "\r\nevent: x\r\n", "\u2028\x85\x0b"])
def test_no_text_can_forge_an_event(breaking: str) -> None:
    block = told_as(Numbered(0, a_delta(breaking))).decode()

    assert block.count("\n") == 4
    assert "\r" not in block
    assert told(block)[0].data["text"] == breaking
