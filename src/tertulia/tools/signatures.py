"""Signatures: what a function's annotations and docstring tell a model, and values as they ask for."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import Parameter
from typing import Annotated, Any, Final

import docstring_parser
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind
from typing_extensions import override

from tertulia.errors import InvalidInput, ToolError
from tertulia.tools.arguments import place, shortened
from tertulia.tools.base import ToolContext

_TAKEN: Final = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_TOLD: Final = 5
_TOLD_LENGTH: Final = 600
_STRICT: Final = ConfigDict(extra="forbid", arbitrary_types_allowed=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a function takes; :func:`signature_of` reads it."""

    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of the arguments that a model gives."""
    context: str | None
    """The parameter that takes the :class:`ToolContext`, if there is one."""
    _model: type[BaseModel] = field(repr=False)
    _names: Mapping[str, str] = field(repr=False)

    def converted(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments of the annotated types, those that were left out left out.

        Raises :class:`ToolError`, which quotes no values.
        """
        try:
            found = self._model.model_validate_json(orjson.dumps(dict(arguments)))
        except ValidationError as error:
            problems = error.errors(include_input=False, include_url=False, include_context=False)
            told = "; ".join(f"at {place(list(p['loc']))}, {p['msg']}" for p in problems[:_TOLD])
            # Texts of values that a validator of somebody else refused may quote them: no chain.
            raise ToolError(shortened(f"the arguments do not fit: {told}", _TOLD_LENGTH)) from None
        except orjson.JSONEncodeError as error:
            raise ToolError("the arguments cannot be written as JSON") from error
        return {name: getattr(found, at) for at, name in self._names.items() if at in found.model_fields_set}


def signature_of(function: Callable[..., object], *, name: str) -> Signature:
    """Return what a function takes; raises :class:`InvalidInput` for one that no model could call."""
    found = _parameters(function, name=name)
    context = [each.name for each in found if each.annotation is ToolContext]
    if len(context) > 1:
        raise InvalidInput(f"the tool {name!r} has two parameters for its context; keep one")
    taken = [each for each in found if each.name not in context]
    description, told = _documented(function)
    model = _model_of(taken, name=name)
    return Signature(
        description=description,
        parameters=_schema_of(model, name=name, told=told),
        context=context[0] if context else None,
        _model=model,
        _names={_field(at): each.name for at, each in enumerate(taken)},
    )


def _parameters(function: Callable[..., object], *, name: str) -> list[Parameter]:
    if not inspect.isroutine(function):
        raise InvalidInput(f"the tool {name!r} must be made of a function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidInput(f"the tool {name!r} must return its result, not yield it")
    try:
        found = [*inspect.signature(function, eval_str=True).parameters.values()]
    except NameError as error:
        raise InvalidInput(
            f"the tool {name!r} is annotated with {error.name!r}, which its module does not define; "
            "import it at the top of the module, not only for the type checker"
        ) from error
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"the annotations of the tool {name!r} cannot be read") from error
    for each in found:
        _check_parameter(each, name=name)
    return found


def _check_parameter(each: Parameter, *, name: str) -> None:
    if each.kind not in _TAKEN:
        raise InvalidInput(
            f"the tool {name!r} takes {each}: a model names every argument, so *, ** and / cannot be used"
        )
    if each.annotation is Parameter.empty and each.name in {"self", "cls"}:
        raise InvalidInput(f"{name!r} is a method: make the tool of the bound one, as in tool(thing.{name})")
    if each.annotation is Parameter.empty:
        raise InvalidInput(f"the parameter {each.name!r} of the tool {name!r} has no type; annotate it")


def _model_of(taken: list[Parameter], *, name: str) -> type[BaseModel]:
    """Return a model whose fields have names of ours, since not every parameter's name can be a field's."""
    fields: dict[str, Any] = {
        _field(at): (
            Annotated[each.annotation, Field(alias=each.name)],
            ... if each.default is Parameter.empty else each.default,
        )
        for at, each in enumerate(taken)
    }
    try:
        return create_model("Arguments", __config__=_STRICT, **fields)
    except (PydanticUserError, PydanticUndefinedAnnotation, TypeError) as error:
        raise InvalidInput(f"the tool {name!r} has a parameter of a type that JSON cannot say") from error


def _field(at: int) -> str:
    return f"argument_{at}"


class _Plain(GenerateJsonSchema):
    """JSON Schema without titles, which only repeat the names."""

    # A default that JSON cannot say is not shown, which takes nothing away.
    ignored_warning_kinds: set[JsonSchemaWarningKind] = {  # noqa: RUF012  # the base's is no ClassVar
        "non-serializable-default",
        "skipped-choice",
        "skipped-discriminator",
    }

    @override
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _schema_of(model: type[BaseModel], *, name: str, told: Mapping[str, str]) -> dict[str, Any]:
    try:
        schema = model.model_json_schema(schema_generator=_Plain)
    except PydanticUserError as error:
        raise InvalidInput(f"the tool {name!r} has a parameter of a type that JSON cannot say") from error
    for part in [schema, *schema.get("$defs", {}).values()]:
        part.pop("title", None)
    for parameter, words in told.items():
        if parameter in schema["properties"]:
            schema["properties"][parameter].setdefault("description", words)
    return schema


def _documented(function: Callable[..., object]) -> tuple[str, dict[str, str]]:
    """Return what a docstring says of a function, and of each of its parameters."""
    text = inspect.getdoc(function) or ""
    try:
        found = docstring_parser.parse(text)
    except docstring_parser.ParseError:
        return text, {}
    told = {each.arg_name: each.description for each in found.params if each.description}
    return "\n\n".join(filter(None, [found.short_description, found.long_description])), told
