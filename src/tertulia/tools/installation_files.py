"""Files in which an installation names what its agents may use: JSON, filled from the environment."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from tertulia.errors import InvalidInput

_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def read_entries(path: Path, key: str, *, called: str) -> dict[str, Any]:
    """Return what a file holds under a key, by its names.

    Raises :class:`InvalidInput`, which names the file; ``called`` is what a name is called there.
    """
    try:
        found = orjson.loads(path.read_bytes())
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be read: {(error.strerror or 'no reason known').lower()}"
        ) from error
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{path} is no JSON: {error.msg} in line {error.lineno}") from error
    entries = found.get(key) if isinstance(found, dict) else None
    if not isinstance(entries, dict):
        raise InvalidInput(f'{path} must hold {{"{key}": {{"{called}": {{…}}}}}}')
    return entries


def filled(text: str, environment: Mapping[str, str], *, where: str) -> str:
    """Return a text with variables of the environment for ``${NAME}`` and ``${NAME:-otherwise}``.

    Raises :class:`InvalidInput`, which says where, for one that is not set.
    """

    def value_of(found: re.Match[str]) -> str:
        value = environment.get(found[1]) or found[2]
        if value is None:
            raise InvalidInput(f"{where} needs the variable {found[1]}, which is not set in the environment")
        return value

    return _VARIABLE.sub(value_of, text)
