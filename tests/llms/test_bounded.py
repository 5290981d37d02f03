"""Grammars that end: what they ask for, how long their sentences are, and what cannot be had."""

import re
from typing import Any

import orjson
import pytest

from tertulia.errors import ContextTooLong, ModelRefused
from tertulia.llms.bounded.fitting import guide
from tertulia.llms.bounded.grammar import Bounds, Piece, write
from tertulia.llms.bounded.merging import Schema, merged

NARROW = Bounds(units=2, items=2, digits=3, returns=1, optional=9)
PERSON: Schema = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
}


def written(schema: Schema, bounds: Bounds = NARROW) -> Piece:
    found = write(schema, bounds)
    assert found
    return found


def scalars(schema: Schema, bounds: Bounds = NARROW) -> list[Schema]:
    """Return the schemas of numbers and strings that a grammar holds."""
    lines = written(schema, bounds).text.splitlines()
    return [orjson.loads(line.partition("%json ")[2]) for line in lines if "%json " in line]


def test_wish_is_kept_and_strings_share_what_is_left() -> None:
    short, long = (guide(PERSON, wished=wished, usual=200, room=1000) for wished in (80, 300))

    assert (short.max_tokens, long.max_tokens) == (80, 300)
    fewer, more = (int(re.findall(r"\{0,(\d+)\}", found.grammar)[0]) for found in (short, long))
    assert 4 * fewer < 80 < 4 * more < 300


def test_schema_that_needs_more_than_the_usual_gets_more() -> None:
    people = {"type": "array", "items": PERSON}

    assert guide(PERSON, wished=None, usual=200, room=1900).max_tokens == 200
    assert guide(people, wished=None, usual=200, room=1900).max_tokens > 200


def test_wish_that_is_too_small_for_the_shortest_answer_is_refused() -> None:
    with pytest.raises(ModelRefused, match="max_tokens is too small"):
        guide(PERSON, wished=3, usual=200, room=1000)


@pytest.mark.parametrize("room", [-5, 0, 3])
def test_no_room_for_the_shortest_answer_is_told(room: int) -> None:
    with pytest.raises(ContextTooLong, match="no room"):
        guide(PERSON, wished=None, usual=200, room=room)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "minItems": 10**6},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
        {
            "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}, "minItems": 1}},
            "$ref": "#/$defs/a",
        },
        {"enum": []},
        {"anyOf": [{"type": "string"}], "type": "null"},
    ],
)
def test_schema_without_a_short_answer_is_refused(schema: Schema) -> None:
    with pytest.raises(ModelRefused, match="cannot give an answer"):
        guide(schema, wished=None, usual=200, room=1900)


@pytest.mark.parametrize("keyword", ["prefixItems", "allOf", "anyOf"])
@pytest.mark.parametrize("beside", [{}, {"minItems": 2}])
def test_schema_that_multiplies_itself_is_refused_soon(keyword: str, beside: dict[str, Any]) -> None:
    doubling = {
        f"d{n}": {keyword: [{"$ref": f"#/$defs/d{n + 1}", **beside}] * 2, "minItems": 2} for n in range(40)
    }
    schema = {"$defs": {**doubling, "d40": {"type": "array", "minItems": 10**6}}, "$ref": "#/$defs/d0"}

    with pytest.raises((ModelRefused, ContextTooLong)):
        guide(schema, wished=None, usual=200, room=1900)


def test_schema_with_very_many_parts_is_refused() -> None:
    many = {f"key{n}": {"const": n} for n in range(3000)}

    with pytest.raises(ModelRefused):
        guide({"type": "object", "properties": many, "required": [*many]}, wished=None, usual=200, room=10**6)


def test_what_its_author_asks_of_a_string_stays() -> None:
    [code] = scalars({"type": "string", "pattern": "^[A-Z]+$", "minLength": 2, "maxLength": 5})
    [day] = scalars({"type": "string", "format": "date"})
    [word] = scalars({"type": "string", "maxLength": 3})

    assert code.items() >= {"pattern": "^[A-Z]+$", "minLength": 2, "maxLength": 5}.items()
    assert day.items() >= {"format": "date", "maxLength": 10}.items()
    assert word["maxLength"] == 3


def test_pattern_that_counts_far_is_given_the_room() -> None:
    [found] = scalars({"type": "string", "pattern": "^.{100,200}$"})

    assert found["maxLength"] > 100


def test_pattern_that_a_grammar_cannot_say_is_left_to_the_check_of_the_answer() -> None:
    [found] = scalars({"type": "string", "pattern": "^(?!a)"})

    assert "(?!" not in found["pattern"]


@pytest.mark.parametrize(
    ("schema", "low", "high"),
    [
        ({"type": "integer"}, -999, 999),
        ({"type": "integer", "minimum": 5}, 5, 1004),
        ({"type": "integer", "maximum": -5000}, -10_000, -5000),
        ({"type": "integer", "minimum": 10**6, "maximum": 10**7}, 10**6, 2 * 10**6),
        ({"type": "number", "minimum": 1e20}, 1e20, 2e20),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, 0, 1),
    ],
)
def test_numbers_are_of_a_few_digits_within_what_is_asked(schema: Schema, low: float, high: float) -> None:
    [found] = scalars(schema)

    assert (found["minimum"], found["maximum"]) == (low, high)


def test_decimals_are_so_fine_that_there_is_a_choice() -> None:
    [coarse], [fine] = (
        scalars({"type": "number", **limits}) for limits in ({}, {"minimum": 1e-6, "maximum": 2e-6})
    )

    assert coarse["multipleOf"] == 0.01
    assert fine["multipleOf"] <= 1e-7


def test_optional_properties_may_be_missing_and_stay_away_where_there_is_no_room() -> None:
    roomy, tight = (
        written(PERSON, Bounds(units=2, items=2, digits=3, returns=1, optional=optional)).text
        for optional in (9, 0)
    )

    assert '"\\"age\\":"' in roomy
    assert ")?" in roomy
    assert "age" not in tight


def test_as_many_properties_as_are_asked_for_have_to_be_there() -> None:
    two = {"type": "object", "properties": {name: {"type": "null"} for name in "abc"}}

    assert "?" not in written({**two, "minProperties": 3}).text
    assert '"c\\":"' not in written({**two, "maxProperties": 2}).text.splitlines()[-1]


def test_listed_items_that_must_differ_come_in_their_order() -> None:
    text = written({"type": "array", "items": {"enum": ["x", "y"]}, "uniqueItems": True}).text

    assert text.splitlines()[-1].count('","') == 1


def test_schema_that_comes_back_to_itself_ends() -> None:
    tree: Schema = {
        "$defs": {"tree": {"type": "object", "properties": {"next": {"$ref": "#/$defs/tree"}}}},
        "$ref": "#/$defs/tree",
    }

    shallow, deep = (
        written(tree, Bounds(units=2, items=2, digits=3, returns=returns, optional=9)).tokens
        for returns in (0, 3)
    )

    assert shallow < deep < 100


def test_merged_schemas_ask_for_what_both_ask() -> None:
    first = {"type": ["string", "null"], "maxLength": 5, "enum": ["a", True, 1]}
    second = {"type": ["null", "number"], "maxLength": 3, "enum": [1, "a"]}

    assert merged(first, second) == {"type": ["null"], "maxLength": 3, "enum": ["a", 1]}


def test_closed_schema_keeps_out_what_only_the_other_knows() -> None:
    closed = {"properties": {"a": {"minLength": 1}}, "additionalProperties": False}
    other = {"properties": {"a": {"minLength": 4}, "b": {}}, "required": ["a"]}

    assert merged(closed, other)["properties"] == {"a": {"minLength": 4}}
    assert merged(other, closed)["properties"] == {"a": {"minLength": 4}}
