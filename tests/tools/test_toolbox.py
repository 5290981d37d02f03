"""Toolboxes: what there is, and what an agent chose of it."""

from collections.abc import Sequence

import pytest
from typing_extensions import override

from tertulia import tool
from tertulia.definitions import RemoteTools
from tertulia.errors import AddressRefused, InvalidInput, ToolUnavailable, UnknownTool
from tertulia.testing.tool_contract import a_context
from tertulia.tools.base import Tool, ToolSource
from tertulia.tools.toolbox import Toolbox


def a_tool(name: str) -> Tool:
    @tool(name=name)
    async def say() -> str:
        return name

    return say


class Shelf(ToolSource):
    """A source that has what it was given, or cannot be reached."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self.closed = 0

    @override
    async def tools(self) -> Sequence[Tool]:
        if not self._names:
            raise ToolUnavailable("nobody there")
        return [a_tool(name) for name in self._names]

    @override
    async def close(self) -> None:
        self.closed += 1


class Elsewhere:
    """Opens servers by their address, and remembers which."""

    def __init__(self) -> None:
        self.opened: list[tuple[RemoteTools, Shelf]] = []

    def __call__(self, choice: RemoteTools) -> ToolSource:
        shelf = Shelf(f"{choice.label}__read", f"{choice.label}__write")
        self.opened.append((choice, shelf))
        return shelf


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
def box(elsewhere: Elsewhere) -> Toolbox:
    servers = {"files": Shelf("files__list", "files__open"), "gone": Shelf()}
    return Toolbox([a_tool("weather"), a_tool("clock")], servers, open_elsewhere=elsewhere)


def remote(
    url: str = "https://tools.example/mcp", label: str = "far", *, allowed: Sequence[str] | None = None
) -> RemoteTools:
    return RemoteTools(label=label, url=url, allowed=None if allowed is None else tuple(allowed))


def test_what_can_be_chosen_is_told(box: Toolbox) -> None:
    assert box.names() == ["clock", "weather", "mcp:files", "mcp:gone"]


async def test_an_agent_gets_what_it_chose_in_its_order(box: Toolbox) -> None:
    found = await box.pick(["weather", "mcp:files", remote()])

    assert list(found) == ["weather", "files__list", "files__open", "far__read", "far__write"]
    assert await found["weather"].use({}, a_context()) == "weather"


async def test_an_agent_without_tools_gets_none(box: Toolbox) -> None:
    assert await box.pick([]) == {}


@pytest.mark.parametrize("name", ["nothing", "mcp:nothing", "files", "mcp:", "", "mcp:weather"])
async def test_a_name_that_is_none_is_told_with_those_that_are(box: Toolbox, name: str) -> None:
    with pytest.raises(UnknownTool, match="there are: clock, weather, mcp:files, mcp:gone"):
        box.check([name])
    with pytest.raises(UnknownTool):
        await box.pick(["weather", name])


def test_a_box_without_anything_says_so() -> None:
    with pytest.raises(UnknownTool, match="there are: none"):
        Toolbox().check(["anything"])


async def test_an_address_inside_is_refused_without_asking(box: Toolbox, elsewhere: Elsewhere) -> None:
    with pytest.raises(AddressRefused):
        box.check([remote("http://127.0.0.1/mcp")])
    with pytest.raises(AddressRefused):
        await box.pick([remote("http://169.254.169.254/mcp")])

    assert elsewhere.opened == []


async def test_two_tools_of_one_name_are_refused(box: Toolbox) -> None:
    with pytest.raises(InvalidInput, match="two tools are named 'weather'"):
        Toolbox([a_tool("weather"), a_tool("weather")])
    with pytest.raises(InvalidInput, match="two tools are named 'far__read'"):
        await box.pick([remote(), remote("https://other.example/mcp")])


async def test_a_server_that_cannot_be_asked_is_told(box: Toolbox) -> None:
    with pytest.raises(ToolUnavailable):
        await box.pick(["weather", "mcp:gone"])


async def test_a_server_elsewhere_is_opened_once(box: Toolbox, elsewhere: Elsewhere) -> None:
    for _ in range(3):
        await box.pick([remote()])
    await box.pick([remote(label="near")])

    assert [choice.label for choice, _ in elsewhere.opened] == ["far", "near"]


async def test_only_what_is_allowed_is_taken_from_elsewhere(box: Toolbox) -> None:
    found = await box.pick([remote(allowed=["read", "no such tool"])])

    assert list(found) == ["far__read"]


@pytest.mark.parametrize("is_asked", [True, False])
async def test_uses_elsewhere_are_approved_as_the_agents_author_wishes(box: Toolbox, is_asked: bool) -> None:
    choice = RemoteTools(label="far", url="https://tools.example/mcp", needs_approval=is_asked)

    found = await box.pick([choice])

    assert [one.rules.needs_approval for one in found.values()] == [is_asked] * 2
    assert await found["far__read"].use({}, a_context()) == "far__read"


async def test_servers_elsewhere_are_kept_within_bounds(box: Toolbox, elsewhere: Elsewhere) -> None:
    for number in range(70):
        await box.pick(
            [remote("https://first.example/mcp"), remote(f"https://{number}.example/mcp", "other")]
        )

    closed = [choice.url for choice, shelf in elsewhere.opened if shelf.closed]
    assert len(elsewhere.opened) - len(closed) == 64
    assert "https://first.example/mcp" not in closed
    assert "https://0.example/mcp" in closed


async def test_closing_lets_go_of_all_servers(elsewhere: Elsewhere) -> None:
    shelf = Shelf("a")
    box = Toolbox(servers={"a": shelf}, open_elsewhere=elsewhere)
    await box.pick([remote()])

    await box.close()
    await box.close()

    assert shelf.closed == 2
    assert elsewhere.opened[0][1].closed == 1
