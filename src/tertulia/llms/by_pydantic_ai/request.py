"""A prompt as pydantic-ai is asked with it: settings, tools and the shape of the answer."""

import warnings
from collections.abc import Mapping
from typing import Any, Final, cast

import orjson
from pydantic_ai.messages import ModelMessage, ModelResponse, ToolCallPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from tertulia.llms.base import Prompt
from tertulia.llms.by_pydantic_ai.manners import Manners

_NAMES: Final[Mapping[str, str]] = {
    "temperature": "temperature",
    "max_tokens": "max_tokens",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "stop": "stop_sequences",
    "seed": "seed",
    "reasoning_effort": "thinking",
}
_SAMPLING: Final = frozenset({"temperature", "top_p"})
_NO_SAMPLING: Final = ("anthropic_disallows_sampling_settings", "bedrock_disallows_sampling_settings")
_SHAPE: Final = "answer"
_LARGEST_SEED: Final = 2**31 - 1
_KEPT_SHAPES: Final = 256


class Form:
    """Turns prompts into what one model is asked with."""

    def __init__(self, model: Model, manners: Manners) -> None:
        self._model, self._manners = model, manners
        self._lacking = model.unsupported_settings | _lacking(model)
        self._shapes: dict[tuple[bytes, bool], OutputObjectDefinition | None] = {}

    def settings(self, prompt: Prompt, messages: list[ModelMessage]) -> ModelSettings:
        """Return the settings that the provider knows; those that it lacks are left out.

        Nothing is retried and no time is measured by the library: both are done around every model.
        """
        given = prompt.settings.given()
        wanted: dict[str, object] = {"max_retries": 0}
        if self._manners.caches_on_wish:
            wanted["cache"] = True
        wanted |= {name: given[ours] for ours, name in _NAMES.items() if ours in given}
        if "temperature" in given:
            wanted["temperature"] = min(given["temperature"], self._manners.hottest)
        if "top_p" in given:
            least, most = self._manners.top_p
            wanted["top_p"] = min(max(given["top_p"], least), most)
        if "stop" in given:
            wanted["stop_sequences"] = list(given["stop"])
        if not 0 <= given.get("seed", 0) <= _LARGEST_SEED:
            del wanted["seed"]
        if given.get("reasoning_effort") == "none":
            wanted["thinking"] = False
        is_forbidden = prompt.tools and not prompt.may_call
        if is_forbidden or self._stand_ins(prompt, messages):
            wanted["tool_choice"] = "none"
        return cast("ModelSettings", {name: wanted[name] for name in wanted.keys() - self._lacking})

    def parameters(self, prompt: Prompt, messages: list[ModelMessage]) -> ModelRequestParameters:
        """Return tools, and the answer's shape where the provider enforces one."""
        tools = [
            ToolDefinition(
                name=tool.name, description=tool.description, parameters_json_schema=dict(tool.parameters)
            )
            for tool in prompt.tools
        ]
        shape = self._shape(prompt, tools)
        return ModelRequestParameters(
            function_tools=tools or self._stand_ins(prompt, messages),
            output_mode="native" if shape else "text",
            output_object=shape,
        )

    def _stand_ins(self, prompt: Prompt, messages: list[ModelMessage]) -> list[ToolDefinition]:
        """Return the tools of the history, where a provider refuses calls of tools that it is not told of."""
        if prompt.tools or not self._manners.wants_tools_declared:
            return []
        names = {
            part.tool_name: None
            for message in messages
            if isinstance(message, ModelResponse)
            for part in message.parts
            if isinstance(part, ToolCallPart)
        }
        return [ToolDefinition(name=name) for name in names]

    def _shape(self, prompt: Prompt, tools: list[ToolDefinition]) -> OutputObjectDefinition | None:
        hinders = (tools and not self._manners.shapes_with_tools) or (
            prompt.wants_deltas and not self._manners.shapes_in_pieces
        )
        if prompt.response_schema is None or hinders:
            return None
        written = orjson.dumps(prompt.response_schema, default=dict)
        known = (written, bool(tools))
        if known not in self._shapes:
            if len(self._shapes) >= _KEPT_SHAPES:
                self._shapes.clear()
            self._shapes[known] = self._enforceable(orjson.loads(written), tools)
        return self._shapes[known]

    def _enforceable(
        self, schema: dict[str, Any], tools: list[ToolDefinition]
    ) -> OutputObjectDefinition | None:
        """Return the shape if the provider can enforce it as it is; it is checked by us in any case."""
        if not self._model.profile.get("supports_json_schema_output", False) or not _is_told_apart(schema):
            return None
        shape = OutputObjectDefinition(json_schema=schema, name=_SHAPE)
        parameters = ModelRequestParameters(function_tools=tools, output_mode="native", output_object=shape)
        try:
            # What the library would have to bend, it warns of.
            with warnings.catch_warnings(action="error"):
                self._model.prepare_request({}, parameters)
        except (
            ValueError,
            TypeError,
            LookupError,
            RuntimeError,
            NotImplementedError,
            AssertionError,
            Warning,
        ):
            return None
        return shape


def _lacking(model: Model) -> frozenset[str]:
    """Return the settings that the library would leave out of every request with a warning."""
    profile = cast("Mapping[str, object]", model.profile)
    return _SAMPLING if any(profile.get(flag) for flag in _NO_SAMPLING) else frozenset()


def _is_told_apart(schema: object) -> bool:
    """Whether all objects in a schema name what they hold, for what is not named is forbidden by some."""
    if isinstance(schema, list):
        return all(_is_told_apart(each) for each in schema)
    if not isinstance(schema, dict):
        return True
    is_object = schema.get("type") == "object"
    if is_object and not (schema.get("properties") and not schema.get("additionalProperties")):
        return False
    return all(_is_told_apart(each) for each in schema.values())
