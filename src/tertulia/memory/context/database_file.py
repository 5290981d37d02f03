"""The file in which an installation names the databases that its agents may read."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tertulia.errors import InvalidInput
from tertulia.memory.context.base import ContextProvider
from tertulia.memory.context.database import DatabaseProvider
from tertulia.tools.installation_files import filled, read_entries

_KINDS: Final[Mapping[str, tuple[type | tuple[type, ...], str]]] = {
    "url": (str, "must be a text"),
    "tables": ((list, dict), "must be a list of names, or an object from names to columns"),
    "description": (str, "must be a text"),
    "max_rows": (int, "must be a whole number"),
    "max_characters": (int, "must be a whole number"),
    "within_seconds": ((int, float), "must be a number of seconds"),
}


def read_databases_file(
    path: Path, *, environment: Mapping[str, str] = os.environ
) -> dict[str, ContextProvider]:
    """Return the databases that a file names, by their names; nothing is connected to yet.

    It holds ``{"databases": {"shop": {"url": …, "tables": ["orders"]}}}``, and beside these two what
    :class:`DatabaseProvider` takes. ``${NAME}`` in a url stands for a variable of the environment,
    ``${NAME:-text}`` for the text if that is not set. Raises :class:`InvalidInput`, which names the file
    and the key, and :class:`MissingExtra` without the package that reads SQL.
    """
    databases = read_entries(path, "databases", called="name")
    return {
        name: _opened(f"{path}: databases.{name}", name, raw, environment) for name, raw in databases.items()
    }


def _opened(where: str, name: str, raw: object, environment: Mapping[str, str]) -> ContextProvider:
    if not isinstance(raw, dict) or not {"url", "tables"} <= set(raw):
        raise InvalidInput(f"{where} must be an object with a url and tables")
    for key, value in raw.items():
        _check(where, key, value)
    given: dict[str, Any] = {**raw, "url": filled(raw["url"], environment, where=f"{where}.url")}
    try:
        return DatabaseProvider(given.pop("url"), name=name, **given)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from error


def _check(where: str, key: str, value: object) -> None:
    if key not in _KINDS:
        raise InvalidInput(f"{where}.{key} is not known here; there are: {', '.join(sorted(_KINDS))}")
    kinds, why = _KINDS[key]
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise InvalidInput(f"{where}.{key} {why}")
