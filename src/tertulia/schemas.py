"""How deep an answer may be nested so that checking it against a JSON Schema ends in time.

References let a short schema stand for an endless one: thirty definitions that each refer twice to
the next make a billion checks of one number, and a definition that refers twice to itself makes as
many of thirty brackets. Nothing can interrupt a validator at that, so it is counted beforehand: the
checks that one place in an answer may cost, for each depth at which it may lie. How often they are
made is up to the answer; :func:`checks_by_depth` is for those who want to count that, too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from tertulia.errors import InvalidShape

MAX_DEPTH: Final = 64
"""The deepest that is allowed for any schema."""
MAX_CHECKS: Final = 200_000
"""How many subschemas may have to be checked on the way to one place; some milliseconds."""

Schema: TypeAlias = Mapping[str, Any]

_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_BY_NAME: Final = frozenset({"dependencies", "dependentSchemas", "patternProperties", "properties"})
_SAME_VALUE: Final = (
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependencies",
    "dependentSchemas",
)
_ONE_OF_THEM: Final = ("properties", "items", "prefixItems")
_ALL_OF_THEM: Final = (
    "additionalItems",
    "additionalProperties",
    "contains",
    "contentSchema",
    "patternProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_QUOTED: Final = 80
_FRACTION: Final = 100


@dataclass(slots=True)
class _Place:
    """A subschema, with the subschemas that it leads to."""

    here: list[int]
    """Those that are checked on the same value."""
    below: list[list[int]]
    """Those for the values inside; of each list at most one is checked on one of them."""
    weight: int
    """What it costs by itself, in checks."""


def allowed_depth(schema: Schema) -> int:
    """Return how deep (in brackets) the values may be nested that this schema is used on.

    Raises :class:`InvalidShape` for a schema that multiplies itself too often even for a number,
    and for one that refers to anything outside of it.
    """
    return len(checks_by_depth(schema)) - 1


def checks_by_depth(schema: Schema) -> list[int]:
    """Return the most checks on the way to one place, for values of each depth that is allowed, from 0.

    Raises as :func:`allowed_depth`.
    """
    places = _places(schema)
    order = _innermost_first(places)
    checks = dict.fromkeys(places, 0)
    most: list[int] = []
    while len(most) <= MAX_DEPTH:
        deeper = _one_level_more(places, order, checks)
        most.append(max(deeper.values()))
        if most[-1] > MAX_CHECKS:
            most.pop()
            break
        if deeper == checks:
            most += [most[-1]] * (MAX_DEPTH + 1 - len(most))
        checks = deeper
    if not most:
        raise InvalidShape("the response shape refers to itself so often that it cannot be checked")
    return most


def _one_level_more(places: Mapping[int, _Place], order: list[int], checks: dict[int, int]) -> dict[int, int]:
    """Return the most checks along one way into a value that is one level deeper."""
    deeper: dict[int, int] = {}
    for place in order:
        here = sum(deeper.get(other, checks[other]) for other in places[place].here)
        below = sum(max((checks[other] for other in group), default=0) for group in places[place].below)
        deeper[place] = places[place].weight + here + below
    return deeper


def _places(schema: Schema) -> dict[int, _Place]:
    """Return every subschema that can be reached, by its identity."""
    found: dict[int, _Place] = {}
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if id(node) in found:
            continue
        if node is not schema and isinstance(node.get("$id"), str):
            raise InvalidShape(
                "the response shape holds a schema with an $id of its own; write it out instead"
            )
        here = [*_targets(schema, node)]
        here += [child for key in _SAME_VALUE for child in _children(node, key)]
        below = [list(_children(node, key)) for key in _ONE_OF_THEM]
        below += [[child] for key in _ALL_OF_THEM for child in _children(node, key)]
        found[id(node)] = _Place([*map(id, here)], [[*map(id, group)] for group in below], _weight(node))
        waiting += here + [child for group in below for child in group]
    return found


def _weight(node: Schema) -> int:
    """Return what a subschema costs, not counting others: a value is compared with each of an enumeration,
    but for plain texts, of which validators keep a table."""
    listed = node.get("enum")
    if isinstance(listed, list) and not all(isinstance(each, str) for each in listed):
        return 1 + len(listed)
    return _FRACTION if isinstance(node.get("multipleOf"), float) else 1


def _children(node: Schema, key: str) -> Iterator[Schema]:
    """Yield the subschemas that a keyword holds: one, a list of them, or some by name."""
    value = node.get(key)
    if key in _BY_NAME and isinstance(value, dict):
        value = [*value.values()]
    children = value if isinstance(value, list) else [value]
    yield from (child for child in children if isinstance(child, dict))


def _targets(schema: Schema, node: Schema) -> Iterator[Schema]:
    for key in _REFERENCES:
        reference = node.get(key)
        if isinstance(reference, str) and isinstance(target := _target(schema, reference), dict):
            yield target


def _target(schema: Schema, reference: str) -> object:
    """Return the subschema that a reference (RFC 6901, in a fragment) names."""
    quoted = reference[:_QUOTED]
    pointer = unquote(reference)
    if pointer != "#" and not pointer.startswith("#/"):
        raise InvalidShape(f"the response shape refers to {quoted}; a reference has to begin with #/")
    node: Any = schema
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        try:
            node = node[int(key)] if isinstance(node, list) else node[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise InvalidShape(f"the response shape refers to {quoted}, which is not there") from None
    return node


def _innermost_first(places: Mapping[int, _Place]) -> list[int]:
    """Return the subschemas so that each follows those for the same value, but for circles."""
    order: list[int] = []
    seen: set[int] = set()
    for first in places:
        path = [(first, False)]
        while path:
            place, is_done = path.pop()
            if is_done:
                order.append(place)
            elif place not in seen:
                seen.add(place)
                path.append((place, True))
                path += [(other, False) for other in places[place].here]
    return order
