import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest
from typing_extensions import override

from tertulia.hints import EVERYTHING, WORK
from tertulia.hints.packing import pack, unpack
from tertulia.hints.wired import Line, Pace, Receive, WiredHints
from tertulia.testing.hints_contract import LIMIT_SECONDS, Ear, a_run

QUICK = Pace(connecting=0.2, rest=0.0, silence=5.0, closing=0.2, first_pause=0.001)


class Wire(Line):
    """A line that echoes, until it is cut."""

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self.sent: list[frozenset[str]] = []
        self.is_closed = self.is_deaf = self.is_stuck = self.is_stubborn = False
        self._cut = asyncio.Event()

    def cut(self) -> None:
        """Break it, as a server does that goes away."""
        self._cut.set()

    @override
    async def send(self, text: str) -> None:
        if self.is_stuck:
            await asyncio.Event().wait()
        if self.is_stubborn:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        self.sent.append(unpack(text))
        if not self.is_deaf:
            self.receive(text)

    @override
    async def wait(self) -> None:
        await self._cut.wait()
        raise ConnectionError

    @override
    async def close(self) -> None:
        if self.is_stuck:
            await asyncio.Event().wait()
        self.is_closed = True


@dataclass
class Exchange:
    """Whoever gives out lines: one after another, or errors."""

    troubles: list[Exception] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    are_deaf: bool = False
    is_silent: bool = False

    async def connect(self, receive: Receive) -> Line:
        if self.is_silent:
            await asyncio.Event().wait()
        if self.troubles:
            raise self.troubles.pop()
        self.wires.append(Wire(receive))
        self.wires[-1].is_deaf = self.are_deaf
        return self.wires[-1]


class FakeHints(WiredHints):
    """Hints over an exchange."""

    def __init__(self, exchange: Exchange, pace: Pace) -> None:
        super().__init__("a fake", pace=pace)
        self._exchange = exchange

    @override
    @classmethod
    def from_url(cls, url: str) -> "FakeHints":
        return cls(Exchange(), QUICK)

    @override
    async def connect(self, receive: Receive) -> Line:
        return await self._exchange.connect(receive)


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
async def connect(exchange: Exchange) -> AsyncIterator[Callable[..., FakeHints]]:
    """Make hints over the exchange, which are closed in the end."""
    made: list[FakeHints] = []

    def make(pace: Pace = QUICK) -> FakeHints:
        made.append(FakeHints(exchange, pace))
        return made[-1]

    yield make
    for hints in made:
        await hints.close()


async def until(is_so: Callable[[], bool]) -> None:
    """Let the others go on until something is so."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not is_so():  # noqa: ASYNC110  # what is waited for is no event, here only
            await asyncio.sleep(0)


async def test_what_is_rung_meanwhile_goes_together(
    exchange: Exchange, connect: Callable[..., FakeHints]
) -> None:
    hints, ear = connect(Pace(rest=0.05)), Ear()
    await hints.open(ear)
    runs = [a_run() for _ in range(100)]

    for run in runs:
        hints.ring({run})
        await asyncio.sleep(0)
    await ear.until(*runs)

    assert len(exchange.wires[0].sent) < 10


async def test_cut_line_is_replaced_and_everything_is_heard(
    exchange: Exchange, connect: Callable[..., FakeHints]
) -> None:
    hints, ear, run = connect(), Ear(), a_run()
    await hints.open(ear)
    at_first = list(ear.heard)

    exchange.wires[0].cut()
    await ear.until(EVERYTHING)
    hints.ring({run})
    await ear.until(run)

    assert at_first == []
    assert exchange.wires[0].is_closed
    assert run in {topic for sent in exchange.wires[1].sent for topic in sent}


async def test_what_is_rung_while_there_is_no_line_is_lost(
    exchange: Exchange, connect: Callable[..., FakeHints]
) -> None:
    exchange.troubles = [ConnectionError() for _ in range(3)]
    hints, ear, lost, run = connect(), Ear(), a_run(), a_run()

    await hints.open(ear)
    hints.ring({lost})
    await ear.until(EVERYTHING)
    hints.ring({run})
    await ear.until(run)

    assert ear.topics == {EVERYTHING, run}


@pytest.mark.parametrize("trouble", [OSError(), ValueError(), RuntimeError("a fault of the library")])
async def test_no_trouble_ends_the_seeking(
    exchange: Exchange,
    connect: Callable[..., FakeHints],
    trouble: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    exchange.troubles = [trouble] * 5
    hints, ear = connect(), Ear()

    await hints.open(ear)
    await ear.until(EVERYTHING)

    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert type(trouble).__name__ in warnings[0].getMessage()


async def test_server_that_does_not_answer_keeps_nobody_from_starting(
    exchange: Exchange, connect: Callable[..., FakeHints]
) -> None:
    exchange.is_silent = True
    hints = connect()

    await hints.open(lambda _: None)
    await hints.close()

    assert exchange.wires == []


async def test_line_on_which_nothing_comes_back_is_given_up(
    exchange: Exchange, connect: Callable[..., FakeHints]
) -> None:
    exchange.are_deaf = True
    hints, ear = connect(Pace(silence=0.01, first_pause=0.001)), Ear()
    await hints.open(ear)

    await ear.until(EVERYTHING)
    exchange.are_deaf = False
    await until(lambda: not exchange.wires[-1].is_deaf)

    assert exchange.wires[0].is_closed
    assert exchange.wires[0].sent == [frozenset()]


async def test_line_that_is_only_quiet_is_kept(exchange: Exchange, connect: Callable[..., FakeHints]) -> None:
    hints, ear = connect(Pace(silence=0.01, rest=0.0)), Ear()
    await hints.open(ear)

    await until(lambda: len(exchange.wires[0].sent) > 5)

    assert len(exchange.wires) == 1
    assert ear.heard == []


async def test_line_that_takes_nothing_is_given_up(
    exchange: Exchange, connect: Callable[..., FakeHints]
) -> None:
    hints, ear, run = connect(replace(QUICK, silence=0.05)), Ear(), a_run()
    await hints.open(ear)

    exchange.wires[0].is_stuck = True
    hints.ring({run})
    await ear.until(EVERYTHING)

    assert len(exchange.wires) >= 2


async def test_line_whose_library_loses_a_cancellation_is_replaced_too(
    exchange: Exchange, connect: Callable[..., FakeHints]
) -> None:
    hints, ear, run = connect(), Ear(), a_run()
    await hints.open(ear)

    exchange.wires[0].is_stubborn = True
    await asyncio.sleep(0)
    tasks = len(asyncio.all_tasks())
    exchange.wires[0].cut()
    await ear.until(EVERYTHING)
    hints.ring({run})
    await ear.until(run)

    assert len(asyncio.all_tasks()) == tasks
    assert run in {topic for sent in exchange.wires[1].sent for topic in sent}


async def test_closing_does_not_wait_for_a_line_that_takes_nothing(
    exchange: Exchange, connect: Callable[..., FakeHints]
) -> None:
    hints = connect(Pace(closing=0.01))
    await hints.open(lambda _: None)
    exchange.wires[0].is_stuck = True

    hints.ring({WORK})
    async with asyncio.timeout(LIMIT_SECONDS):
        await hints.close()

    assert not exchange.wires[0].is_closed


async def test_closing_tells_what_is_still_to_be_told(
    exchange: Exchange, connect: Callable[..., FakeHints]
) -> None:
    hints, ear, run = connect(), Ear(), a_run()
    await hints.open(ear)
    await until(lambda: bool(exchange.wires[0].sent))

    hints.ring({run})
    await hints.close()

    assert exchange.wires[0].sent[-1] == {run}
    assert exchange.wires[0].is_closed
    assert ear.heard == []


async def test_closing_while_there_is_no_line_seeks_none(
    exchange: Exchange, connect: Callable[..., FakeHints]
) -> None:
    exchange.troubles = [ConnectionError()]
    hints = connect(Pace(first_pause=60.0, longest_pause=60.0, closing=60.0))
    await hints.open(lambda _: None)

    async with asyncio.timeout(LIMIT_SECONDS):
        await hints.close()

    assert exchange.wires == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_words_of_another_version_are_heard_as_everything(
    exchange: Exchange, connect: Callable[..., FakeHints]
) -> None:
    hints, ear = connect(), Ear()
    await hints.open(ear)

    exchange.wires[0].receive('{"a later": "form"}')
    await ear.until(EVERYTHING)

    assert ear.heard == [{EVERYTHING}]


def test_pauses_grow_and_are_bounded() -> None:
    pauses = [Pace().pause(failures) for failures in (0, 1, 2, 3, 10, 10_000)]

    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[1]
    assert pauses[-1] == Pace().longest_pause


def test_hint_about_nothing_is_no_topic() -> None:
    assert unpack(pack(())) == frozenset()
