"""What a source has: found out by one for all, and kept, also when it cannot be found out any more."""

import asyncio
from collections.abc import Sequence

import pytest

from tertulia import tool
from tertulia.errors import ToolUnavailable
from tertulia.tools.base import Tool
from tertulia.tools.listing import Listing


@tool
def look() -> str:
    return "seen"


class Server:
    """Has a tool, unless it is gone; counts how often it was asked, and says when it may answer."""

    def __init__(self) -> None:
        self.asked, self.is_gone, self.takes = 0, False, 0.0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.now = 0.0
        self.listing = Listing(self._find, clock=lambda: self.now)

    async def _find(self) -> Sequence[Tool]:
        self.asked += 1
        await self.may_answer.wait()
        self.now += self.takes
        if self.is_gone:
            raise ToolUnavailable("nobody there")
        return [look]


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_all_who_ask_at_once_are_answered_at_once() -> None:
    server = Server()
    server.may_answer.clear()
    asking = [asyncio.create_task(server.listing.tools()) for _ in range(5)]
    await settled()

    server.may_answer.set()

    assert await asyncio.gather(*asking) == [[look]] * 5
    assert server.asked == 1


async def test_all_who_ask_at_once_are_told_at_once_that_nobody_is_there() -> None:
    server = Server()
    server.is_gone = True
    server.may_answer.clear()
    asking = [asyncio.create_task(server.listing.tools()) for _ in range(5)]
    await settled()

    server.may_answer.set()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)

    assert [str(outcome) for outcome in outcomes] == ["nobody there"] * 5
    assert len({id(outcome) for outcome in outcomes}) == 5  # each is named after its own run
    assert server.asked == 1


async def test_one_who_gives_up_leaves_it_to_the_next() -> None:
    server = Server()
    server.may_answer.clear()
    first, second = (asyncio.create_task(server.listing.tools()) for _ in range(2))
    await settled()

    first.cancel()
    await asyncio.wait({first})
    server.may_answer.set()

    assert await second == [look]
    assert server.asked == 2


@pytest.mark.parametrize(("takes", "remembered"), [(1.0, 10.0), (40.0, 40.0)])
async def test_a_failure_is_remembered_for_ten_seconds_or_as_long_as_it_took(
    takes: float, remembered: float
) -> None:
    server = Server()
    server.is_gone, server.takes = True, takes
    with pytest.raises(ToolUnavailable, match="nobody there"):
        await server.listing.tools()
    failed_at, server.is_gone = server.now, False

    server.now = failed_at + remembered - 0.1
    with pytest.raises(ToolUnavailable, match="nobody there"):
        await server.listing.tools()
    asked_meanwhile = server.asked
    server.now = failed_at + remembered

    assert await server.listing.tools() == [look]
    assert (asked_meanwhile, server.asked) == (1, 2)


async def test_what_was_found_before_counts_while_it_cannot_be_found_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    await server.listing.tools()
    server.is_gone, server.now = True, 61.0

    found = [await server.listing.tools() for _ in range(3)]

    assert found == [[look]] * 3
    assert server.asked == 2
    assert caplog.text.count("what it had before still counts") == 1


async def test_it_is_found_out_anew_when_that_is_wished() -> None:
    server = Server()
    await server.listing.tools()

    server.listing.expire()
    await server.listing.tools()

    assert server.asked == 2


def test_it_serves_one_event_loop_after_another() -> None:
    async def many(listing: Listing) -> None:
        listing.expire()
        assert await asyncio.gather(*(listing.tools() for _ in range(3))) == [[look]] * 3

    async def find() -> Sequence[Tool]:
        await settled()
        return [look]

    listing = Listing(find, clock=lambda: 0.0)

    asyncio.run(many(listing))
    asyncio.run(many(listing))
