"""Small values that meet a JSON Schema, for models that nobody has told what to say."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from tertulia.testing.fake.wire import JSON

_Schema: TypeAlias = Mapping[str, Any]

_FORMATS: Final = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "a@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_DEEPEST: Final = 32
_TEXT: Final = "text"


def filled(schema: object, *, root: _Schema | None = None, depth: int = 0) -> JSON:
    """Return a small value that meets a schema, as far as one is found without searching.

    Patterns are not looked at, nor ``not`` and ``if``; what refers to itself without end raises
    ``ValueError``.
    """
    if depth > _DEEPEST:
        raise ValueError("this schema has no end")
    if not isinstance(schema, Mapping):
        return None
    top = schema if root is None else root
    found = _merged(schema, top, depth)
    for given in ("const", "default"):
        if given in found:
            return found[given]
    if found.get("enum"):
        return found["enum"][0]
    return _FILL.get(_kind(found), _nothing)(found, top, depth + 1)


def _merged(schema: _Schema, root: _Schema, depth: int) -> dict[str, Any]:
    """Return a schema with all that it is put together from; of alternatives, the first."""
    if depth > _DEEPEST:
        raise ValueError("this schema has no end")
    found = dict(schema)
    parts = list(found.pop("allOf", []))
    if "$ref" in found:
        parts.append(_referred(str(found.pop("$ref")), root))
    for choice in ("anyOf", "oneOf"):
        if options := found.pop(choice, None):
            parts.append(options[0])
    for part in parts:
        found = _joined(found, _merged(part, root, depth + 1))
    return found


def _joined(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    joined = {**other, **one}
    if "properties" in one and "properties" in other:
        joined["properties"] = {**other["properties"], **one["properties"]}
    if "required" in one and "required" in other:
        joined["required"] = [*other["required"], *one["required"]]
    return joined


def _referred(reference: str, root: _Schema) -> _Schema:
    found: JSON = root
    for step in reference.removeprefix("#").split("/")[1:]:
        found = found[step.replace("~1", "/").replace("~0", "~")]
    return found if isinstance(found, Mapping) else {}


def _kind(schema: _Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind is None:
        kind = next((kind for mark, kind in _MARKS.items() if mark in schema), "string")
    return str(kind)


def _object(schema: _Schema, root: _Schema, depth: int) -> JSON:
    properties = schema.get("properties", {})
    return {
        name: filled(properties.get(name, {}), root=root, depth=depth) for name in schema.get("required", ())
    }


def _array(schema: _Schema, root: _Schema, depth: int) -> JSON:
    first = schema.get("prefixItems", [])
    items = [*first, *[schema.get("items", {})] * max(0, schema.get("minItems", 0) - len(first))]
    return [filled(item, root=root, depth=depth) for item in items]


def _string(schema: _Schema, _root: _Schema, _depth: int) -> JSON:
    text = _FORMATS.get(str(schema.get("format")), _TEXT)
    return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength", len(text) + 10**6)]


def _number(schema: _Schema, _root: _Schema, _depth: int) -> JSON:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    step = schema.get("multipleOf", 1)
    if low is None:
        return 0 if high is None or high > 0 else math.floor(high / step) * step - step
    number = math.ceil(low / step) * step
    return number + step if number == schema.get("exclusiveMinimum") else number


def _switch(_schema: _Schema, _root: _Schema, _depth: int) -> JSON:
    return False


def _nothing(_schema: _Schema, _root: _Schema, _depth: int) -> JSON:
    return None


_MARKS: Final = {
    "properties": "object",
    "required": "object",
    "items": "array",
    "minItems": "array",
    "minimum": "number",
    "maximum": "number",
}
"""What tells of a schema's type if it does not say it."""
_FILL: Final[dict[str, Callable[[_Schema, _Schema, int], Any]]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "number": _number,
    "integer": _number,
    "boolean": _switch,
}
