"""What OpenAI's server refuses in every request, in its own words."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from tertulia.testing.fake.sent import Wrong
from tertulia.testing.fake.wire import Request

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]+")
_LONGEST_NAME: Final = 64
_RANGES: Final = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "top_logprobs": (0, 20),
}
_AT_LEAST: Final = {
    "max_tokens": 1,
    "max_completion_tokens": 1,
    "max_output_tokens": 1,
    "max_tool_calls": 1,
    "n": 1,
    "dimensions": 1,
}
_SWITCHES: Final = ("stream", "store", "background", "parallel_tool_calls")
_TYPES: Final = {
    "array": "an array of objects",
    "object": "an object",
    "string": "a string",
    "boolean": "a boolean",
    "number": "a decimal",
    "integer": "an integer",
}


def check_settings(request: Request, *, known: Collection[str], needed: Collection[str]) -> None:
    """Raise ``Wrong`` for what is missing, unknown or out of its range at the top of a request."""
    if not request.get("model"):
        raise Wrong("you must provide a model parameter")
    for name in needed:
        if request.get(name) is None:
            raise missing(name)
    for name in request:
        if name not in known:
            raise Wrong(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    for name in _SWITCHES:
        if name in request and request[name] is not None:
            check_type(request[name], "boolean", name)
    _check_numbers(request)


def missing(param: str) -> Wrong:
    """Return the refusal of a request that lacks something."""
    return Wrong(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def check_type(value: object, kind: str, param: str) -> None:
    """Raise ``Wrong`` unless a value is of one of JSON's types."""
    if _is(value, kind):
        return
    found = next((name for name in _TYPES if _is(value, name)), "null")
    got = "null" if found == "null" else f"{'an' if found[0] in 'aio' else 'a'} {found}"
    raise Wrong(
        f"Invalid type for '{param}': expected {_TYPES[kind]}, but got {got} instead.",
        param=param,
        code="invalid_type",
    )


def check_choice(value: object, choices: Collection[str], param: str) -> None:
    """Raise ``Wrong`` unless a value is one of some words."""
    if value not in choices:
        named = ", ".join(f"'{choice}'" for choice in choices)
        raise Wrong(
            f"Invalid value: '{value}'. Supported values are: {named}.", param=param, code="invalid_value"
        )


def check_name(name: object, param: str) -> None:
    """Raise ``Wrong`` unless something can be the name of a tool or a schema."""
    if not name:
        raise missing(param)
    check_type(name, "string", param)
    if not _NAME.fullmatch(str(name)):
        raise mismatched(param, r"^[a-zA-Z0-9_-]+$")
    check_length(str(name), _LONGEST_NAME, param)


def mismatched(param: str, pattern: str) -> Wrong:
    """Return the refusal of a text that does not match its pattern."""
    return Wrong(
        f"Invalid '{param}': string does not match pattern."
        f" Expected a string that matches the pattern '{pattern}'.",
        param=param,
        code="invalid_value",
    )


def check_length(text: str, longest: int, param: str) -> None:
    """Raise ``Wrong`` for a text that is too long."""
    if len(text) > longest:
        raise Wrong(
            f"Invalid '{param}': string too long. Expected a string with maximum length {longest},"
            f" but got a string with length {len(text)} instead.",
            param=param,
            code="string_above_max_length",
        )


def check_not_empty(value: object, param: str) -> None:
    """Raise ``Wrong`` unless a value is an array that holds something."""
    check_type(value, "array", param)
    if not value:
        raise Wrong(
            f"Invalid '{param}': empty array. Expected an array with minimum length 1,"
            " but got an empty array instead.",
            param=param,
            code="empty_array",
        )


def check_tool(tool: Mapping[str, Any], param: str) -> None:
    """Raise ``Wrong`` unless something describes a function that the model can call."""
    check_name(tool.get("name"), f"{param}.name")
    parameters = tool.get("parameters")
    kind = parameters.get("type") if isinstance(parameters, Mapping) else None
    if parameters and kind != "object":
        raise Wrong(
            f"Invalid schema for function '{tool['name']}': schema must be a JSON Schema of"
            f" 'type: \"object\"', got 'type: \"{kind}\"'.",
            param=f"{param}.parameters",
            code="invalid_function_parameters",
        )
    if tool.get("strict"):
        check_strict(parameters, f"function '{tool['name']}'", f"{param}.parameters")


def check_tool_choice(choice: object, named: str | None, tools: Collection[str]) -> None:
    """Raise ``Wrong`` if a request wants a tool called that it does not describe."""
    if choice in (None, "none", "auto") and tools:
        return
    if choice is None or (choice in ("none", "auto") and not tools):
        return
    if not tools:
        raise Wrong("'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice")
    if named is not None and named not in tools:
        raise Wrong(f"Tool choice '{named}' not found in 'tools' parameter.", param="tool_choice")
    if named is None:
        check_choice(choice, ("none", "auto", "required"), "tool_choice")


def check_format(given: Mapping[str, Any], what: str, param: str) -> None:
    """Raise ``Wrong`` unless something describes the form of an answer by a JSON Schema."""
    check_name(given.get("name"), f"{param}.name")
    if not isinstance(given.get("schema"), Mapping):
        raise missing(f"{param}.schema")
    if given.get("strict"):
        check_strict(given["schema"], f"{what} '{given['name']}'", param)


def check_strict(schema: object, what: str, param: str) -> None:
    """Raise ``Wrong`` unless every object in a schema is closed, and all that it has required."""
    for place, found in _objects(schema, ()):
        context = f"Invalid schema for {what}: In context={place!r}"
        code = (
            "invalid_json_schema" if param.endswith(("format", "schema")) else "invalid_function_parameters"
        )
        if found.get("additionalProperties") is not False:
            raise Wrong(
                f"{context}, 'additionalProperties' is required to be supplied and to be false.",
                param=param,
                code=code,
            )
        if lacking := sorted(set(found.get("properties", {})) - set(found.get("required", ()))):
            raise Wrong(
                f"{context}, 'required' is required to be supplied and to be an array including every key"
                f" in properties. Missing '{lacking[0]}'.",
                param=param,
                code=code,
            )


def _objects(schema: object, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    if isinstance(schema, list):
        for number, each in enumerate(schema):
            yield from _objects(each, (*place, str(number)))
    if not isinstance(schema, Mapping):
        return
    if schema.get("type") == "object":
        yield place, schema
    for group in ("properties", "$defs", "definitions"):
        for name, each in (schema.get(group) or {}).items():
            yield from _objects(each, (*place, group, name))
    for word in ("items", "anyOf"):
        yield from _objects(schema.get(word), (*place, word))


def _is(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    kinds: dict[str, type | tuple[type, ...]] = {
        "array": list,
        "object": Mapping,
        "string": str,
        "number": (int, float),
        "integer": int,
    }
    return kind in kinds and isinstance(value, kinds[kind])


def _check_numbers(request: Request) -> None:
    for name, (low, high) in _RANGES.items():
        if (value := request.get(name)) is not None:
            check_type(value, "number", name)
            if not low <= value <= high:
                raise _out_of_range(name, value, low=low, high=high)
    for name, least in _AT_LEAST.items():
        if (value := request.get(name)) is not None:
            check_type(value, "integer", name)
            if value < least:
                raise Wrong(
                    f"Invalid '{name}': integer below minimum value. Expected a value >= {least},"
                    f" but got {value} instead.",
                    param=name,
                    code="integer_below_min_value",
                )


def _out_of_range(name: str, value: float, *, low: float, high: float) -> Wrong:
    side, sign, end = ("above", "<=", high) if value > high else ("below", ">=", low)
    return Wrong(
        f"Invalid '{name}': decimal {side} {'max' if side == 'above' else 'min'}imum value."
        f" Expected a value {sign} {end}, but got {value} instead.",
        param=name,
        code=f"decimal_{side}_{'max' if side == 'above' else 'min'}_value",
    )
