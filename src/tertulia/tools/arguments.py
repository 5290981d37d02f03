"""Arguments of a tool: read from what a model wrote, and checked against the tool's schema."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import orjson

from tertulia.definitions import ToolSpec
from tertulia.errors import InvalidInput, InvalidShape, ToolError
from tertulia.registry import load
from tertulia.schemas import checks_by_depth

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError, Validator

MAX_ARGUMENTS: Final = 1024 * 1024
"""Characters that arguments may have."""
MAX_PARAMETERS: Final = 64 * 1024
"""Bytes that the schema of a tool's arguments may have."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MASK: Final = "the value"
# A list of all violations may be very long, so it is made only where schema and arguments are short.
_BRIEF: Final = 400_000
# How often comparing with a pattern may step back, and the bytes that it may take when it is prepared.
_OWN_PATTERNS: Final = (20_000, None)
_STRANGERS_PATTERNS: Final = (1_000, 64 * 1024)
_PATTERNS: Final = (b'"pattern":"', b'"patternProperties":')
_TOLD: Final = 5
_TOLD_LENGTH: Final = 600
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_]\w*")


def check_spec(spec: ToolSpec, *, max_checks: int | None = None) -> ToolSpec:
    """Return what a model can be told of a tool; raises :class:`InvalidInput` for what it cannot.

    Where checks of arguments are counted, no pattern may be one that takes long to compare.
    """
    if not _NAME.fullmatch(spec.name):
        shown = spec.name[:50]
        raise InvalidInput(f"a tool is named with 1 to 64 letters, digits, - and _, not {shown!r}")
    if spec.parameters.get("type") != "object":
        raise InvalidInput(f"the parameters of the tool {spec.name!r} must be an object")
    _checker(_schema_text(spec), spec.name, _pattern_limits(max_checks))
    return spec


def parse_arguments(text: str, spec: ToolSpec, *, max_checks: int | None = None) -> dict[str, Any]:
    """Return the arguments that a model wrote as JSON text, none for an empty one.

    Raises :class:`ToolError`, which tells the model what to mend and quotes no values; also for
    arguments that would need more than ``max_checks`` checks of a subschema.
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
        schema = _schema_text(spec)
        checker = _checker(schema, spec.name, _pattern_limits(max_checks))
    except InvalidInput as error:
        raise ToolError(str(error)) from error
    if _is_deeper(arguments, checker.depth):
        raise ToolError(f"the arguments are nested deeper than {checker.depth} levels")
    if max_checks is not None and checker.checks(arguments, text) > max_checks:
        raise ToolError("the arguments are too large to be checked; write fewer, or shorter ones")
    told = _TOLD if len(schema) * len(text) <= _BRIEF else 1
    if violations := [*islice(_violations(checker.validator, arguments, told), told)]:
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


def _violations(validator: "Validator", arguments: dict[str, Any], most: int) -> Iterator[str]:
    if validator.is_valid(arguments):
        return
    errors = validator.iter_errors(arguments) if most > 1 else _first_error(validator, arguments)
    for error in errors:
        yield f"at {place(error.instance_path)}, {error.message}"


def _first_error(validator: "Validator", arguments: dict[str, Any]) -> Iterator["ValidationError"]:
    try:
        validator.validate(arguments)
    except load("jsonschema_rs:ValidationError") as error:
        yield error


def _schema_text(spec: ToolSpec) -> bytes:
    try:
        text = orjson.dumps(dict(spec.parameters))
    except orjson.JSONEncodeError as error:
        raise InvalidInput(f"the parameters of the tool {spec.name!r} cannot be written as JSON") from error
    if len(text) > MAX_PARAMETERS:
        raise InvalidInput(f"the parameters of the tool {spec.name!r} take more than {MAX_PARAMETERS} bytes")
    return text


def _pattern_limits(max_checks: int | None) -> tuple[int, int | None]:
    return _OWN_PATTERNS if max_checks is None else _STRANGERS_PATTERNS


@dataclass(frozen=True, slots=True)
class _Checker:
    """What checks arguments, and how deep they may be nested so that checking ends."""

    validator: "Validator"
    by_depth: Sequence[int]
    has_patterns: bool

    @property
    def depth(self) -> int:
        return len(self.by_depth) - 1

    def checks(self, arguments: dict[str, Any], text: str) -> int:
        """Return how many checks arguments may need, at most; with patterns each character counts as one."""
        values, depth = _extent(arguments)
        return self.by_depth[min(depth, self.depth)] * (len(text) if self.has_patterns else values)


@lru_cache(maxsize=512)
def _checker(schema: bytes, name: str, pattern_limits: tuple[int, int | None]) -> _Checker:
    parsed = orjson.loads(schema)
    # Three megabytes that an installation without tools and shapes never needs.
    validator_for, unresolved = load("jsonschema_rs:validator_for"), load("jsonschema_rs:ReferencingError")
    backtracks, size = pattern_limits
    patterns = load("jsonschema_rs:FancyRegexOptions")(backtrack_limit=backtracks, size_limit=size)
    try:
        by_depth = checks_by_depth(parsed)
        validator = validator_for(parsed, offline=True, mask=_MASK, pattern_options=patterns)
        return _Checker(validator, by_depth, any(mark in schema for mark in _PATTERNS))
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


def _extent(value: object) -> tuple[int, int]:
    """Return how many values there are in one, with itself, and how deep brackets are nested."""
    values, depth, level = 0, -1, [value]
    while level:
        values, depth = values + len(level), depth + 1
        level = [child for parent in level for child in _children(parent)]
    return values, depth


def _children(value: object) -> list[Any]:
    if isinstance(value, dict):
        return [*value.values()]
    return value if isinstance(value, list) else []
