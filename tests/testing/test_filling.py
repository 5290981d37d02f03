"""What nobody was told to say meets its schema."""

from typing import Any

import jsonschema_rs
import pytest

from tertulia.testing.fake.filling import filled

NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "required": ["next"]}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "null"},
        {"type": ["integer", "null"]},
        {"const": {"a": 1}},
        {"enum": ["x", "y"]},
        {"type": "string", "minLength": 9, "maxLength": 9},
        {"type": "string", "maxLength": 2},
        *[{"type": "string", "format": name} for name in ("date", "date-time", "email", "uuid", "ipv4")],
        {"type": "integer", "minimum": 3},
        {"type": "integer", "exclusiveMinimum": 3},
        {"type": "number", "maximum": -3.5},
        {"type": "number", "exclusiveMaximum": 0},
        {"type": "number", "minimum": 5, "multipleOf": 4},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 2},
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/a"}, "b": {"type": "string"}},
            "required": ["a"],
            "additionalProperties": False,
            "$defs": {"a": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
        },
        {
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"properties": {"b": {"type": "array"}}, "required": ["b"]},
            ]
        },
        {"oneOf": [{"type": "object", "required": ["a"], "properties": {"a": {"const": 1}}}, True]},
        {"properties": {"a": {"items": {"type": "string"}}}, "required": ["a"]},
    ],
)
def test_what_is_found_meets_its_schema(schema: dict[str, Any]) -> None:
    found = filled(schema)

    if "oneOf" not in schema:
        jsonschema_rs.validate(schema, found)
    else:
        assert found == {"a": 1}


def test_what_has_no_end_is_told() -> None:
    with pytest.raises(ValueError, match="no end"):
        filled(NODE | {"$defs": {"node": NODE}})
