"""What is stored of an agent can be read again, by whatever rules it was once let in."""

from dataclasses import replace

import orjson
import pytest

from tertulia.agent_settings import ModelSettings, RunLimits
from tertulia.definitions import AgentDefinition, RemoteTools, ToolChoice, decode_tool, encode_tool
from tertulia.errors import InvalidInput

DOCS = RemoteTools(label="docs", url="https://tools.example.com/mcp")
MCP = {"type": "mcp", "server_label": "docs", "server_url": "https://tools.example.com/mcp"}


def test_a_definition_is_read_as_it_was_written() -> None:
    settings = ModelSettings(temperature=0.5, stop=("END", "\n"), seed=-(2**63))
    definition = AgentDefinition(
        name="Chef",
        context="A kitchen.",
        settings=settings,
        model=("openai:a", "anthropic:b"),
        tools=("add", "mcp:files", DOCS),
        limits=RunLimits(max_steps=9, max_cost=0.5),
    )

    assert AgentDefinition.decode(definition.encode()) == definition


@pytest.mark.parametrize("model", [None, "openai:a", ("openai:a",), ("openai:a", "anthropic:b")])
def test_a_model_is_one_name_or_a_chain_of_them(model: str | tuple[str, ...] | None) -> None:
    definition = AgentDefinition(name="Chef", model=model)

    assert AgentDefinition.decode(definition.encode()).model == model


def test_a_definition_of_an_earlier_version_has_no_tools_and_no_limits() -> None:
    kept = orjson.dumps({"v": 1, "name": "Chef", "model": "local", "settings": {}}).decode()

    assert AgentDefinition.decode(kept) == AgentDefinition(name="Chef", model="local")


def test_what_a_later_version_has_kept_is_passed_over() -> None:
    kept = orjson.dumps({"v": 1, "name": "Chef", "memory": "long", "limits": {"max_patience": 1}}).decode()

    assert AgentDefinition.decode(kept) == AgentDefinition(name="Chef")


@pytest.mark.parametrize(
    ("choice", "raw"),
    [
        ("add", "add"),
        ("mcp:files", "mcp:files"),
        (DOCS, MCP | {"require_approval": "always"}),
        (replace(DOCS, needs_approval=False), MCP | {"require_approval": "never"}),
        (replace(DOCS, allowed=()), MCP | {"allowed_tools": [], "require_approval": "always"}),
        (
            replace(DOCS, allowed=("find", "read")),
            MCP | {"allowed_tools": ["find", "read"], "require_approval": "always"},
        ),
    ],
)
def test_a_choice_of_tools_is_read_as_it_was_written(choice: ToolChoice, raw: object) -> None:
    assert encode_tool(choice) == raw
    assert decode_tool(raw) == choice


def test_uses_of_a_server_elsewhere_are_to_be_approved_unless_that_is_not_wanted() -> None:
    assert decode_tool(MCP) == decode_tool(MCP | {"allowed_tools": None}) == DOCS


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (7, "a tool is a name, or"),
        (None, "a tool is a name, or"),
        ({"type": "function"}, "a tool is a name, or"),
        (MCP | {"headers": {"Authorization": "Bearer x"}}, "has no 'headers'"),
        ({"type": "mcp", "server_url": "https://x"}, "needs a server_label"),
        (MCP | {"server_label": "two words"}, "needs a server_label"),
        (MCP | {"server_label": "x" * 33}, "needs a server_label"),
        (MCP | {"server_label": ["docs"]}, "needs a server_label"),
        (MCP | {"server_url": None}, "needs a server_label"),
        (MCP | {"allowed_tools": "find"}, "allowed_tools must be a list"),
        (MCP | {"allowed_tools": [7]}, "allowed_tools must be a list"),
        (MCP | {"require_approval": "sometimes"}, "require_approval must be"),
        (MCP | {"require_approval": {"never": {}}}, "require_approval must be"),
    ],
)
def test_what_is_no_choice_of_tools_is_told_why(raw: object, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        decode_tool(raw)


@pytest.mark.parametrize("stop", [[], [""], ["x" * 501], ["\x00"]])
def test_settings_that_would_be_refused_today_stay_readable(stop: list[str]) -> None:
    kept = orjson.dumps({"v": 1, "name": "Chef", "settings": {"stop": stop, "unheard_of": 1}}).decode()

    assert AgentDefinition.decode(kept).settings.stop == tuple(stop)
    with pytest.raises(InvalidInput, match="stop"):
        ModelSettings.parse({"stop": stop})
