"""Programs that are servers of tools, and how they may go wrong."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.errors import ToolError, ToolUnavailable
from tertulia.tools.allowance import MB, Allowance
from tertulia.tools.base import ToolRules
from tertulia.tools.mcp_file import Program, ServerConfig
from tertulia.tools.mcp_pipes import Lines
from tertulia.tools.mcp_server import MCPTools, open_configured
from tests.tools import rude_program

RULES = ToolRules()


@asynccontextmanager
async def rude(*manners: str) -> AsyncIterator[MCPTools]:
    """Open a program that lacks some manners."""
    at = Program(command=sys.executable, args=(rude_program.__file__, *manners))
    source = open_configured(ServerConfig(label="rude", at=at, seconds=30))
    assert isinstance(source, MCPTools)
    try:
        yield source
    finally:
        await source.close()


async def used(source: MCPTools, name: str) -> str:
    return await source.call(name, {}, key="key", rules=RULES)


def is_there(pid: int) -> bool:
    """Whether there is such a process, other than as a remnant that nobody has taken note of."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    return False


async def test_long_answers_come_whole_however_many_are_asked_for() -> None:
    async with rude() as source:
        for _ in range(8):
            assert await used(source, "long") == "x" * 3_000_000


async def test_a_program_that_hears_nothing_any_more_keeps_nobody_waiting() -> None:
    async with rude() as source:
        assert await used(source, "deaf") == "echo"

        async with asyncio.timeout(10):
            with pytest.raises(ToolUnavailable, match="broke"):
                await used(source, "echo")

        assert await used(source, "echo") == "echo"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("shout", "said more than 4 MB at once"),
        ("chatter", "said more than 20 MB without being asked"),
        ("rubbish", "said more than 20 MB without being asked"),
    ],
)
async def test_a_program_that_says_too_much_is_ended_and_another_begun(name: str, told: str) -> None:
    async with rude() as source:
        await source.tools()
        line = source._line

        with pytest.raises(ToolUnavailable, match=told):
            await used(source, name)

        assert line is not None
        assert line.is_gone
        assert await used(source, "echo") == "echo"


async def test_what_is_no_message_is_passed_over() -> None:
    async with rude("banner") as source:
        assert [tool.spec.name for tool in await source.tools()] == [
            f"rude__{name}" for name in rude_program.TOOLS
        ]


@pytest.mark.parametrize("manners", [[], ["stubborn"]])
async def test_a_program_is_ended_with_what_it_has_started(manners: list[str], tmp_path: Path) -> None:
    number = tmp_path / "child"
    async with rude(*manners, "child", str(number)) as source:
        await used(source, "echo")
        line, child = source._line, int(number.read_text(encoding="ascii"))
        was_there = is_there(child)

    assert was_there
    assert line is not None
    assert line.is_gone
    async with asyncio.timeout(10):
        while is_there(child):  # noqa: ASYNC110  # a signal has no event
            await asyncio.sleep(0)


async def test_a_program_that_cannot_be_started_is_told() -> None:
    source = open_configured(ServerConfig(label="none", at=Program(command="/there/is/none")))

    with pytest.raises(ToolUnavailable, match="its command cannot be started"):
        await source.tools()

    await source.close()


@given(
    text=st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r\n", b"{}"]), max_size=30).map(b"".join),
    cuts=st.lists(st.integers(0, 60), max_size=10),
)
def test_lines_are_the_same_however_they_come(text: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    lines = Lines(Allowance(MB))

    taken = [line for a, b in pairwise(places) for line in lines.take(text[a:b])]

    assert taken == text.split(b"\n")[:-1]


@pytest.mark.parametrize("piece", [b"x" * 1000, b"x" * (MB + 1), b"x" * 999 + b"\r"])
def test_a_line_without_end_is_refused(piece: bytes) -> None:
    lines = Lines(Allowance(MB))
    lines.take(b"short\n")

    with pytest.raises(ToolUnavailable, match="more than 1 MB at once"):
        for _ in range(2000):
            lines.take(piece)


def test_a_line_that_begins_behind_another_is_measured_from_its_begin() -> None:
    lines = Lines(Allowance(MB))
    lines.take(b"short\n" + b"x" * (MB - 1))

    with pytest.raises(ToolUnavailable, match="more than 1 MB at once"):
        lines.take(b"xx")


def test_many_short_lines_cost_more_than_their_bytes() -> None:
    lines = Lines(Allowance(MB))

    with pytest.raises(ToolUnavailable, match="without being asked"):
        lines.take(b"\n" * 5000)


def test_what_may_be_said_begins_anew_with_each_question() -> None:
    allowance = Allowance(MB)

    for _ in range(20):
        allowance.renew()
        for _ in range(5):
            allowance.heard(MB - 1, so_far=MB - 1)
    with pytest.raises(ToolError, match="5 MB without being asked"):
        allowance.heard(MB, so_far=MB)

    assert allowance.exceeded == "said more than 5 MB without being asked"
    allowance.renew()
    assert allowance.exceeded is None
