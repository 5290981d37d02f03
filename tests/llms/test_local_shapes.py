"""What the real embedded model answers when its answer must have a shape, or when it is given tools."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema_rs import validator_for

from tertulia.agent_settings import ModelSettings
from tertulia.errors import ContextTooLong, ModelRefused
from tertulia.llms.base import Finished, Prompt, Shown
from tertulia.llms.local import LocalLLM
from tertulia.parts import ToolCall
from tertulia.testing.llm_contract import a_prompt, a_question, heard, with_results
from tests.conftest import Times

PROMPTS: Final = (
    'Write "quotes", \\ backslashes\nand new lines, for ever.',
    "Tell me a very long story about a fox.",
    "{{{ [[ \x07 null",
    "Give me a recipe for soup.",
    "Describe Bach.",
    "Wie wird das Wetter in Köln?",
    "List five fruits with their colours.",
    "Plan a hike in the Alps.",
    "Say nothing.",
    "1234567890" * 10,
)
CIRCLE: Final = {
    "type": "object",
    "properties": {"kind": {"const": "circle"}, "radius": {"type": "number", "exclusiveMinimum": 0}},
    "required": ["kind", "radius"],
    "additionalProperties": False,
}
SCHEMAS: Final[Mapping[str, dict[str, Any]]] = {
    "array": {"type": "array", "items": {"type": "string"}, "minItems": 2},
    "nested": {
        "type": "object",
        "properties": {
            "person": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "home": {
                        "type": "object",
                        "properties": {"city": {"type": "string", "minLength": 2}, "no": {"type": "integer"}},
                        "required": ["city", "no"],
                    },
                },
                "required": ["name", "home"],
            }
        },
        "required": ["person"],
        "additionalProperties": False,
    },
    "enum": {
        "type": "object",
        "properties": {
            "mood": {"enum": ["glad", "sad", None]},
            "level": {"type": "integer", "minimum": 1, "maximum": 5},
        },
        "required": ["mood", "level"],
    },
    "numbers": {
        "type": "object",
        "properties": {
            "share": {"type": "number", "minimum": 0, "maximum": 1},
            "price": {"type": "number"},
            "fives": {"type": "integer", "multipleOf": 5},
        },
        "required": ["share", "price", "fives"],
    },
    "long string": {
        "type": "object",
        "properties": {"story": {"type": "string", "minLength": 60}},
        "required": ["story"],
    },
    "optional": {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": ["integer", "null"]}, "c": {"type": "boolean"}},
    },
    "map": {
        "type": "object",
        "additionalProperties": {"type": "integer"},
        "minProperties": 1,
        "maxProperties": 3,
    },
    "different": {"type": "array", "items": {"enum": ["x", "y", "z"]}, "uniqueItems": True, "minItems": 1},
    "tree": {
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "below": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
                },
                "required": ["name"],
            }
        },
        "$ref": "#/$defs/tree",
    },
    "alternatives": {"anyOf": [CIRCLE, {"type": "array", "items": CIRCLE, "maxItems": 2}]},
    "both": {
        "allOf": [
            {
                "type": "object",
                "properties": {"day": {"type": "string", "format": "date"}},
                "required": ["day"],
            },
            {
                "properties": {"code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"}},
                "required": ["code"],
            },
        ]
    },
    "anything": {"type": "object", "properties": {"said": {"description": "a word"}}, "required": ["said"]},
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runtime")


@pytest.fixture
async def llm(directory: Path) -> AsyncIterator[LocalLLM]:
    opened = LocalLLM(directory=directory, grace_seconds=5)
    yield opened
    await opened.close()


def shaped(text: str, schema: dict[str, Any], *, max_tokens: int | None = None) -> Prompt:
    """Return a prompt as a turn makes it: the model is told the schema, too."""
    rule = Shown(role="system", text=f"Answer with JSON of this schema: {json.dumps(schema)}")
    return Prompt(
        messages=(rule, Shown(role="user", text=text)),
        settings=ModelSettings(max_tokens=max_tokens),
        response_schema=schema,
    )


@pytest.mark.parametrize("name", SCHEMAS)
async def test_every_answer_is_whole_and_has_its_shape(name: str, llm: LocalLLM, times: Times) -> None:
    schema = SCHEMAS[name]
    validator = validator_for(schema, validate_formats=True)

    for text in PROMPTS[: times(3, 10)]:
        whole = (await heard(llm, shaped(text, schema)))[-1]

        assert isinstance(whole, Finished)
        assert whole.finish_reason == "stop", whole.text
        validator.validate(json.loads(whole.text))


@pytest.mark.parametrize("name", ["array", "enum", "optional", "tree"])
async def test_wish_for_few_tokens_makes_answers_short_and_not_broken(name: str, llm: LocalLLM) -> None:
    schema = SCHEMAS[name]

    whole = (await heard(llm, shaped(PROMPTS[0], schema, max_tokens=40)))[-1]

    assert isinstance(whole, Finished)
    assert whole.usage.output_tokens <= 40
    validator_for(schema).validate(json.loads(whole.text))


async def test_wish_for_too_few_tokens_says_how_many_it_takes(llm: LocalLLM) -> None:
    with pytest.raises(ModelRefused, match=r"shortest answer takes up to \d+"):
        await heard(llm, shaped("Hi", SCHEMAS["nested"], max_tokens=5))


@pytest.mark.parametrize("words", [1930, 3000])
async def test_prompt_that_leaves_no_room_for_a_shape_is_too_long(words: int, llm: LocalLLM) -> None:
    with pytest.raises(ContextTooLong):
        await heard(llm, shaped("word " * words, SCHEMAS["long string"]))


async def test_tools_are_refused_with_advice(llm: LocalLLM) -> None:
    with pytest.raises(ModelRefused, match="cannot use tools; choose another"):
        await heard(llm, a_question())


async def test_tools_that_another_model_has_used_are_no_obstacle(llm: LocalLLM) -> None:
    called = ToolCall(id="call_1", name="weather", arguments='{"city":"Ulm"}')

    whole = (await heard(llm, with_results(a_prompt(), [called])))[-1]

    assert isinstance(whole, Finished)
