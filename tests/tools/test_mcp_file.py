"""The file that names servers of tools."""

import json
from pathlib import Path
from typing import Any

import pytest

from tertulia.errors import InvalidInput
from tertulia.tools.mcp_file import Endpoint, Program, ServerConfig, read_mcp_file


def written(folder: Path, servers: object) -> Path:
    path = folder / "mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    return path


def test_a_program_is_read_as_it_is_widely_written(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"files": {"type": "stdio", "command": "npx", "args": ["-y", "x"], "env": {"A": "1"}, "cwd": "/srv"}},
    )

    found = read_mcp_file(path)

    program = Program(command="npx", args=("-y", "x"), env={"A": "1"}, cwd="/srv")
    assert found == [ServerConfig(label="files", at=program)]
    assert not found[0].needs_approval


def test_an_address_is_read_with_what_is_ours(tmp_path: Path) -> None:
    raw = {
        "url": "https://x.example/mcp",
        "headers": {"X": "y"},
        "approval": True,
        "allowed_tools": ["a"],
        "timeout": 5,
    }

    found = read_mcp_file(written(tmp_path, {"x": raw}))

    at = Endpoint(url="https://x.example/mcp", headers={"X": "y"})
    assert found == [ServerConfig(label="x", at=at, needs_approval=True, allowed=("a",), seconds=5.0)]


def test_variables_of_the_environment_are_filled_in(tmp_path: Path) -> None:
    raw = {"url": "http://${HOST:-127.0.0.1}:${PORT}/mcp", "headers": {"Authorization": "Bearer ${KEY}"}}

    found = read_mcp_file(written(tmp_path, {"x": raw}), environment={"PORT": "9", "KEY": "sk-1"})

    assert found[0].at == Endpoint(url="http://127.0.0.1:9/mcp", headers={"Authorization": "Bearer sk-1"})
    assert "sk-1" not in repr(found)


def test_a_server_that_is_switched_off_is_not_there(tmp_path: Path) -> None:
    path = written(tmp_path, {"a": {"command": "a", "disabled": True}, "b": {"command": "${NONE:-b}"}})

    assert [config.label for config in read_mcp_file(path, environment={})] == ["b"]


@pytest.mark.parametrize(
    ("servers", "why"),
    [
        ([], 'must hold {"mcpServers"'),
        ({"two words": {"command": "a"}}, "mcpServers.two words: a label"),
        ({"a": "npx"}, "mcpServers.a must be an object"),
        ({"a": {}}, "either a command or a url"),
        ({"a": {"command": "a", "url": "http://b"}}, "either a command or a url"),
        ({"a": {"command": "a", "headers": {}}}, "mcpServers.a.headers is not known here"),
        (
            {"a": {"command": "a", "aproval": True}},
            "mcpServers.a.aproval is not known here; there are: allowed",
        ),
        ({"a": {"command": ""}}, "mcpServers.a.command must be a text"),
        ({"a": {"command": "a", "args": "x"}}, "mcpServers.a.args must be a list of texts"),
        ({"a": {"command": "a", "env": {"A": 1}}}, "mcpServers.a.env must be an object of texts"),
        ({"a": {"command": "a", "approval": "yes"}}, "mcpServers.a.approval must be true or false"),
        ({"a": {"command": "a", "timeout": 0}}, "mcpServers.a.timeout must be a number"),
        ({"a": {"command": "a", "timeout": True}}, "mcpServers.a.timeout must be a number"),
        ({"a": {"url": "ftp://b"}}, "mcpServers.a.url must begin with"),
        ({"a": {"url": "http://b", "type": "sse"}}, "mcpServers.a.type can only be http or"),
        (
            {"a": {"url": "http://b", "headers": {"K": "${KEY}"}}},
            "mcpServers.a.headers.K needs the variable KEY",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_file_and_key(tmp_path: Path, servers: Any, why: str) -> None:
    path = written(tmp_path, servers)

    with pytest.raises(InvalidInput) as raised:
        read_mcp_file(path, environment={})

    assert str(path) in str(raised.value)
    assert why in str(raised.value)


def test_a_file_that_is_not_there_or_no_json_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{'a': 1}", encoding="utf-8")

    with pytest.raises(InvalidInput, match="no such file"):
        read_mcp_file(tmp_path / "none.json")
    with pytest.raises(InvalidInput, match="is no JSON"):
        read_mcp_file(tmp_path / "bad.json")
