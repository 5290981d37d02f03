"""Servers of tools: what is made of what they say, and what happens when they are lost."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import MCPError
from mcp.client._transport import TransportStreams
from mcp.types import PARSE_ERROR
from mcp.types import Tool as Listed

from tertulia.definitions import RemoteTools
from tertulia.errors import AddressRefused, ToolUnavailable
from tertulia.parts import ToolCall, ToolResult
from tertulia.testing.tool_contract import a_context
from tertulia.tools.allowance import Allowance
from tertulia.tools.base import ToolRules, ToolSource
from tertulia.tools.mcp_file import Endpoint, Program, ServerConfig
from tertulia.tools.mcp_server import MCPTools, open_configured, open_remote
from tertulia.tools.mcp_words import MAX_SCHEMAS, MAX_TOOLS, has_ended, reason, spec_of, told
from tertulia.tools.using import use
from tertulia.tools.wire_names import wire_name
from tests.tools import mcp_program
from tests.tools.servers import served

STRANGE = RemoteTools(label="parrot", url="https://tools.example/mcp")
PROGRAM = Program(command=sys.executable, args=(mcp_program.__file__,), env={"GREETING": "hi"})


class Transports:
    """Connects to the small server in this process, and counts how often."""

    def __init__(self) -> None:
        self.opened = 0
        self.cut = asyncio.Event()

    @asynccontextmanager
    async def __call__(self, allowance: Allowance) -> AsyncIterator[TransportStreams]:
        self.opened += 1
        self.cut = asyncio.Event()
        to_server, from_client = anyio.create_memory_object_stream[Any](0)
        to_client, from_server = anyio.create_memory_object_stream[Any](0)
        server = mcp_program.server._lowlevel_server
        running = asyncio.create_task(
            server.run(from_client, to_client, server.create_initialization_options())
        )
        cutting = asyncio.create_task(self._cut(to_client))
        try:
            yield from_server, to_server
        finally:
            running.cancel()
            cutting.cancel()
            await asyncio.wait({running, cutting})
            for stream in (to_server, from_client, to_client, from_server):
                stream.close()

    async def _cut(self, stream: Any) -> None:
        await self.cut.wait()
        stream.close()


class Forgetful:
    """The small server over HTTP, as one that remembers whom it talks to, and may forget them."""

    def __init__(self) -> None:
        self._app = mcp_program.server.streamable_http_app()
        self.has_forgotten = False
        self.greeted = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        message = await receive()
        asked = json.loads(message["body"])
        self.greeted += asked["method"] == "initialize"
        if asked["method"] == "server/discover":  # It is older than that.
            await refuse(send)
        elif self.has_forgotten:
            self.has_forgotten = False
            await refuse(send)
        else:
            await self._app(scope, replayed(message, receive), send)


async def refuse(send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def replayed(message: Any, receive: Any) -> Callable[[], Awaitable[Any]]:
    waiting = [message]

    async def heard() -> Any:
        return waiting.pop() if waiting else await receive()

    return heard


@pytest.fixture
def transports() -> Transports:
    return Transports()


@pytest.fixture
async def source(transports: Transports) -> AsyncIterator[MCPTools]:
    source = MCPTools("parrot", transports)
    yield source
    await source.close()


@pytest.fixture
async def program() -> AsyncIterator[ToolSource]:
    source = open_configured(ServerConfig(label="parrot", at=PROGRAM, seconds=30))
    yield source
    await source.close()


async def answer(source: ToolSource, name: str, arguments: str = "", *, key: str = "key") -> ToolResult:
    tools = {tool.spec.name: tool for tool in await source.tools()}
    tool = tools[wire_name("parrot", name)]
    call = ToolCall(id="call_1", name=tool.spec.name, arguments=arguments)
    return await use(tool, call, a_context(key))


async def test_tools_are_named_after_their_server(source: MCPTools) -> None:
    tools = {tool.spec.name: tool for tool in await source.tools()}

    assert tools["parrot__echo"].spec.description == "Say it again."
    assert tools["parrot__echo"].spec.parameters["required"] == ["text"]
    assert wire_name("parrot", "odd.name with spaces") in tools


async def test_tools_that_may_be_used_twice_are_known_by_their_servers_hints(source: MCPTools) -> None:
    idempotent = {tool.spec.name for tool in await source.tools() if tool.rules.is_idempotent}

    names = ("look", "crash_once", "odd.name with spaces")
    assert idempotent == {wire_name("parrot", name) for name in names}


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("echo", '{"text": "hé"}', "hé"),
        ("odd.name with spaces", "", "odd"),
        ("structure", "", '{"answer":42}'),
        ("key", "", "key"),
        (
            "paint",
            "",
            "a picture:\n\n[an image, image/png]\n\n[a recording, audio/wav]\n\na note\n\n"
            "[a file, of unknown type: file://2]\n\n[a resource, more: note://3]",
        ),
    ],
)
async def test_what_a_server_gives_becomes_text(
    source: MCPTools, name: str, arguments: str, text: str
) -> None:
    result = await answer(source, name, arguments)

    assert result.text == text
    assert not result.is_error


async def test_null_is_an_argument_like_others(source: MCPTools) -> None:
    result = await answer(source, "look", '{"at": "x", "note": null}')

    assert '"note": null' in result.text


async def test_a_failure_is_told_in_the_servers_words(source: MCPTools) -> None:
    result = await answer(source, "fail")

    assert result.is_error
    assert result.text == "no bananas today"


async def test_wrong_arguments_never_reach_the_server(source: MCPTools, transports: Transports) -> None:
    result = await answer(source, "echo", '{"txt": "hello"}')

    assert result.is_error
    assert '"text" is a required property' in result.text


async def test_it_is_connected_once_and_when_it_is_first_needed(
    source: MCPTools, transports: Transports
) -> None:
    assert transports.opened == 0

    await asyncio.gather(*(answer(source, "echo", '{"text": "a"}') for _ in range(5)))

    assert transports.opened == 1


async def test_what_there_is_is_asked_for_once_a_minute(transports: Transports) -> None:
    now = [0.0]
    source = MCPTools("parrot", transports, clock=lambda: now[0])

    first = await source.tools()
    now[0] = 59.0
    second = await source.tools()
    now[0] = 61.0
    third = await source.tools()

    assert first is second
    assert third is not first
    await source.close()


async def test_only_the_tools_that_are_wanted_are_there(transports: Transports) -> None:
    source = MCPTools("parrot", transports, allowed=["echo"], rules=ToolRules(needs_approval=True))

    tools = await source.tools()

    assert [tool.spec.name for tool in tools] == ["parrot__echo"]
    assert all(tool.rules.needs_approval for tool in tools)
    await source.close()


async def test_a_connection_that_was_lost_while_nobody_used_it_is_made_again(
    source: MCPTools, transports: Transports
) -> None:
    await source.tools()
    transports.cut.set()
    await until(lambda: source._line is not None and not source._line.is_usable)

    result = await answer(source, "echo", '{"text": "again"}')

    assert result.text == "again"
    assert transports.opened == 2


async def test_a_use_that_a_broken_connection_cut_off_is_unknown_to_the_model(
    source: MCPTools, transports: Transports
) -> None:
    await source.tools()
    task = asyncio.create_task(answer(source, "hang"))
    await until(lambda: source._line is not None and source._line._uses > 0)

    transports.cut.set()
    result = await task

    assert result.is_error
    assert "not known whether" in result.text
    assert (await answer(source, "echo", '{"text": "again"}')).text == "again"


async def test_a_program_that_ends_itself_is_started_again(program: ToolSource, tmp_path: Path) -> None:
    crashed = await answer(program, "crash")
    after = await answer(program, "echo", '{"text": "again"}')

    assert crashed.is_error
    assert "not known whether" in crashed.text
    assert after.text == "again"


async def test_a_tool_that_may_be_used_twice_is_used_again_when_its_server_crashed(
    program: ToolSource, tmp_path: Path
) -> None:
    result = await answer(program, "crash_once", f'{{"marker": "{tmp_path / "marker"}"}}')

    assert result.text == "survived"


async def test_a_program_gets_its_variables_and_no_secrets(
    program: ToolSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")

    told = [
        (await answer(program, "environment", f'{{"name": "{n}"}}')).text
        for n in ("GREETING", "OPENAI_API_KEY")
    ]

    assert told == ["hi", "unset"]


@pytest.mark.parametrize(("seconds", "opened"), [(1.0, 1), (60.0, 2)])
async def test_a_connection_is_only_used_further_if_nothing_on_it_took_too_long(
    transports: Transports, seconds: float, opened: int
) -> None:
    now = [0.0]
    source = MCPTools("parrot", transports, rules=ToolRules(within_seconds=60), clock=lambda: now[0])
    task = asyncio.create_task(source.call("hang", {}, key="k", rules=ToolRules(within_seconds=60)))
    await until(lambda: source._line is not None and source._line._uses > 0)
    now[0] = seconds

    task.cancel()
    await asyncio.wait({task})

    assert (await answer(source, "echo", '{"text": "next"}')).text == "next"
    assert transports.opened == opened
    await source.close()


async def test_a_use_that_took_too_long_does_not_end_those_beside_it(transports: Transports) -> None:
    now = [0.0]
    source = MCPTools("parrot", transports, clock=lambda: now[0])
    slow, beside = (asyncio.create_task(source.call("hang", {}, key=key, rules=ToolRules())) for key in "ab")
    await until(lambda: source._line is not None and source._line._uses == 2)
    line = source._line
    now[0] = 60.0

    slow.cancel()
    await asyncio.wait({slow})
    after = await answer(source, "echo", '{"text": "next"}')

    assert after.text == "next"
    assert not beside.done()
    assert line is not None
    assert not line.is_gone
    beside.cancel()
    await asyncio.wait({beside})
    await until(lambda: line.is_gone)
    await source.close()


async def test_a_program_that_took_too_long_is_ended() -> None:
    source = open_configured(ServerConfig(label="parrot", at=PROGRAM, seconds=30))
    assert isinstance(source, MCPTools)
    source._clock = iter([0.0, 100.0]).__next__  # of the use: its begin, and its end
    use = asyncio.create_task(source.call("hang", {}, key="k", rules=ToolRules()))
    await until(lambda: source._line is not None and source._line._uses > 0)
    line = source._line
    assert line is not None

    use.cancel()
    await asyncio.wait({use})
    await until(lambda: line.is_gone)

    assert line.failure is None
    await source.close()


async def test_a_server_that_never_answers_is_given_up() -> None:
    @asynccontextmanager
    async def silent(allowance: Allowance) -> AsyncIterator[TransportStreams]:
        to_server, from_client = anyio.create_memory_object_stream[Any](10)
        to_client, from_server = anyio.create_memory_object_stream[Any](10)
        with to_server, from_client, to_client, from_server:
            yield from_server, to_server

    opened = 0

    def connect(allowance: Allowance) -> AbstractAsyncContextManager[TransportStreams]:
        nonlocal opened
        opened += 1
        return silent(allowance)

    source = MCPTools("mute", connect, connect_seconds=0.05)

    for _ in range(3):
        with pytest.raises(ToolUnavailable, match="took too long to connect"):
            await source.tools()
    await source.close()

    assert opened == 1


async def test_a_program_that_is_slow_to_start_is_not_waited_for_and_goes_on_starting() -> None:
    may_start, transports = asyncio.Event(), Transports()

    @asynccontextmanager
    async def slow(allowance: Allowance) -> AsyncIterator[TransportStreams]:
        await may_start.wait()
        async with transports(allowance) as streams:
            yield streams

    now = [0.0]
    source = MCPTools("parrot", slow, connect_seconds=30, list_seconds=0.05, clock=lambda: now[0])
    with pytest.raises(ToolUnavailable, match="took too long to answer"):
        await source.tools()
    may_start.set()
    await until(lambda: source._line is not None and source._line.is_open)
    now[0] = 100.0
    source._list_seconds = 30

    assert await source.tools()
    assert transports.opened == 1
    await source.close()


async def test_a_server_that_falls_silent_is_connected_to_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now, transports, asked = [0.0], Transports(), asyncio.Event()
    source = MCPTools("parrot", transports, list_seconds=30, clock=lambda: now[0])
    await source.tools()
    before = source._line

    async def never(*_: object, **__: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    assert before is not None
    assert before._session is not None
    monkeypatch.setattr(before._session, "list_tools", never)
    source._list_seconds = 0.05
    now[0] = 61.0

    stale = await source.tools()
    now[0] = 200.0
    source._list_seconds = 30
    fresh = await source.tools()

    assert asked.is_set()
    assert [tool.spec for tool in stale] == [tool.spec for tool in fresh]
    assert transports.opened == 2
    await source.close()


async def test_a_connection_that_nobody_uses_ends_by_itself(transports: Transports) -> None:
    source = MCPTools("parrot", transports, idle_seconds=0.001)
    await source.tools()

    await until(lambda: source._line is not None and not source._line.is_usable)

    assert (await answer(source, "echo", '{"text": "again"}')).text == "again"
    await source.close()


async def test_a_source_that_was_closed_is_opened_again_when_it_is_asked(
    source: MCPTools, transports: Transports
) -> None:
    await source.tools()
    await source.close()

    await source.tools()

    assert transports.opened == 2


async def test_a_use_that_closing_cut_off_does_not_open_it_again(
    source: MCPTools, transports: Transports
) -> None:
    await source.tools()
    asking = asyncio.create_task(source.call("hang", {}, key="k", rules=ToolRules(is_idempotent=True)))
    await until(lambda: source._line is not None and source._line._uses > 0)

    await source.close()

    with pytest.raises(ToolUnavailable, match="not known whether"):
        await asking
    assert transports.opened == 1


def test_a_source_serves_one_event_loop_after_another(transports: Transports) -> None:
    source = MCPTools("parrot", transports)

    async def once() -> str:
        return (await answer(source, "echo", '{"text": "hello"}')).text

    assert [asyncio.run(once()), asyncio.run(once())] == ["hello", "hello"]
    assert transports.opened == 2


async def test_a_tool_that_no_model_could_be_told_of_is_left_out(
    source: MCPTools, caplog: pytest.LogCaptureFixture
) -> None:
    good = Listed(name="good", input_schema={"type": "object"})
    bad = Listed(name="bad", input_schema={"type": "object", "$ref": "https://example.com/x"})

    tools = source._usable([good, bad, good])

    assert [tool.spec.name for tool in tools] == ["parrot__good"]
    assert "parrot__bad" in caplog.text


async def test_so_many_tools_are_taken_of_a_server_and_no_more(
    source: MCPTools, caplog: pytest.LogCaptureFixture
) -> None:
    words = {"type": "object", "description": "x" * 60_000}
    many = [Listed(name=f"t{number}", input_schema={"type": "object"}) for number in range(200)]
    large = [Listed(name=f"t{number}", input_schema=words) for number in range(20)]

    assert len(source._usable(many)) == MAX_TOOLS
    assert sum(len(str(tool.spec.parameters)) for tool in source._usable(large)) < MAX_SCHEMAS
    assert caplog.text.count("has more tools, or larger ones") == 2


async def test_a_tool_of_great_size_takes_no_other_ones_place(source: MCPTools) -> None:
    huge = Listed(name="huge", input_schema={"type": "object", "description": "x" * 2 * MAX_SCHEMAS})
    good = Listed(name="good", input_schema={"type": "object"})

    assert [tool.spec.name for tool in source._usable([huge, good])] == ["parrot__good"]


async def test_tools_that_are_not_wished_take_no_place(transports: Transports) -> None:
    source = MCPTools("parrot", transports, allowed=["t199"])
    many = [Listed(name=f"t{number}", input_schema={"type": "object"}) for number in range(200)]

    assert [tool.spec.name for tool in source._usable(many)] == ["parrot__t199"]


async def test_what_strangers_made_is_only_checked_as_far_as_that_takes_no_time(
    transports: Transports,
) -> None:
    forms = [{"const": number} for number in range(3000)]
    slow = {"type": "object", "properties": {"all": {"items": {"anyOf": forms}}}}
    source = MCPTools("parrot", transports, rules=open_remote(STRANGE)._rules)  # type: ignore[attr-defined]  # ours
    [tool] = source._usable([Listed(name="slow", input_schema=slow)])
    call = ToolCall(id="call_1", name="slow", arguments=json.dumps({"all": [2999] * 20_000}))

    result = await use(tool, call, a_context())

    assert result.is_error
    assert "too large to be checked" in result.text
    assert transports.opened == 0


async def test_headers_go_with_every_request_to_a_configured_server() -> None:
    heard: list[str] = []
    app = mcp_program.server.streamable_http_app()

    async def listening(scope: Any, receive: Any, send: Any) -> None:
        heard.extend(value.decode() for name, value in scope.get("headers", ()) if name == b"authorization")
        await app(scope, receive, send)

    async with served(listening, lifespan="on") as port:
        at = Endpoint(url=f"http://127.0.0.1:{port}/mcp", headers={"Authorization": "Bearer sk-1"})
        source = open_configured(ServerConfig(label="parrot", at=at))
        await source.tools()
        await source.close()

    assert set(heard) == {"Bearer sk-1"}


async def test_a_server_that_wants_a_key_is_told_without_its_body() -> None:
    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": b"SECRET"})

    async with served(refusing) as port:
        source = open_configured(
            ServerConfig(label="parrot", at=Endpoint(url=f"http://127.0.0.1:{port}/mcp"))
        )
        with pytest.raises(ToolUnavailable) as raised:
            await source.tools()
        await source.close()

    assert "SECRET" not in str(raised.value)


async def test_a_server_that_forgot_us_is_greeted_again_without_any_harm() -> None:
    site = Forgetful()
    async with served(site.__call__, lifespan="on") as port:
        source = open_configured(
            ServerConfig(label="parrot", at=Endpoint(url=f"http://127.0.0.1:{port}/mcp"))
        )
        before = await answer(source, "echo", '{"text": "one"}')
        site.has_forgotten = True
        after = await answer(source, "echo", '{"text": "two"}')
        await source.close()

    assert [before.text, after.text] == ["one", "two"]
    assert site.greeted == 2


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (None, "it cannot be reached"),
        (
            ExceptionGroup("", [OSError("10.0.0.1"), ExceptionGroup("", [AddressRefused("not there")])]),
            "not there",
        ),
        (ExceptionGroup("", [TimeoutError()]), "it took too long to connect"),
        (FileNotFoundError("/secret/path"), "its command cannot be started"),
        (MCPError(-32000, "Connection closed"), "it cannot be reached"),
        (MCPError(-32603, "out of order"), "out of order"),
    ],
)
def test_why_a_connection_failed_is_told_as_far_as_it_is_safe(
    failure: BaseException | None, text: str
) -> None:
    assert reason(failure) == text


def test_what_a_server_sent_is_not_told_if_it_could_not_be_read() -> None:
    assert "4711" not in told(MCPError(PARSE_ERROR, "Failed to parse: 4711"))
    assert len(told(MCPError(-1, "x" * 10_000))) <= 500
    assert not has_ended(MCPError(-1, ""))


def test_a_description_without_end_is_cut() -> None:
    listed = Listed(name="a", description="x" * 100_000, input_schema={})

    spec = spec_of(listed, label="b")

    assert len(spec.description) == 4000
    assert spec.parameters == {"type": "object"}


@pytest.mark.parametrize(
    ("label", "name", "start"),
    [
        ("a", "b", "a__b"),
        ("a", "b.c", "a__b_c_"),
        ("a", "é" * 100, "a____"),
        ("a" * 32, "b" * 64, "a" * 32 + "__b"),
    ],
)
def test_names_are_made_as_every_provider_takes_them(label: str, name: str, start: str) -> None:
    made = wire_name(label, name)

    assert made.startswith(start)
    assert len(made) <= 64
    assert made.replace("_", "").replace("-", "").isalnum()
    assert made.isascii()


def test_names_that_differ_stay_different() -> None:
    names = ["b.c", "b c", "b_c", "b/c", "b" * 80, "b" * 81]

    assert len({wire_name("a", name) for name in names}) == len(names)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0)
