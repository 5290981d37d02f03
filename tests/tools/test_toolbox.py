"""Toolboxes: what there is, and what an agent chose of it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from typing_extensions import override

from tertulia import tool
from tertulia.definitions import RemoteTools, ToolChoice, ToolSpec
from tertulia.errors import AddressRefused, InvalidInput, MissingExtra, ToolUnavailable, UnknownTool
from tertulia.testing.tool_contract import a_context
from tertulia.tools.base import Tool, ToolContext, ToolRules, ToolSource
from tertulia.tools.elsewhere import Elsewhere as Servers
from tertulia.tools.toolbox import MAX_ELSEWHERE, Toolbox


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
    box = Toolbox([a_tool("files__open")], {"files": Shelf("files__list", "files__open")})
    with pytest.raises(InvalidInput, match="two tools are named 'files__open'"):
        await box.pick(["files__open", "mcp:files"])


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        (["weather", "clock", "weather"], "two tools are named 'weather'"),
        (["mcp:files", "mcp:files"], "two servers of tools have the label 'files'"),
        (["mcp:files", remote(label="files")], "two servers of tools have the label 'files'"),
        ([remote(), remote()], "two servers of tools have the label 'far'"),
        ([remote(), remote("https://other.example/mcp")], "two servers of tools have the label 'far'"),
        (["far__read", remote(allowed=["write", "read"])], "two tools are named 'far__read'"),
    ],
)
async def test_what_is_chosen_twice_is_refused_before_anything_is_asked(
    elsewhere: Elsewhere, choices: Sequence[ToolChoice], told: str
) -> None:
    functions = [a_tool(name) for name in ("weather", "clock", "far__read")]
    box = Toolbox(functions, {"files": Shelf("files__list")}, open_elsewhere=elsewhere)

    with pytest.raises(InvalidInput, match=told):
        box.check(choices)
    with pytest.raises(InvalidInput, match=told):
        await box.pick(choices)

    assert elsewhere.opened == []


def test_a_name_that_is_allowed_twice_is_allowed(box: Toolbox) -> None:
    box.check([remote(allowed=["read", "read"]), "weather", remote(label="near", allowed=["read"])])


async def test_what_is_there_is_picked_without_the_rest(box: Toolbox) -> None:
    inside = remote("http://127.0.0.1/mcp", "inside")
    choices: list[ToolChoice] = [
        "nothing",
        "mcp:gone",
        inside,
        "clock",
        "mcp:files",
        remote(),
        "mcp:files",
        "clock",
    ]

    found = await box.pick_what_is_there(choices)

    assert list(found) == ["clock", "files__list", "files__open", "far__read", "far__write"]
    assert await box.pick_what_is_there([]) == {}


async def test_what_is_there_is_picked_where_no_server_can_be_spoken_to() -> None:
    def lacking(choice: RemoteTools) -> ToolSource:
        raise MissingExtra("pip install tertulia[mcp]")

    found = await Toolbox([a_tool("clock")], open_elsewhere=lacking).pick_what_is_there([remote(), "clock"])

    assert list(found) == ["clock"]


async def test_servers_are_asked_side_by_side_and_none_is_left_behind() -> None:
    everyone = asyncio.Barrier(3)

    class Slow(Shelf):
        @override
        async def tools(self) -> Sequence[Tool]:
            await everyone.wait()
            return await super().tools()

    servers = {"a": Slow("a__x"), "gone": Slow(), "b": Slow("b__x")}
    box = Toolbox(servers=servers)
    choices = [f"mcp:{label}" for label in servers]

    async with asyncio.timeout(10):
        found = await box.pick_what_is_there(choices)
        before = asyncio.all_tasks()
        with pytest.raises(ToolUnavailable):
            await box.pick(choices)

    assert list(found) == ["a__x", "b__x"]
    assert asyncio.all_tasks() == before


async def test_a_server_that_cannot_be_asked_is_told(box: Toolbox) -> None:
    with pytest.raises(ToolUnavailable):
        await box.pick(["weather", "mcp:gone"])


async def test_a_server_elsewhere_is_opened_once(box: Toolbox, elsewhere: Elsewhere) -> None:
    for _ in range(3):
        await box.pick([remote()])
    await box.pick([remote(label="near")])

    assert [choice.label for choice, _ in elsewhere.opened] == ["far", "near"]


async def test_no_two_tenants_share_a_server_elsewhere(box: Toolbox, elsewhere: Elsewhere) -> None:
    for tenant in (1, 2, 1):
        await box.pick([remote()], tenant=tenant)
    await box.pick_what_is_there([remote()], tenant=2)

    assert len(elsewhere.opened) == 2


def test_an_agent_uses_no_end_of_servers_elsewhere(box: Toolbox) -> None:
    many = [remote(label=f"far{number}") for number in range(MAX_ELSEWHERE + 1)]

    box.check(many[1:])
    with pytest.raises(InvalidInput, match="at most 16 servers"):
        box.check(many)


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


class Counter(ToolSource, Tool):
    """A server with one tool, which is used until it is told otherwise, and counts."""

    def __init__(self, name: str) -> None:
        self._spec = ToolSpec(name=name)
        self.may_end, self.began, self.closed = asyncio.Event(), asyncio.Event(), 0

    @property
    @override
    def spec(self) -> ToolSpec:
        return self._spec

    @property
    @override
    def rules(self) -> ToolRules:
        return ToolRules()

    @override
    async def use(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        self.began.set()
        await self.may_end.wait()
        return "done"

    @override
    async def tools(self) -> Sequence[Tool]:
        return [self]

    @override
    async def close(self) -> None:
        self.closed += 1


class Counters:
    """Opens counters, and remembers them."""

    def __init__(self) -> None:
        self.opened: list[Counter] = []

    def __call__(self, choice: RemoteTools) -> ToolSource:
        self.opened.append(Counter(choice.label))
        return self.opened[-1]


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_server_elsewhere_is_not_closed_in_the_middle_of_a_use() -> None:
    counters = Counters()
    servers = Servers(counters, most=2)
    [first] = await servers.tools(remote(label="0"), tenant=0)
    using = asyncio.create_task(first.use({}, a_context()))
    await counters.opened[0].began.wait()

    for label in ("1", "2", "3"):
        await servers.tools(remote(label=label), tenant=0)
    await settled()
    closed_before = [counter.closed for counter in counters.opened]
    counters.opened[0].may_end.set()

    assert await using == "done"
    assert closed_before == [0, 1, 1, 0]
    await servers.close()
    assert [counter.closed for counter in counters.opened] == [1, 1, 1, 1]


async def test_more_servers_than_are_kept_are_closed_when_their_uses_end() -> None:
    counters = Counters()
    servers = Servers(counters, most=1)
    tools = [(await servers.tools(remote(label=label), tenant=0))[0] for label in ("0", "1")]
    using = [asyncio.create_task(tool.use({}, a_context())) for tool in tools]
    await asyncio.gather(*(counter.began.wait() for counter in counters.opened))

    counters.opened[1].may_end.set()
    await using[1]
    await settled()
    counters.opened[0].may_end.set()
    await using[0]
    await settled()

    # The first was closed when the second was listed, opened again by its use, and then kept.
    assert [counter.closed for counter in counters.opened] == [1, 1]
    await servers.close()
    assert [counter.closed for counter in counters.opened] == [2, 1]


async def test_closing_waits_for_those_that_are_being_closed() -> None:
    may_close, closed = asyncio.Event(), []

    class Slow(Counter):
        @override
        async def close(self) -> None:
            if self.spec.name == "0":
                await may_close.wait()
            closed.append(self.spec.name)

    servers = Servers(lambda choice: Slow(choice.label), most=1)
    for label in ("0", "1"):
        await servers.tools(remote(label=label), tenant=0)
    closing = asyncio.create_task(servers.close())
    await settled()
    was_done = closing.done()

    may_close.set()
    await closing

    assert not was_done
    assert closed == ["1", "0"]


async def test_a_server_whose_tools_somebody_has_is_not_opened_twice() -> None:
    counters = Counters()
    servers = Servers(counters, most=1)
    [kept] = await servers.tools(remote(label="0"), tenant=0)
    await servers.tools(remote(label="1"), tenant=0)
    await settled()

    [again] = await servers.tools(remote(label="0"), tenant=0)

    assert [counter.spec.name for counter in counters.opened] == ["0", "1"]
    assert kept.spec is again.spec
    await servers.close()


async def test_closing_lets_go_of_all_servers(elsewhere: Elsewhere) -> None:
    shelf = Shelf("a")
    box = Toolbox(servers={"a": shelf}, open_elsewhere=elsewhere)
    await box.pick([remote()])

    await box.close()
    await box.close()

    assert shelf.closed == 2
    assert elsewhere.opened[0][1].closed == 1
