"""The page about models: its tables are true, its commands work."""

import re
import sys
from pathlib import Path

import pytest

from tertulia.agent_settings import ModelSettings
from tertulia.errors import TertuliaError
from tertulia.llms import LLMS
from tests.docs.following import ROOT, carry_out, commands, json_values

PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """Return what stands under a heading."""
    return re.split(r"^## .*$", PAGE.partition(f"## {title}\n")[2], maxsplit=1, flags=re.M)[0]


def test_every_setting_is_documented_and_every_documented_setting_exists() -> None:
    rows = re.findall(r"^\| (`.*?`) \|", section("Settings and shapes"), re.M)

    names = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(names) == sorted(ModelSettings.json_schema()["properties"])


def test_every_code_of_an_error_that_is_named_exists() -> None:
    def codes(family: type[TertuliaError]) -> set[str]:
        return {family.code}.union(*map(codes, family.__subclasses__()))

    named = set(re.findall(r"\(`([a-z_]+)`[:)]", section("Chains")))

    assert len(named) == 7
    assert named <= codes(TertuliaError)


def test_every_wire_of_openais_that_is_named_is_spoken() -> None:
    rows = re.findall(r"^\| `([\w-]+):` \|", section("OpenAI, and servers that speak like it"), re.M)

    assert sorted(rows) == sorted(name for name in LLMS if name.startswith("openai"))


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")
def test_the_commands_change_an_agent(tmp_path: Path, environment: dict[str, str], server: str) -> None:
    chef = commands()[1]

    told = carry_out("\n".join((chef, *commands("docs/models.md"))), server, tmp_path, environment)

    rows = json_values(told)[1:]
    assert [(row["model"], row["version"]) for row in rows] == [("local", 2), (None, 3)]  # type: ignore[index]
    assert [row["settings"] for row in rows] == [{"max_tokens": 100}] * 2  # type: ignore[index]
