"""What requests say of agents, checked, in the form in which it is kept."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from tertulia.agent_settings import ModelSettings, RunLimits
from tertulia.app import App
from tertulia.definitions import ContextChoice, ToolChoice, decode_context, decode_tool
from tertulia.errors import InvalidInput
from tertulia.llms.naming import split_chain
from tertulia.messages import check_text
from tertulia.server.bodies import Body
from tertulia.server.tutorial_forms import MAX_MODEL, MAX_MODELS
from tertulia.shapes import shape_text

_TEXTS: Final = ("name", "context", "first_message", "instructions", "response_shape")


def fields_of(form: Body, app: App) -> dict[str, Any]:
    """Return what a request says of an agent, as fields of its definition; what it leaves out is not there.

    Raises :class:`~tertulia.errors.InvalidInput` and its leaves for models, tools and context
    providers that this installation cannot have.
    """
    given = {name: getattr(form, name) for name in form.model_fields_set}
    if "response_shape" in given:
        given["response_shape"] = shape_text(given["response_shape"])
    found: dict[str, Any] = {name: check_text(given[name], what=name) for name in _TEXTS if name in given}
    found |= {name: parse(given[name]) for name, parse in _PARSERS.items() if name in given}
    if "model" in found:
        app.check_model(found["model"])
    if "tools" in found:
        app.check_tools(found["tools"])
    if "context_providers" in found:
        app.check_context_providers(found["context_providers"])
    return found


def model_of(given: str | list[str] | None) -> str | tuple[str, ...] | None:
    """Return a model, or the chain that a list or a text with commas between the models stands for.

    Raises :class:`~tertulia.errors.InvalidInput` for a chain that is too long or names a model twice.
    """
    if given is None:
        return None
    names = split_chain(given) if isinstance(given, str) else tuple(name.strip() for name in given)
    if len(names) > MAX_MODELS:
        raise InvalidInput(f"a chain has at most {MAX_MODELS} models")
    for place, name in enumerate(names):
        if len(name) > MAX_MODEL:
            raise InvalidInput(f"the name of a model has at most {MAX_MODEL} characters")
        if name in names[:place]:
            raise InvalidInput(f"the model {name!r} stands in the chain twice; name it once")
    return names[0] if isinstance(given, str) and len(names) == 1 else names


def _tools_of(given: list[str | dict[str, object]]) -> tuple[ToolChoice, ...]:
    return tuple(decode_tool(choice) for choice in given)


def _context_providers_of(given: list[dict[str, object]]) -> tuple[ContextChoice, ...]:
    return tuple(decode_context(choice) for choice in given)


_PARSERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "model": model_of,
    "settings": ModelSettings.parse,
    "tools": _tools_of,
    "context_providers": _context_providers_of,
    "limits": RunLimits.parse,
}
"""What reads a field of a request into the field of a definition that has its name."""
