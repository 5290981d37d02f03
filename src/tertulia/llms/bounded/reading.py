"""What a JSON Schema says of one value."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from tertulia.llms.bounded.merging import Given, Schema

ANY_TYPE: Final = ("string", "number", "boolean", "null", "array")
"""Types of what a schema says nothing of."""

_TELLTALE: Final[Mapping[str, tuple[str, ...]]] = {
    "object": ("properties", "required", "additionalProperties", "patternProperties", "minProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("pattern", "minLength", "maxLength", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_COMBINING: Final = ("type", "enum", "const", "anyOf", "oneOf", "allOf")
_ASKING: Final = frozenset({*_COMBINING, *(key for keys in _TELLTALE.values() for key in keys)})


def is_plain_reference(node: Schema) -> bool:
    """Whether a schema is what it refers to, and asks for nothing beside that."""
    return isinstance(node.get("$ref"), str) and not node.keys() & _ASKING


def types_of(node: Schema) -> list[str]:
    """Return the types that a value may have: those that are named, else those that the rest is about."""
    given = node.get("type")
    if isinstance(given, str):
        return [given]
    if isinstance(given, list):
        return given
    told = [name for name, keys in _TELLTALE.items() if any(key in node for key in keys)]
    return told or list(ANY_TYPE)


def values_of(node: Schema) -> list[object] | None:
    """Return the values that a schema lists, but those of other types; ``None`` if it lists none."""
    if "const" in node:
        values = [node["const"]]
    elif isinstance(node.get("enum"), list):
        values = node["enum"]
    else:
        return None
    if "type" not in node:
        return values
    return [value for value in values if _names(value).intersection(types_of(node))]


def target_of(root: Schema, reference: str) -> Given:
    """Return what a reference within a schema names; anything at all where it names nothing."""
    node: Any = root
    for step in unquote(reference).removeprefix("#").split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        try:
            node = node[int(key)] if isinstance(node, list) else node[key]
        except (KeyError, IndexError, ValueError, TypeError):
            return True
    return node if isinstance(node, dict | bool) else True


def _names(value: object) -> set[str]:
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, int | float):
        return {"integer", "number"} if float(value).is_integer() else {"number"}
    if isinstance(value, str):
        return {"string"}
    return {"array"} if isinstance(value, list) else {"object"} if isinstance(value, dict) else {"null"}
