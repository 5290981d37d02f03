"""Who listens to a run finds out what is wrong with its stream."""

from collections.abc import AsyncIterator

import orjson
import pytest

from tertulia.testing.storm.listening import Heard, Told, events

STARTED = Told(0, "run.started", {"run_id": "run_1"})
FINISHED = Told(9, "run.finished", {"id": "run_1", "status": "completed"})


def delta(number: int, text: str) -> Told:
    return Told(number, "text.delta", {"text": text})


def kept(number: int, text: str) -> Told:
    return Told(number, "turn.finished", {"message": {"content": [{"type": "text", "text": text}]}})


def heard(*told: Told) -> Heard:
    listener = Heard("conv_1", "hello")
    for each in told:
        listener.take(each)
    return listener


def test_whole_stream_is_heard_without_fault() -> None:
    listener = heard(STARTED, delta(1, "so"), delta(2, "up"), kept(3, "soup"), FINISHED)

    assert listener.faults == []
    assert (listener.run_id, listener.last, listener.status) == ("run_1", 9, "completed")
    assert (listener.spoken, listener.kept) == ("soup", "soup")


def test_what_was_said_before_a_step_began_again_is_forgotten() -> None:
    again = Told(7, "step.restarted", {"path": "turn/1/model/1"})

    listener = heard(STARTED, delta(1, "so"), again, delta(8, "soup"), kept(9, "soup"))

    assert (listener.faults, listener.spoken) == ([], "soup")


@pytest.mark.parametrize(
    "told",
    [
        [STARTED, delta(1, "so"), delta(1, "up")],
        [delta(2, "so"), delta(1, "up")],
        [delta(1, "so"), kept(3, "soup")],
        [delta(1, "soup"), delta(2, "up"), kept(3, "soup")],
    ],
    ids=["a number twice", "a number too low", "a gap", "a double"],
)
def test_broken_stream_is_found_out(told: list[Told]) -> None:
    assert len(heard(*told).faults) == 1


def test_place_in_the_stream_is_not_moved_by_what_has_no_number() -> None:
    resume = Told(None, "stream.resume", {"run_id": "run_1", "starting_after": 1})

    listener = heard(STARTED, delta(1, "so"), resume)

    assert (listener.last, listener.resumptions, listener.places) == (
        1,
        1,
        [(0, "run.started"), (1, "text.delta")],
    )


async def test_events_are_read_from_the_lines_of_a_stream() -> None:
    async def lines() -> AsyncIterator[bytes]:
        for line in (b"retry: 1000\n", b"\n", b":\n", b"\n"):
            yield line
        yield b"id: 5\n"
        yield b"event: text.delta\n"
        yield b"data: " + orjson.dumps({"text": "\u00fc"}) + b"\n"
        yield b"\n"
        yield b"event: stream.resume\r\n"
        yield b"data: {}\r\n"
        yield b"\r\n"
        yield b"id: 6\n"

    assert [told async for told in events(lines())] == [
        Told(5, "text.delta", {"text": "\u00fc"}),
        Told(None, "stream.resume", {}),
    ]
