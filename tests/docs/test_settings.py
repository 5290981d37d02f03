"""The table of settings and the settings are the same list."""

import re
from pathlib import Path

from tertulia.settings import Settings

TABLE = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")


def test_every_setting_is_documented_and_every_documented_setting_exists() -> None:
    rows = re.findall(r"^\| `TERTULIA_(\w+)` \|", TABLE, re.MULTILINE)

    secret_files = [f"{name}_file" for name in Settings.secrets]
    assert sorted(row.lower() for row in rows) == sorted([*Settings.model_fields, *secret_files])


def test_the_documented_defaults_are_the_defaults() -> None:
    rows = re.findall(r"^\| `TERTULIA_(\w+)` \| `([^`]+)` \|", TABLE, re.MULTILINE)

    defaults = {name: Settings.model_fields[name.lower()].default for name, _ in rows}
    assert {name: str(default) for name, default in defaults.items()} == dict(rows)
