"""Arguments of tools: however a schema was made, checking them ends soon."""

import json
from typing import Any

import pytest

from tertulia.definitions import ToolSpec
from tertulia.errors import InvalidInput, ToolError
from tertulia.tools.arguments import check_spec, parse_arguments

CHECKS = 500_000
MANY_FORMS: dict[str, Any] = {"anyOf": [{"const": number} for number in range(1, 3000)]}
FILTER: dict[str, Any] = {
    "$ref": "#/$defs/filter",
    "$defs": {
        "filter": {
            "anyOf": [
                {"properties": {"and": {"type": "array", "items": {"$ref": "#/$defs/filter"}}}},
                {"properties": {"or": {"type": "array", "items": {"$ref": "#/$defs/filter"}}}},
                {"properties": {"field": {"type": "string"}, "equals": {}}},
            ]
        }
    },
}


def spec_with(**properties: Any) -> ToolSpec:
    return ToolSpec(name="add", parameters={"type": "object", "properties": properties})


def list_of(schema: dict[str, Any]) -> ToolSpec:
    return spec_with(all={"type": "array", "items": schema})


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (MANY_FORMS, 2999),
        ({"oneOf": MANY_FORMS["anyOf"]}, 2999),
        ({"allOf": [{"contains": {"const": 1}, "minContains": 0}] * 1000}, [2]),
        ({"enum": [[number] for number in range(3000)]}, [2999]),
        ({"enum": [*map(str, range(3000)), None]}, "2999"),
        ({"patternProperties": {f"^{number}x*$": True for number in range(2000)}}, {"1": 1}),
        ({"multipleOf": 0.01}, 1e300),
    ],
)
def test_arguments_that_would_take_long_to_check_are_refused(schema: dict[str, Any], value: object) -> None:
    arguments = json.dumps({"all": [value] * 20_000})

    with pytest.raises(ToolError, match="too large to be checked"):
        parse_arguments(arguments, list_of(schema), max_checks=CHECKS)


def test_patterns_are_counted_by_the_text_that_they_are_compared_with() -> None:
    spec = list_of({"type": "string", "pattern": "[ab]*a[ab]{200}c"})
    short, long = (json.dumps({"all": ["ab" * length]}) for length in (10, 200_000))

    with pytest.raises(ToolError, match="do not fit"):
        parse_arguments(short, spec, max_checks=CHECKS)
    with pytest.raises(ToolError, match="too large to be checked"):
        parse_arguments(long, spec, max_checks=CHECKS)


@pytest.mark.parametrize(
    ("spec", "arguments"),
    [
        (
            spec_with(path={"type": "string"}, content={"type": "string"}),
            {"path": "a", "content": "x" * 500_000},
        ),
        (spec_with(pattern={"type": "string"}), {"pattern": "x" * 500_000}),
        (list_of({"type": "object", "required": ["a"]}), {"all": [{"a": 1, "b": 2}] * 20_000}),
        (list_of({"enum": [*map(str, range(3000))]}), {"all": ["2999"] * 50_000}),
        (list_of(MANY_FORMS), {"all": [5] * 100}),
        (
            ToolSpec(name="find", parameters={"type": "object", **FILTER}),
            {"and": [{"or": [{"field": "a", "equals": number} for number in range(20)]}] * 20},
        ),
    ],
)
def test_what_takes_no_time_may_be_large(spec: ToolSpec, arguments: dict[str, Any]) -> None:
    assert parse_arguments(json.dumps(arguments), spec, max_checks=CHECKS) == arguments


def test_a_tool_of_ones_own_is_given_what_takes_long() -> None:
    arguments = {"all": [150] * 5000}

    assert parse_arguments(json.dumps(arguments), list_of(MANY_FORMS)) == arguments


def test_of_short_arguments_all_is_told_that_does_not_fit() -> None:
    spec = spec_with(a={"type": "integer"}, b={"type": "integer"})

    with pytest.raises(ToolError, match=r"at \$\.a,.*at \$\.b,"):
        parse_arguments('{"a": "x", "b": "y"}', spec)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"required": [f"key{number}" for number in range(3000)]}, {}),
        ({"enum": [f"value{number}" for number in range(3000)]}, "another"),
        (MANY_FORMS, -1),
    ],
)
def test_of_long_ones_only_the_first_is_looked_for(schema: dict[str, Any], value: object) -> None:
    """To list them all takes minutes, and nothing can interrupt that."""
    with pytest.raises(ToolError, match=r"at \$\.all\[0\], [^;]*$"):
        parse_arguments(json.dumps({"all": [value] * 3000}), list_of(schema))


def test_a_pattern_that_goes_back_and_forth_is_given_up() -> None:
    spec = list_of({"type": "string", "pattern": r"^(?=(a+)+$)(a|aa)+\1b$"})

    with pytest.raises(ToolError, match="do not fit"):
        parse_arguments(json.dumps({"all": ["a" * 5000]}), spec)


@pytest.mark.parametrize(
    "pattern",
    [r"^\w{1,255}$", r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+.-]*)@([A-Za-z0-9-]+\.)+[A-Za-z]{2,}$", "^a?$"],
)
def test_patterns_as_people_write_them_are_taken_of_anybody(pattern: str) -> None:
    spec = spec_with(name={"pattern": pattern})

    assert check_spec(spec, max_checks=CHECKS) == spec


def test_a_pattern_with_conditions_is_compared_with_what_people_write() -> None:
    address = f"{'first.' * 30}last@{'sub.' * 30}example.com"
    spec = spec_with(to={"pattern": r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+.-]*)@([A-Za-z0-9-]+\.)+[A-Za-z]{2,}$"})

    assert parse_arguments(json.dumps({"to": address}), spec, max_checks=CHECKS) == {"to": address}


def test_a_pattern_of_great_size_is_only_taken_of_ones_own_tools() -> None:
    spec = spec_with(name={"pattern": "[ab]*a[ab]{20000}c"})

    assert check_spec(spec) == spec
    with pytest.raises(InvalidInput, match="no usable JSON Schema"):
        check_spec(spec, max_checks=CHECKS)
