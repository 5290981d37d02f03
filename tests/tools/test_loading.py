"""Toolboxes from settings."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from tertulia.errors import InvalidInput, MissingExtra
from tertulia.testing.tool_contract import a_context
from tertulia.tools.loading import open_toolbox

GOOD = """
from tertulia import tool

@tool
def weather(city: str) -> str:
    "Tell the weather."
    return f"Rain in {city}."

@tool(name="clock")
def time_of_day() -> str:
    return "noon"

same = weather
_hidden = tool(name="hidden")(lambda: "")
plain = 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory where a program is started, with what it imports forgotten in the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def test_nothing_set_is_an_empty_box() -> None:
    assert open_toolbox().names() == []
    assert open_toolbox(" , ").names() == []


async def test_all_tools_of_a_module_beside_the_program_are_taken(folder: Path) -> None:
    (folder / "my_tools.py").write_text(GOOD)

    box = open_toolbox("my_tools")

    assert box.names() == ["clock", "weather"]
    weather = (await box.pick(["weather"]))["weather"]
    assert await weather.use({"city": "Vigo"}, a_context()) == "Rain in Vigo."


def test_one_tool_of_a_module_is_taken_by_its_name_there(folder: Path) -> None:
    (folder / "my_tools.py").write_text(GOOD)

    assert open_toolbox("my_tools:time_of_day").names() == ["clock"]
    assert open_toolbox("my_tools:time_of_day, my_tools").names() == ["clock", "weather"]


def test_the_reader_of_web_pages_is_there_when_it_is_named() -> None:
    assert open_toolbox("tertulia.tools.web:web_page").names() == ["web_page"]
    assert open_toolbox("tertulia.tools.web").names() == ["web_page"]


def test_servers_come_from_their_file(folder: Path) -> None:
    path = folder / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"files": {"command": "never-started"}}}))

    assert open_toolbox("", path).names() == ["mcp:files"]


def test_servers_without_the_library_for_them_are_told_with_the_line_to_type(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"files": {"command": "never-started"}}}))
    for name in ("tertulia.tools.mcp_server", "tertulia.tools.guarded_httpx"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "httpx2", None)

    with pytest.raises(MissingExtra, match=r"pip install tertulia\[mcp\]"):
        open_toolbox("", path)

    assert open_toolbox("tertulia.tools.web").names() == ["web_page"]


@pytest.mark.parametrize(
    ("source", "named", "why"),
    [
        ("", "nowhere", "no module 'nowhere', neither installed nor in "),
        ("", "mine.deeper", "no module 'mine.deeper'"),
        ("import nowhere", "mine", "the module 'mine' needs 'nowhere'; install it"),
        ("1 / 0", "mine", "'mine' cannot be imported (ZeroDivisionError: division by zero)"),
        ("def", "mine", "'mine' cannot be imported (SyntaxError"),
        ("plain = 3", "mine", "no tools in the module 'mine'; put @tool"),
        ("plain = 3", "mine:other", "no 'other' in the module 'mine'"),
        ("plain = 3", "mine:plain", "'mine:plain' is no tool; put @tool"),
        ("from tertulia import tool\n@tool\ndef f(x): ...", "mine", "'x' of the tool 'f' has no type"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(folder: Path, source: str, named: str, why: str) -> None:
    (folder / "mine.py").write_text(dedent(source))

    with pytest.raises(InvalidInput) as raised:
        open_toolbox(named)

    assert why in str(raised.value)
    assert "TERTULIA_TOOLS" in str(raised.value)


def test_what_lies_beside_the_program_hides_nothing_that_is_installed(folder: Path) -> None:
    (folder / "json.py").write_text("raise RuntimeError")

    with pytest.raises(InvalidInput, match="no tools in the module 'json'"):
        open_toolbox("json")
