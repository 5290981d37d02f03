"""Response shapes."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis.strategies import (
    booleans,
    characters,
    dictionaries,
    floats,
    integers,
    lists,
    none,
    recursive,
    sampled_from,
    text,
)

from tertulia.errors import InvalidShape, ShapeMismatch
from tertulia.shapes import MAX_BYTES, Shape, check_shape, parse_shape, shape_text

RECIPE: dict[str, Any] = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "minutes": {"type": "integer", "minimum": 1}},
    "required": ["title"],
    "additionalProperties": False,
}

values = recursive(
    none()
    | booleans()
    | integers(-(2**53), 2**53)
    | floats(allow_nan=False, allow_infinity=False)
    | text(characters(exclude_categories=["Cs"])),
    lambda inner: (
        lists(inner, max_size=4)
        | dictionaries(text(characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)
words = text(characters(exclude_categories=["Cs"], exclude_characters='{}[]`"'))


def a_shape(raw: str | dict[str, Any]) -> Shape:
    shape = parse_shape(shape_text(raw))
    assert shape is not None
    return shape


ANY_OBJECT = a_shape({"type": "object"})
ANYTHING = a_shape({"type": ["array", "boolean", "null", "number", "object", "string"]})


@pytest.mark.parametrize("raw", ["", "  \n", "{}", " { } ", {}])
def test_no_shape_means_plain_text(raw: str | dict[str, Any]) -> None:
    assert parse_shape(shape_text(raw)) is None


@pytest.mark.parametrize(
    "raw",
    [
        RECIPE,
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"},
        {"properties": {"title": True}},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"enum": ["yes", "no"]},
        {"$ref": "#/$defs/answer", "$defs": {"answer": {"type": "string"}}},
        {"type": ["object", "null"], "description": "A recipe, if there is one."},
    ],
)
def test_a_json_schema_is_enforced_as_it_is(raw: dict[str, Any]) -> None:
    shape = a_shape(raw)

    assert shape.schema == raw
    assert json.dumps(raw, separators=(",", ":"), ensure_ascii=False) in shape.rule


@pytest.mark.parametrize(
    "raw",
    [
        "{'recipes': 'List of strings, each a recipe', 'summary': 'text'}",
        '{"recipes": "List of strings, each a recipe", "summary": "text"}',
        "{u'recipes': 'List of strings, each a recipe', 'summary': 'text',}",
        {"recipes": "List of strings, each a recipe", "summary": "text"},
    ],
)
def test_the_loose_form_asks_for_its_keys_and_constrains_no_values(raw: str | dict[str, Any]) -> None:
    shape = a_shape(raw)

    assert shape.validate('{"recipes": ["Paella"], "summary": 5}') == '{"recipes":["Paella"],"summary":5}'
    with pytest.raises(ShapeMismatch, match='"summary" is a required property'):
        shape.validate('{"recipes": ["Paella"]}')
    assert '{"recipes":"List of strings, each a recipe","summary":"text"}' in shape.rule


@pytest.mark.parametrize(
    ("words", "guide"),
    [
        ("string", {"type": "string"}),
        ("A number", {"type": "number"}),
        ("List of strings, each a recipe", {"type": "array", "items": {"type": "string"}}),
        ("an array of recipes", {"type": "array", "items": {}}),
        ("two sentences of text", {}),
        ("the number of guests", {}),
    ],
)
def test_words_that_plainly_name_a_type_guide_but_are_not_enforced(words: str, guide: dict[str, Any]) -> None:
    shape = a_shape({"answer": words})

    assert shape.schema["properties"]["answer"] == {"description": words, **guide}
    for answer in ('{"answer":"ten"}', '{"answer":10}', '{"answer":[{"ten":10}]}'):
        assert shape.validate(answer) == answer


def test_the_loose_form_may_be_nested() -> None:
    shape = a_shape("{'recipes': [{'title': 'its name'}], 'cook': {'name': 'text'}, 'sure': True}")

    answer = '{"recipes":[{"title":"Paella"}],"cook":{"name":"Ana"},"sure":false}'
    assert shape.validate(answer) == answer
    with pytest.raises(ShapeMismatch, match=r"at \$\.recipes\[0\], \"title\" is a required property"):
        shape.validate('{"recipes":[{}],"cook":{"name":"Ana"},"sure":false}')


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "the kind of dish", "name": "text"},
        {"type": "string", "name": "the name"},
        {"properties": "what it is good for"},
        {"enum": "one of a, b", "const": "text", "answer": "text"},
    ],
)
def test_keys_that_are_also_words_of_json_schema_may_be_described(raw: dict[str, Any]) -> None:
    assert a_shape(raw).schema["required"] == list(raw)


@pytest.mark.parametrize(
    "raw",
    [
        "a JSON with a summary",
        "[1, 2]",
        "'text'",
        "null",
        "{'a': 1 + 1j}",
        "{1: 'text'}",
        "{'a': {'b', 'c'}}",
        "{'a': b'c'}",
        "{'a': __import__('os')}",
        "{'a': 'b'",
        "-" * 60_000 + "1",
        "1" + "-1" * 30_000,
        "not " * 15_000 + "1",
        "'\\'" * 20_000,
        "{'a': '\ud83d'}",
    ],
)
def test_what_is_neither_form_is_refused_and_both_are_shown(raw: str) -> None:
    with pytest.raises(InvalidShape, match=r"JSON Schema, like .* object from keys to words .* like"):
        check_shape(raw)


def test_a_text_that_is_escaped_oddly_is_still_understood() -> None:
    assert a_shape(r"{'pattern': 'digits \d+'}").schema["required"] == ["pattern"]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ({"type": "objct", "properties": {}}, r'at \$\.type, "objct" is not valid'),
        ({"properties": {"a": {"type": "string", "pattern": "("}}}, r"at \$\.properties\.a\.pattern"),
        ({"type": "object", "$ref": "http://example.org/shape.json"}, "has to begin with #/"),
        ({"$schema": "http://example.org/my-own", "type": "object"}, "Unknown meta-schema"),
        ({"$ref": "#/$defs/nowhere"}, "refers to #/\\$defs/nowhere, which is not there"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_with_the_reason(raw: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidShape, match=reason):
        check_shape(raw)


def test_a_shape_has_a_limit_of_length() -> None:
    with pytest.raises(InvalidShape, match="longer than 64 kB"):
        check_shape({"answer": "x" * MAX_BYTES})


@pytest.mark.parametrize("raw", ["{'a':" * 40 + "1" + "}" * 40, "[" * 60_000, '{"a":' * 5_000])
def test_a_shape_has_a_limit_of_depth(raw: str) -> None:
    with pytest.raises(InvalidShape, match="deeper than 32 levels"):
        check_shape(raw)


def test_an_object_that_json_cannot_say_is_refused() -> None:
    with pytest.raises(InvalidShape, match="cannot be written as JSON"):
        check_shape({"a": {1, 2}})


def test_an_object_is_kept_as_json_text_and_a_text_as_it_is() -> None:
    assert shape_text({"a": "ü"}) == '{"a":"ü"}'
    assert shape_text("{'a': 'b'}") == "{'a': 'b'}"


def test_the_same_shape_gives_the_same_rule() -> None:
    once = a_shape(RECIPE)
    parse_shape.cache_clear()

    again = a_shape(RECIPE)

    assert once is not again
    assert once == again


@pytest.mark.parametrize(
    "answer",
    [
        '{"title": "Paella", "minutes": 40}',
        '\ufeff  {"title": "Paella",\n "minutes": 40}\n',
        '```json\n{"title": "Paella", "minutes": 40}\n```',
        '```\n{"title": "Paella", "minutes": 40}\n```',
        'Sure! Here it is (see [1] and {note}):\n```json\n{"title": "Paella", "minutes": 40}\n```\nEnjoy!',
        'The answer is {"title": "Paella", "minutes": 40}. Enjoy!',
        '{"title": 1} was wrong; {"title": "Paella", "minutes": 40} is right.',
    ],
)
def test_what_stands_around_the_value_is_forgiven(answer: str) -> None:
    assert a_shape(RECIPE).validate(answer) == '{"title":"Paella","minutes":40}'


@pytest.mark.parametrize("answer", ['"yes"', '```json\n"yes"\n```', 'I say:\n```\n"yes"\n```'])
def test_a_value_that_is_no_object_is_found_too(answer: str) -> None:
    assert a_shape({"enum": ["yes", "no"]}).validate(answer) == '"yes"'


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I cannot say.",
        '{"title": "Pae',
        '{"title": NaN}',
        '{"title": 1e999}',
        "[" * 2_000_000,
        "`" * 100_000,
    ],
    ids=range(7),
)
def test_an_answer_without_a_readable_value_is_a_mismatch(answer: str) -> None:
    with pytest.raises(ShapeMismatch, match="holds no JSON value"):
        a_shape(RECIPE).validate(answer)


@pytest.mark.parametrize("depth", [65, 300, 900])
def test_a_value_that_is_nested_too_deep_is_a_mismatch(depth: int) -> None:
    with pytest.raises(ShapeMismatch, match="nested deeper than 64 levels"):
        a_shape({"type": "array"}).validate("[" * depth + "]" * depth)


def test_brackets_in_texts_are_no_depth() -> None:
    answer = json.dumps(["[" * 1_000], separators=(",", ":"))

    assert a_shape({"type": "array"}).validate(answer) == answer


def test_a_shape_that_doubles_with_every_bracket_takes_shallow_values_only() -> None:
    shape = a_shape({"type": "array", "items": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}})

    assert shape.validate("[[[]]]") == "[[[]]]"
    with pytest.raises(ShapeMismatch, match="nested deeper than"):
        shape.validate("[" * 50 + "]" * 50)


def test_a_mismatch_says_where_and_what_but_quotes_no_values() -> None:
    answer = '{"title": 4711, "minutes": 0, "odd key": {}}'

    with pytest.raises(ShapeMismatch) as caught:
        a_shape(RECIPE).validate(answer)

    told = str(caught.value)
    assert 'at $.title, the value is not of type "string"' in told
    assert "at $.minutes, the value is less than the minimum of 1" in told
    assert "4711" not in told


def test_a_mismatch_stays_short_enough_to_be_shown_to_the_model() -> None:
    shape = a_shape({"type": "array", "items": {"enum": ["x" * 400]}})

    with pytest.raises(ShapeMismatch) as caught:
        shape.validate(json.dumps([1] * 100))

    assert len(str(caught.value)) < 700


@given(value=values)
def test_validating_what_was_validated_changes_nothing(value: object) -> None:
    once = ANYTHING.validate(json.dumps(value))

    assert ANYTHING.validate(once) == once
    assert orjson.loads(once) == value


@given(value=dictionaries(words, values), before=words, after=words)
def test_words_around_an_object_never_change_it(value: dict[str, object], before: str, after: str) -> None:
    answer = json.dumps(value, ensure_ascii=False)

    assert ANY_OBJECT.validate(f"{before}{answer}{after}") == ANY_OBJECT.validate(answer)


@given(value=values, language=sampled_from(["", "json", "JSON ", "json5"]))
def test_a_fence_never_changes_the_value(value: object, language: str) -> None:
    answer = json.dumps(value, indent=2)

    assert ANYTHING.validate(f"```{language}\n{answer}\n```\n") == ANYTHING.validate(answer)


@given(raw=text())
def test_any_text_is_a_shape_or_refused(raw: str) -> None:
    try:
        shape = parse_shape(raw)
    except InvalidShape:
        return
    assert shape is None or shape.rule


@given(described=dictionaries(text(characters(exclude_categories=["Cs"]), min_size=1), words, min_size=1))
def test_python_and_json_spell_the_same_loose_shape(described: dict[str, str]) -> None:
    assert parse_shape(repr(described)) == parse_shape(json.dumps(described))
