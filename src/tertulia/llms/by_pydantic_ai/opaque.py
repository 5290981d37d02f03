"""What a provider wants to see again, kept as text that only the same provider's plug opens."""

from collections.abc import Mapping
from typing import Final

import orjson
from pydantic_ai.messages import ThinkingPart, ToolCallPart

from tertulia.messages import clean_text
from tertulia.parts import Reasoning, ToolCall

_PROVIDER: Final = "provider"


def kept_reasoning(part: ThinkingPart, system: str) -> Reasoning:
    """Return what a model thought, and what its provider wants to see of it again."""
    held = {"id": part.id, "signature": part.signature, "details": part.provider_details}
    return Reasoning(text=clean_text(part.content), provider=system, opaque=_closed(held, system))


def shown_reasoning(reasoning: Reasoning, system: str) -> ThinkingPart | None:
    """Return it for the provider that gave it; ``None`` for any other."""
    held = _opened(reasoning.opaque, system) if reasoning.provider == system else None
    if held is None:
        return None
    return ThinkingPart(
        content=clean_text(reasoning.text),
        id=_text(held.get("id")),
        signature=_text(held.get("signature")),
        provider_name=system,
        provider_details=_object(held.get("details")),
    )


def kept_call(part: ToolCallPart, system: str) -> ToolCall:
    """Return a call with what its provider wants to see again."""
    held = {"id": part.id, "details": part.provider_details}
    is_needed = any(value is not None for value in held.values())
    return ToolCall(
        id=clean_text(part.tool_call_id),
        name=clean_text(part.tool_name),
        arguments=clean_text(_arguments(part)),
        opaque=_closed(held, system) if is_needed else "",
    )


def shown_call(call: ToolCall, *, call_id: str, system: str) -> ToolCallPart:
    """Return a call under the id that it goes by in this prompt."""
    held = (_opened(call.opaque, system) if call.opaque else None) or {}
    return ToolCallPart(
        tool_name=clean_text(call.name),
        args=clean_text(call.arguments),
        tool_call_id=call_id,
        id=_text(held.get("id")),
        provider_name=system if held else None,
        provider_details=_object(held.get("details")),
    )


def _arguments(part: ToolCallPart) -> str:
    """Return the arguments as the model gave them; some libraries have read them already."""
    if isinstance(part.args, str):
        return part.args or "{}"
    return part.args_as_json_str()


def _closed(held: Mapping[str, object], system: str) -> str:
    given = {name: value for name, value in held.items() if value is not None}
    return orjson.dumps({_PROVIDER: system, **given}, default=str).decode()


def _opened(opaque: str, system: str) -> dict[str, object] | None:
    try:
        held = orjson.loads(opaque)
    except orjson.JSONDecodeError:
        return None
    return held if isinstance(held, dict) and held.get(_PROVIDER) == system else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _object(value: object) -> dict[str, object] | None:
    return value if isinstance(value, dict) else None
