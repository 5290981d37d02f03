"""Arguments of a tool: read from what a model wrote, and checked against the tool's schema."""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import orjson

from tertulia.definitions import ToolSpec
from tertulia.errors import InvalidInput, InvalidShape, ToolError
from tertulia.registry import load
from tertulia.schemas import allowed_depth

if TYPE_CHECKING:
    from jsonschema_rs import Validator

MAX_ARGUMENTS: Final = 1024 * 1024
"""Characters that arguments may have."""
MAX_PARAMETERS: Final = 64 * 1024
"""Bytes that the schema of a tool's arguments may have."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MASK: Final = "the value"
_TOLD: Final = 5
_TOLD_LENGTH: Final = 600
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_]\w*")


def check_spec(spec: ToolSpec) -> ToolSpec:
    """Return what a model can be told of a tool; raises :class:`InvalidInput` for what it cannot."""
    if not _NAME.fullmatch(spec.name):
        shown = spec.name[:50]
        raise InvalidInput(f"a tool is named with 1 to 64 letters, digits, - and _, not {shown!r}")
    if spec.parameters.get("type") != "object":
        raise InvalidInput(f"the parameters of the tool {spec.name!r} must be an object")
    _checker(_schema_text(spec), spec.name)
    return spec


def parse_arguments(text: str, spec: ToolSpec) -> dict[str, Any]:
    """Return the arguments that a model wrote as JSON text, none for an empty one.

    Raises :class:`ToolError`, which tells the model what to mend and quotes no values.
    """
    if len(text) > MAX_ARGUMENTS:
        raise ToolError(f"the arguments are longer than {MAX_ARGUMENTS} characters")
    try:
        arguments = orjson.loads(text) if text.strip() else {}
    except orjson.JSONDecodeError as error:
        raise ToolError(f"the arguments are no valid JSON: {error.msg} at character {error.pos}") from error
    if not isinstance(arguments, dict):
        raise ToolError("the arguments must be a JSON object")
    try:
        validator, depth = _checker(_schema_text(spec), spec.name)
    except InvalidInput as error:
        raise ToolError(str(error)) from error
    if _is_deeper(arguments, depth):
        raise ToolError(f"the arguments are nested deeper than {depth} levels")
    if violations := [*islice(_violations(validator, arguments), _TOLD)]:
        raise ToolError(shortened(f"the arguments do not fit: {'; '.join(violations)}", _TOLD_LENGTH))
    return arguments


def shortened(text: str, length: int) -> str:
    """Return a text, cut where it is too long."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def place(steps: list[str | int]) -> str:
    """Return a place in a JSON value as JSONPath writes it (RFC 9535)."""
    return "$" + "".join(
        f".{step}" if isinstance(step, str) and _PLAIN_KEY.fullmatch(step) else f"[{json.dumps(step)}]"
        for step in steps
    )


def _violations(validator: "Validator", arguments: dict[str, Any]) -> Iterator[str]:
    for error in validator.iter_errors(arguments):
        yield f"at {place(error.instance_path)}, {error.message}"


def _schema_text(spec: ToolSpec) -> bytes:
    try:
        text = orjson.dumps(dict(spec.parameters))
    except orjson.JSONEncodeError as error:
        raise InvalidInput(f"the parameters of the tool {spec.name!r} cannot be written as JSON") from error
    if len(text) > MAX_PARAMETERS:
        raise InvalidInput(f"the parameters of the tool {spec.name!r} take more than {MAX_PARAMETERS} bytes")
    return text


@lru_cache(maxsize=512)
def _checker(schema: bytes, name: str) -> tuple["Validator", int]:
    """Return what checks arguments, and how deep they may be nested so that checking ends."""
    parsed = orjson.loads(schema)
    # Three megabytes that an installation without tools and shapes never needs.
    validator_for, unresolved = load("jsonschema_rs:validator_for"), load("jsonschema_rs:ReferencingError")
    try:
        depth = allowed_depth(parsed)
        return validator_for(parsed, offline=True, mask=_MASK), depth
    except InvalidShape as error:
        raise InvalidInput(
            f"the parameters of the tool {name!r} refer to themselves too often, or to something elsewhere"
        ) from error
    except (ValueError, TypeError, unresolved) as error:
        raise InvalidInput(f"the parameters of the tool {name!r} are no usable JSON Schema") from error


def _is_deeper(value: object, depth: int) -> bool:
    """Whether brackets are nested deeper than that."""
    level = [value]
    for _ in range(depth + 1):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return False
    return any(isinstance(child, dict | list) for child in level)


def _children(value: object) -> list[Any]:
    if isinstance(value, dict):
        return [*value.values()]
    return value if isinstance(value, list) else []
