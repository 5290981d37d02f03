"""The file that names the databases of an installation."""

import json
from pathlib import Path
from typing import Any

import pytest

from tertulia.errors import InvalidInput
from tertulia.memory.context.database_file import read_databases_file
from tests.memory.context.shop import sqlite_shop


def written(directory: Path, content: object) -> Path:
    path = directory / "databases.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_databases_are_read_with_variables_filled_in(tmp_path: Path) -> None:
    url = sqlite_shop(tmp_path)
    shop = {"url": "${SHOP_URL}", "tables": {"orders": ["id"]}, "max_rows": 5, "description": "A shop."}
    other = {"url": "${OTHER:-" + url + "}", "tables": ["items"], "within_seconds": 1.5}
    path = written(tmp_path, {"databases": {"shop": shop, "other": other}})

    found = read_databases_file(path, environment={"SHOP_URL": url})

    assert {key: provider.name for key, provider in found.items()} == {"shop": "shop", "other": "other"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is no JSON"),
        ([], '"databases"'),
        ({"databases": []}, '"databases"'),
        ({"databases": {"shop": {"url": "sqlite:///x.db"}}}, "databases.shop must be"),
        (
            {"databases": {"shop": {"url": "sqlite:///x.db", "tables": ["a"], "colour": 1}}},
            "shop.colour is not",
        ),
        ({"databases": {"shop": {"url": 7, "tables": ["a"]}}}, "shop.url must be a text"),
        ({"databases": {"shop": {"url": "sqlite:///x.db", "tables": "a"}}}, "shop.tables must be"),
        (
            {"databases": {"shop": {"url": "sqlite:///x.db", "tables": ["a"], "max_rows": True}}},
            "shop.max_rows",
        ),
        ({"databases": {"shop": {"url": "${NOWHERE}", "tables": ["a"]}}}, "the variable NOWHERE"),
        ({"databases": {"shop": {"url": "mysql://secret@x/y", "tables": ["a"]}}}, "databases.shop: the URL"),
        ({"databases": {"a shop": {"url": "sqlite:///x.db", "tables": ["a"]}}}, "databases.a shop: the name"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, content: Any, told: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        read_databases_file(written(tmp_path, content), environment={})

    assert told in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such file"):
        read_databases_file(tmp_path / "nowhere.json")
