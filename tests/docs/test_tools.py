"""The page about tools: its examples are carried out, its table is true."""

import json
import re
from pathlib import Path

import pytest

from tertulia.definitions import decode_tool
from tertulia.parts import ToolCall
from tertulia.testing.tool_contract import a_context
from tertulia.tools.base import ToolRules
from tertulia.tools.loading import open_toolbox
from tertulia.tools.using import use

PAGE = (Path(__file__).parents[2] / "docs" / "tools.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


async def test_the_examples_are_a_toolbox_that_agents_can_choose_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (module,) = blocks("python")
    servers, choices = blocks("json")
    (tmp_path / "my_documented_tools.py").write_text(module, encoding="utf-8")
    (tmp_path / "mcp.json").write_text(servers, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SHOP_KEY", "sk-1")

    box = open_toolbox("my_documented_tools, tertulia.tools.web:web_page", tmp_path / "mcp.json")

    assert box.names() == ["count", "order", "web_page", "mcp:files", "mcp:shop"]
    box.check([decode_tool(choice) for choice in json.loads(choices)])
    tools = await box.pick(["count", "order"])
    for name, arguments, text in (
        ("count", '{"fruit": "apples"}', "3"),
        ("order", '{"fruit": "pears"}', '{"fruit":"pears","pieces":1,"receipt":"key"}'),
        ("order", '{"fruit": "pears", "pieces": 101}', "the market sells at most 100 pieces"),
    ):
        call = ToolCall(id="call_1", name=name, arguments=arguments)
        assert (await use(tools[name], call, a_context("key"))).text == text


def test_the_documented_rules_are_the_rules() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", PAGE, re.MULTILINE)

    rules = ToolRules()
    defaults = {name: getattr(rules, name) for name in ToolRules.__dataclass_fields__}
    assert {
        name: json.dumps(value) if isinstance(value, str) else str(value) for name, value in defaults.items()
    } == dict(rows)
