"""Response shapes: the form that answers must have, as a model is told it and as it is checked.

A shape is given in one of two forms:

* a JSON Schema, enforced as it is;
* the loose form, an object (in JSON or in Python's spelling) from keys to words about their values,
  nested as one likes: ``{'recipes': 'List of strings', 'summary': 'text'}``. It asks for an object
  with these keys. The words are shown to the model, and where they plainly name a type
  (``list of strings``) a provider may be told so; but they constrain nothing when an answer is checked.
"""

import json
import re
import warnings
from ast import literal_eval
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import orjson

from tertulia.errors import InvalidShape, ShapeMismatch
from tertulia.registry import load
from tertulia.schemas import allowed_depth

if TYPE_CHECKING:
    from jsonschema_rs import Validator

MAX_BYTES: Final = 64 * 1024
"""The longest shape, in UTF-8."""
MAX_DEPTH: Final = 32
"""How deep brackets may be nested in a shape."""

_FORMS: Final = (
    'give a JSON Schema, like {"type": "object", "properties": {"summary": {"type": "string"}}}, '
    "or an object from keys to words about their values, like {'summary': 'two sentences'}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """The form that an agent's answers must have; :func:`parse_shape` makes it."""

    schema: Mapping[str, Any]
    """JSON Schema to guide the model by; what is enforced is this or, for the loose form, less."""
    rule: str
    """What the model is told; always the same for the same shape."""
    _validator: "Validator" = field(repr=False, compare=False)
    _depth: int = field(repr=False, compare=False)

    def validate(self, text: str) -> str:
        """Return the value in a model's answer as JSON text in one canonical spelling.

        Forgives words and Markdown fences around the value, and nothing else. Raises
        :class:`ShapeMismatch`, which tells the model what to mend and quotes no values.
        """
        told = (0, "it holds no JSON value that can be read")
        for source, value in _values(text):
            violations = self._violations(source, value)
            if not violations:
                return orjson.dumps(value).decode()
            told = max(told, (len(source), _told(violations)))
        raise ShapeMismatch(f"The answer does not have the shape that was asked for: {told[1]}.")

    def _violations(self, source: str, value: object) -> list[str]:
        if _is_deeper(source, self._depth):
            return [f"it is nested deeper than {self._depth} levels"]
        errors = islice(self._validator.iter_errors(value), _VIOLATIONS_TOLD)
        return [f"at {_path(error.instance_path)}, {error.message}" for error in errors]


def shape_text(raw: str | dict[str, Any]) -> str:
    """Return the text in which a shape is kept; raises :class:`InvalidShape` for what JSON cannot say."""
    if isinstance(raw, str):
        return raw
    try:
        return orjson.dumps(raw).decode() if raw else ""
    except orjson.JSONEncodeError as error:
        raise InvalidShape(f"the response shape cannot be written as JSON; {_FORMS}") from error


def check_shape(raw: str | dict[str, Any]) -> None:
    """Raise :class:`InvalidShape`, saying why, unless this is a response shape or none."""
    parse_shape(shape_text(raw))


@lru_cache(maxsize=256)
def parse_shape(raw: str) -> Shape | None:
    """Return the shape that a text describes; ``None`` (plain text) for an empty one or ``{}``.

    Raises :class:`InvalidShape`.
    """
    found = _parsed(raw) if raw.strip() else {}
    if not found:
        return None
    if _is_schema(found):
        return _shape(found, rule=_STRICT_RULE, enforced=found, shown=found)
    guiding, enforced = (_described(found, at="$", read=read) for read in (_typed, _untyped))
    return _shape(guiding, rule=_LOOSE_RULE, enforced=enforced, shown=found)


def with_key(raw: str, key: str, words: str) -> str:
    """Return the shape of an object that has the keys of ``raw`` and one more, which these words describe.

    A key of this name that is there already stays as it is; what is no object stands under ``answer``.
    """
    found = _parsed(raw) if raw.strip() else {}
    if found and not _is_schema(found):
        return orjson.dumps({key: words} | found).decode()
    mine = {key: {"type": "string", "description": words}}
    if found.get("type") == "object" or "properties" in found:
        properties = mine | (found.get("properties") or {})
        required = dict.fromkeys([*(found.get("required") or ()), key])
        return orjson.dumps({**found, "properties": properties, "required": list(required)}).decode()
    shared = {name: found[name] for name in ("$schema", "$defs", "definitions") if name in found}
    properties = ({"answer": found} if found else {}) | mine
    wrapped = {"type": "object", "properties": properties, "required": list(properties)}
    return orjson.dumps({**shared, **wrapped}).decode()


# --- Reading a shape ------------------------------------------------------------------------------

_STRINGS: Final = re.compile(r"""'(?:\\.|[^'\\])*\\?(?:'|\Z)|"(?:\\.|[^"\\])*\\?(?:"|\Z)""", re.DOTALL)
_BARE: Final = re.compile(r"(?:[\s{}\[\](),:\d.eEu+-]|True|False|None)*")


def _parsed(raw: str) -> dict[str, Any]:
    """Return the object that a text spells in JSON or in Python, with nothing but literals in it."""
    if len(raw.encode("utf-8", "replace")) > MAX_BYTES:
        raise InvalidShape(f"the response shape is longer than {MAX_BYTES // 1024} kB")
    bare = _STRINGS.sub("", raw)
    if _depth(bare) > MAX_DEPTH:
        raise InvalidShape(f"the response shape is nested deeper than {MAX_DEPTH} levels")
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        found = _python_literal(raw) if _BARE.fullmatch(bare) else None
    if not isinstance(found, dict):
        raise InvalidShape(f"the response shape is no object; {_FORMS}")
    return found


def _python_literal(raw: str) -> object:
    try:
        with warnings.catch_warnings(action="ignore"):  # Backslashes that mean nothing to Python.
            return literal_eval(raw.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _depth(bare: str) -> int:
    depth = deepest = 0
    for mark in bare:
        if mark in "{[(":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "}])":
            depth -= 1
    return deepest


# --- The strict form ------------------------------------------------------------------------------

_TYPES: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_VOCABULARY: Final = """
    $anchor $comment $defs $dynamicAnchor $dynamicRef $id $ref $schema $vocabulary additionalItems
    additionalProperties allOf anyOf const contains contentEncoding contentMediaType contentSchema
    default definitions dependencies dependentRequired dependentSchemas deprecated description else
    enum examples exclusiveMaximum exclusiveMinimum format if items maxContains maxItems maxLength
    maxProperties maximum minContains minItems minLength minProperties minimum multipleOf not oneOf
    pattern patternProperties prefixItems properties propertyNames readOnly required then title type
    unevaluatedItems unevaluatedProperties uniqueItems writeOnly
"""
_KEYWORDS: Final = frozenset(_VOCABULARY.split())


def _is_schema(found: Mapping[str, Any]) -> bool:
    """Whether an object is meant as a JSON Schema rather than as keys with words about their values."""
    if str(found.get("$schema")).startswith(("http:", "https:")) or _are_schemas(found.get("properties")):
        return True
    return all(key in _KEYWORDS for key in found) and (
        _is_type(found.get("type"))
        or isinstance(found.get("$ref"), str)
        or isinstance(found.get("enum"), list)
        or any(_are_alternatives(found.get(key)) for key in ("anyOf", "oneOf", "allOf"))
        or "const" in found
    )


def _is_type(value: object) -> bool:
    return value in _TYPES if isinstance(value, str) else isinstance(value, list) and _TYPES.issuperset(value)


def _are_schemas(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(child, dict | bool) for child in value.values())


def _are_alternatives(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(child, dict | bool) for child in value)


# --- The loose form -------------------------------------------------------------------------------


_LIST: Final = re.compile(r"(?:an? )?(?:list|array) of (\w+)\b.*", re.IGNORECASE | re.DOTALL)
_PLAIN: Final = re.compile(r"(?:an? )?(\w+)", re.IGNORECASE)
_NAMES_OF_TYPES: Final = {
    "bool": "boolean",
    "boolean": "boolean",
    "float": "number",
    "int": "integer",
    "integer": "integer",
    "number": "number",
    "str": "string",
    "string": "string",
    "text": "string",
}


def _untyped(words: str) -> dict[str, Any]:
    return {"description": words}


def _typed(words: str) -> dict[str, Any]:
    """Return the schema of a value whose description plainly names its type."""
    if listed := _LIST.fullmatch(words.strip()):
        return {"description": words, "type": "array", "items": _named(listed[1].removesuffix("s"))}
    plain = _PLAIN.fullmatch(words.strip())
    return {"description": words, **(_named(plain[1]) if plain else {})}


def _named(word: str) -> dict[str, Any]:
    name = _NAMES_OF_TYPES.get(word.lower())
    return {"type": name} if name else {}


def _described(value: object, *, at: str, read: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Return the schema that the loose form stands for; a schema inside it stands for itself."""
    if isinstance(value, dict):
        if at != "$" and _is_schema(value):
            return dict(value)
        return _described_object(value, at=at, read=read)
    if isinstance(value, list | tuple):
        items = {"items": _described(value[0], at=f"{at}[0]", read=read)} if len(value) == 1 else {}
        return {"type": "array", **items}
    if isinstance(value, str):
        return read(value)
    if value is None or isinstance(value, bool | int | float):
        return {"description": f"for example {json.dumps(value)}"}
    raise InvalidShape(f"at {at} the response shape holds something that JSON does not know; {_FORMS}")


def _described_object(
    found: Mapping[Any, Any], *, at: str, read: Callable[[str], dict[str, Any]]
) -> dict[str, Any]:
    for key in found:
        if not isinstance(key, str):
            raise InvalidShape(f"at {at} the response shape has a key that is no text; {_FORMS}")
    return {
        "type": "object",
        "properties": {key: _described(value, at=f"{at}.{key}", read=read) for key, value in found.items()},
        "required": list(found),
    }


# --- Making a shape -------------------------------------------------------------------------------

_STRICT_RULE: Final = (
    "Answer with one JSON {kind} (RFC 8259) and nothing around it: no other words, no Markdown. "
    "It must be valid against this JSON Schema:\n{shown}"
)
_LOOSE_RULE: Final = (
    "Answer with one JSON object (RFC 8259) and nothing around it: no other words, no Markdown. "
    "It must have all of these keys, with values as they are described here:\n{shown}"
)
_REASON_LENGTH: Final = 300
_QUOTED: Final = 80


def _shape(schema: dict[str, Any], *, rule: str, enforced: dict[str, Any], shown: object) -> Shape:
    depth = allowed_depth(enforced)
    # Three megabytes that an installation without shapes never needs.
    validator_for, unresolved = load("jsonschema_rs:validator_for"), load("jsonschema_rs:ReferencingError")
    try:
        validator = validator_for(enforced, offline=True, mask=_MASK)
        text = orjson.dumps(shown).decode()
    except (ValueError, TypeError, unresolved) as error:
        raise InvalidShape(f"the response shape is no usable JSON Schema: {_reason(error)}") from error
    kind = "object" if schema.get("type") == "object" or "properties" in schema else "value"
    rule = rule.replace("{kind}", kind).replace("{shown}", text)
    return Shape(schema, rule, validator, depth)


def _reason(error: Exception) -> str:
    if not isinstance(error, load("jsonschema_rs:ValidationError")):
        return str(error)[:_REASON_LENGTH]
    message = error.message.replace(_MASK, json.dumps(error.instance)[:_QUOTED], 1)
    return f"at {_path(error.instance_path)}, {message}"[:_REASON_LENGTH]


# --- Finding the value in an answer ---------------------------------------------------------------

_SEARCHED: Final = 1024 * 1024
_TRIES: Final = 256
_FENCE: Final = "```"
_LANGUAGE: Final = re.compile(r"\s*[\w+-]*\s*")
_OPENING: Final = re.compile(r"[{\[]")
_DECODER: Final = json.JSONDecoder()


def _values(answer: str) -> Iterator[tuple[str, object]]:
    """Yield the JSON values that an answer may mean, the likeliest first, with their source."""
    for source in _sources(answer):
        with suppress(orjson.JSONDecodeError):
            yield source, orjson.loads(source)


def _is_deeper(source: str, depth: int) -> bool:
    if source.count("{") + source.count("[") <= depth:
        return False
    return _depth(_STRINGS.sub("", source)) > depth


def _sources(answer: str) -> Iterator[str]:
    """Yield the whole answer, what stands in outermost brackets, and what stands in Markdown fences."""
    whole = answer.strip().removeprefix("\ufeff")
    yield whole
    if whole.startswith(_FENCE) and whole.endswith(_FENCE):
        yield _unfenced(whole[len(_FENCE) : -len(_FENCE)])
    if len(answer) <= _SEARCHED:
        yield from _bracketed(answer)
    for fenced in islice(answer.split(_FENCE)[1::2], _TRIES):
        yield _unfenced(fenced)


def _unfenced(fenced: str) -> str:
    """Return what a fence holds without the name of its language."""
    first, _, rest = fenced.partition("\n")
    return rest if _LANGUAGE.fullmatch(first) else fenced


def _bracketed(answer: str) -> Iterator[str]:
    end = 0
    for opening in islice(_OPENING.finditer(answer), _TRIES):
        if opening.start() < end:
            continue
        try:
            _, end = _DECODER.raw_decode(answer, opening.start())
        except (json.JSONDecodeError, RecursionError):
            continue
        yield answer[opening.start() : end]


# --- Telling what is wrong ------------------------------------------------------------------------

_MASK: Final = "the value"
_VIOLATIONS_TOLD: Final = 5
_TOLD_LENGTH: Final = 600
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_]\w*")


def _told(violations: list[str]) -> str:
    told = "; ".join(violations)
    return told if len(told) <= _TOLD_LENGTH else told[: _TOLD_LENGTH - 1] + "…"


def _path(path: list[str | int]) -> str:
    """Return a place in a JSON value as JSONPath writes it (RFC 9535)."""
    return "$" + "".join(
        f".{step}" if isinstance(step, str) and _PLAIN_KEY.fullmatch(step) else f"[{json.dumps(step)}]"
        for step in path
    )
