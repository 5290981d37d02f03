"""The items of a response, read as text, calls of tools, and reasoning."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import orjson

from tertulia.ids import new_id
from tertulia.llms.base import FinishReason
from tertulia.llms.wire.costs import count
from tertulia.llms.wire.responses_items import PROVIDER
from tertulia.llms.wire.responses_speech import GAP
from tertulia.messages import clean_text
from tertulia.parts import Reasoning, ToolCall
from tertulia.usage import Usage

JSONObject: TypeAlias = Mapping[str, object]

_CALL: Final = "call"
_GIVEN_BACK: Final = ("type", "id", "summary", "encrypted_content")
_REASONS: Final[Mapping[str, FinishReason]] = {
    "max_output_tokens": "length",
    "content_filter": "content_filter",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a model has given."""

    text: str
    calls: tuple[ToolCall, ...]
    reasoning: tuple[Reasoning, ...]
    is_declined: bool
    """Whether it said that it will not answer."""


def read_output(items: list[object], *, is_kept: bool) -> Output:
    """Return what a response's items hold; those of other kinds, and calls that were cut, are passed over.

    ``is_kept`` says whether the provider keeps the items, and so knows its reasoning by its id.
    """
    known = [item for item in items if isinstance(item, dict)]
    messages = [item for item in known if item.get("type") == "message"]
    texts = [text for message in messages if (text := _text(message))]
    return Output(
        text=GAP.join(texts),
        calls=_calls([item for item in known if item.get("type") == "function_call"]),
        reasoning=tuple(
            _reasoning(item, is_kept=is_kept) for item in known if item.get("type") == "reasoning"
        ),
        is_declined=any(block.get("type") == "refusal" for message in messages for block in _blocks(message)),
    )


def read_usage(response: JSONObject) -> Usage:
    """Return what a response cost, as far as it says so."""
    found = response.get("usage")
    if not isinstance(found, dict):
        return Usage(model_calls=1)
    return Usage(
        input_tokens=count(found, "input_tokens"),
        output_tokens=count(found, "output_tokens"),
        cached_tokens=count(found.get("input_tokens_details"), "cached_tokens"),
        reasoning_tokens=count(found.get("output_tokens_details"), "reasoning_tokens"),
        model_calls=1,
    )


def read_reason(response: JSONObject, output: Output) -> FinishReason:
    """Return why a finished response ended."""
    if response.get("status") == "incomplete":
        details = response.get("incomplete_details")
        return _REASONS.get(str(details.get("reason")), "unknown") if isinstance(details, dict) else "unknown"
    return "tool_calls" if output.calls else "stop"


def _text(message: JSONObject) -> str:
    said = (block.get("text") for block in _blocks(message) if block.get("type") == "output_text")
    return "".join(text for text in said if isinstance(text, str))


def _blocks(item: JSONObject, name: str = "content") -> Iterator[JSONObject]:
    found = item.get(name)
    return (block for block in (found if isinstance(found, list) else ()) if isinstance(block, dict))


def _calls(items: list[JSONObject]) -> tuple[ToolCall, ...]:
    calls: dict[str, ToolCall] = {}
    for item in items:
        if item.get("status") == "incomplete":
            continue
        ident = clean_text(_string(item, "call_id"))
        if not ident or ident in calls:
            ident = new_id(_CALL)
        calls[ident] = ToolCall(id=ident, name=clean_text(_string(item, "name")), arguments=_arguments(item))
    return tuple(calls.values())


def _arguments(item: JSONObject) -> str:
    given = item.get("arguments")
    if isinstance(given, dict):
        return orjson.dumps(given).decode()
    return clean_text(given) if isinstance(given, str) else ""


def _reasoning(item: JSONObject, *, is_kept: bool) -> Reasoning:
    sections = [*_blocks(item, "summary")] or [*_blocks(item)]
    text = GAP.join(_string(section, "text") for section in sections)
    return Reasoning(text=clean_text(text), provider=PROVIDER, opaque=_opaque(item, is_kept=is_kept))


def _opaque(item: JSONObject, *, is_kept: bool) -> str:
    """Return what is to be given back; nothing if the provider could not make anything of it."""
    if not (item.get("encrypted_content") or (is_kept and item.get("id"))):
        return ""
    kept = {name: item[name] for name in _GIVEN_BACK if item.get(name) is not None}
    try:
        return orjson.dumps({"summary": []} | kept).decode()
    except orjson.JSONEncodeError:
        return ""


def _string(found: JSONObject, name: str) -> str:
    value = found.get(name)
    return value if isinstance(value, str) else ""
