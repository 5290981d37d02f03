"""Threads for blocking calls: each has its own, and there are never too many."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest

from tertulia.errors import ToolUnavailable
from tertulia.tools.threads import Threads


class Blocking:
    """Calls that last until they are let go, and are counted."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.begun: list[str] = []

    def __call__(self, name: str) -> str:
        self.begun.append(name)
        self.may_end.wait(30)
        return name


@pytest.fixture
async def blocking() -> AsyncIterator[Blocking]:
    calls = Blocking()
    yield calls
    calls.may_end.set()


def small(*, waiting: int = 8, wait_seconds: float = 30) -> Threads:
    return Threads("calls are made", most=2, waiting=waiting, wait_seconds=wait_seconds)


def begun(threads: Threads, blocking: Blocking, *names: str) -> list[asyncio.Task[str]]:
    return [asyncio.create_task(threads.run(partial(blocking, name))) for name in names]


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110  # what is waited for happens in a thread
            await asyncio.sleep(0)


async def test_what_finds_no_room_waits_and_is_done_in_its_turn(blocking: Blocking) -> None:
    tasks = begun(small(), blocking, "a", "b", "c", "d")
    await until(lambda: len(blocking.begun) == 2)

    assert blocking.begun == ["a", "b"]
    blocking.may_end.set()
    assert await asyncio.gather(*tasks) == ["a", "b", "c", "d"]


async def test_no_more_wait_than_are_allowed(blocking: Blocking, caplog: pytest.LogCaptureFixture) -> None:
    threads = small(waiting=1)
    tasks = begun(threads, blocking, "a", "b", "c")
    await until(lambda: len(blocking.begun) == 2)

    for _ in range(3):
        with pytest.raises(ToolUnavailable, match="too many calls are made at once"):
            await threads.run(partial(blocking, "d"))

    assert caplog.text.count("no room beside 2 threads") == 1
    blocking.may_end.set()
    await asyncio.gather(*tasks)
    assert "d" not in blocking.begun


async def test_nobody_waits_for_ever_and_what_was_given_up_is_never_begun(blocking: Blocking) -> None:
    threads = small(wait_seconds=0.01)
    tasks = begun(threads, blocking, "a", "b")
    await until(lambda: len(blocking.begun) == 2)

    with pytest.raises(ToolUnavailable, match="nothing was begun"):
        await threads.run(partial(blocking, "c"))

    blocking.may_end.set()
    await asyncio.gather(*tasks)
    assert await threads.run(lambda: "next") == "next"
    assert "c" not in blocking.begun


async def test_what_is_cancelled_while_it_waits_is_never_begun(blocking: Blocking) -> None:
    threads = small()
    tasks = begun(threads, blocking, "a", "b", "c")
    await until(lambda: len(blocking.begun) == 2)

    tasks[2].cancel()
    await asyncio.wait({tasks[2]})
    blocking.may_end.set()
    await asyncio.gather(*tasks[:2])

    assert await threads.run(lambda: "next") == "next"
    assert "c" not in blocking.begun


async def test_a_thread_that_nobody_hears_any_longer_still_counts(blocking: Blocking) -> None:
    threads = small(wait_seconds=0.01)
    tasks = begun(threads, blocking, "a", "b")
    await until(lambda: len(blocking.begun) == 2)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    with pytest.raises(ToolUnavailable):
        await threads.run(lambda: "next")

    blocking.may_end.set()
    await until(lambda: not threads._at_work)
    assert await threads.run(lambda: "next") == "next"


async def test_an_error_gives_its_room_back() -> None:
    threads = small()

    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 / 0)


async def test_where_the_system_has_no_threads_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = small()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        for _ in range(5):
            with pytest.raises(ToolUnavailable):
                await threads.run(lambda: "never")

    assert await threads.run(lambda: "next") == "next"


def test_one_event_loop_after_another_may_use_them() -> None:
    threads = small()

    async def once() -> list[str]:
        return await asyncio.gather(*(threads.run(lambda: "done") for _ in range(5)))

    assert [asyncio.run(once()), asyncio.run(once())] == [["done"] * 5] * 2
