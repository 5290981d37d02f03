"""JSON Schemas merged: one that asks for what two ask for."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

Schema: TypeAlias = Mapping[str, Any]
Given: TypeAlias = Schema | bool
"""A schema, or that anything (nothing) is valid."""

_MAX_ALTERNATIVES: Final = 64


def merged(first: Schema, second: Schema) -> dict[str, Any]:
    """Return a schema for what is valid against both, as far as one schema can say it.

    Where both have a pattern or a format, those of the first stay.
    """
    found = {**second, **first}
    for key in first.keys() & second.keys():
        if join := _JOINS.get(key):
            found[key] = join(first[key], second[key])
    for one, other in ((first, second), (second, first)):
        if one.get("additionalProperties") is False:
            _close(found, one, other)
    return found


def both(first: Given, second: Given) -> Given:
    """Return what :func:`merged` does of schemas that may also be ``true`` or ``false``."""
    if isinstance(first, bool):
        return second if first else False
    if isinstance(second, bool):
        return first if second else False
    return merged(first, second)


def _close(found: dict[str, Any], closed: Schema, other: Schema) -> None:
    """Take away what only the other one knows, for the closed one forbids it."""
    strange = (other.get("properties") or {}).keys() - (closed.get("properties") or {}).keys()
    found["properties"] = {
        name: child for name, child in (found.get("properties") or {}).items() if name not in strange
    }


def _properties(first: Schema, second: Schema) -> dict[str, Any]:
    shared = {name: both(first[name], second[name]) for name in first if name in second}
    return {**first, **second, **shared}


def _required(first: list[str], second: list[str]) -> list[str]:
    return list(dict.fromkeys([*first, *second]))


def _common(first: list[Any], second: list[Any]) -> list[Any]:
    return [value for value in first if any(value == other and _alike(value, other) for other in second)]


def _alike(value: object, other: object) -> bool:
    return isinstance(value, bool) == isinstance(other, bool)


def _types(first: str | list[str], second: str | list[str]) -> list[str]:
    mine, others = ([each] if isinstance(each, str) else list(each) for each in (first, second))
    found = [name for name in mine if name in others]
    if "integer" in (*mine, *others) and "number" in (*mine, *others) and "integer" not in found:
        found.append("integer")
    return found


def _alternatives(first: list[Any], second: list[Any]) -> list[Any]:
    return [both(one, other) for one in first for other in second][:_MAX_ALTERNATIVES]


_JOINS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "additionalProperties": both,
    "anyOf": _alternatives,
    "enum": _common,
    "exclusiveMaximum": min,
    "exclusiveMinimum": max,
    "items": both,
    "maxItems": min,
    "maxLength": min,
    "maxProperties": min,
    "maximum": min,
    "minItems": max,
    "minLength": max,
    "minProperties": max,
    "minimum": max,
    "oneOf": _alternatives,
    "properties": _properties,
    "required": _required,
    "type": _types,
}
