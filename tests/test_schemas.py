"""The limit to the work that a schema may make."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis.strategies import integers

from tertulia.errors import InvalidShape
from tertulia.schemas import MAX_CHECKS, MAX_DEPTH, allowed_depth, checks_by_depth

TREE: dict[str, Any] = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "left": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "right": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
        }
    },
}
ANY_JSON: dict[str, Any] = {
    "anyOf": [
        {"type": ["string", "number", "boolean", "null"]},
        {"type": "array", "items": {"$ref": "#"}},
        {"type": "object", "additionalProperties": {"$ref": "#"}},
    ]
}

UNION: dict[str, Any] = {
    "anyOf": [
        {"properties": {"kind": {"const": kind}, "children": {"type": "array", "items": {"$ref": "#"}}}}
        for kind in ("page", "box", "list", "card")
    ]
}


def a_chain(length: int, *, times: int) -> dict[str, Any]:
    """Return definitions of which each refers so many times to the next."""
    links = {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * times} for i in range(length)}
    return {"$ref": "#/$defs/a0", "$defs": {**links, f"a{length}": {"type": "integer"}}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"$ref": "#"},
        {"$ref": "#/$defs/all", "$defs": {"all": True}},
        {"type": "array", "items": {"$ref": "#"}},
        TREE,
    ],
)
def test_what_is_checked_once_at_each_place_may_be_deep(schema: dict[str, Any]) -> None:
    assert allowed_depth(schema) == MAX_DEPTH


@pytest.mark.parametrize("schema", [ANY_JSON, UNION])
def test_what_has_many_forms_at_each_place_may_be_as_deep_as_people_nest(schema: dict[str, Any]) -> None:
    assert 10 <= allowed_depth(schema) < MAX_DEPTH


def test_many_properties_of_one_kind_are_no_burden() -> None:
    properties = {f"p{i}": {"$ref": "#/$defs/word"} for i in range(1_000)}

    assert allowed_depth({"properties": properties, "$defs": {"word": {"type": "string"}}}) == MAX_DEPTH


@given(length=integers(0, 500))
def test_a_chain_of_references_may_be_long(length: int) -> None:
    assert allowed_depth(a_chain(length, times=1)) == MAX_DEPTH


@given(length=integers(20, 500))
def test_a_chain_that_doubles_at_every_link_is_refused(length: int) -> None:
    with pytest.raises(InvalidShape, match="cannot be checked"):
        allowed_depth(a_chain(length, times=2))


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"child": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}},
        {"additionalProperties": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}},
        {"items": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}},
        {"patternProperties": {"^a": {"$ref": "#"}, "a$": {"$ref": "#"}}},
    ],
)
def test_what_doubles_with_every_bracket_may_not_be_deep(schema: dict[str, Any]) -> None:
    assert allowed_depth(schema) < 20


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"$ref": "https://example.org/schema"}, "has to begin with #/"),
        ({"items": {"$dynamicRef": "#node"}}, "has to begin with #/"),
        ({"$ref": "#/$defs/a"}, "which is not there"),
        ({"$ref": "#/anyOf/3", "anyOf": [{}]}, "which is not there"),
        ({"properties": {"a": {"$id": "https://example.org/a", "type": "string"}}}, r"an \$id of its own"),
    ],
)
def test_references_lead_to_places_in_the_schema(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidShape, match=reason):
        allowed_depth(schema)


def test_an_escaped_reference_is_followed() -> None:
    allowed_depth({"$ref": "#/$defs/a~1b%20c~0", "$defs": {"a/b c~": {"type": "string"}}})


def test_what_only_looks_like_a_reference_is_left_alone() -> None:
    allowed_depth(
        {"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}}, "const": {"$ref": "x"}}
    )


@pytest.mark.parametrize("schema", [TREE, ANY_JSON, UNION, {"type": "string"}])
def test_checks_are_told_for_each_depth_that_is_allowed(schema: dict[str, Any]) -> None:
    checks = checks_by_depth(schema)

    assert len(checks) == allowed_depth(schema) + 1
    assert checks == sorted(checks)
    assert checks[-1] <= MAX_CHECKS


def test_what_a_value_is_compared_with_counts_but_for_plain_texts() -> None:
    numbers, texts = [*range(100)], [*map(str, range(100))]

    assert checks_by_depth({"enum": texts})[0] < 3
    assert checks_by_depth({"enum": numbers})[0] > 100
    assert checks_by_depth({"enum": [*texts, None]})[0] > 100
    assert checks_by_depth({"multipleOf": 0.01})[0] > checks_by_depth({"multipleOf": 2})[0]
