"""The body of a chat completions request, joined from parts that are encoded once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson
from typing_extensions import Buffer

from tertulia.agent_settings import ModelSettings
from tertulia.definitions import ToolSpec
from tertulia.llms.aside import with_aside
from tertulia.llms.base import Joinable, Prompt, Shown
from tertulia.llms.wire import content
from tertulia.llms.wire.content import Why, wire_name
from tertulia.llms.wire.tool_list import encode_tools, parameters
from tertulia.llms.withheld import refuse_new_media
from tertulia.messages import clean_text

__all__ = ["SCHEMA_NAME", "WIRE", "Dialect", "encode", "wire_name"]

WIRE: Final = "openai-chat"
_WIRE_OF_OPENAI: Final = "openai-chat, of OpenAI"
SCHEMA_NAME: Final = "answer"

_WHOLE: Final = b"]"
_STREAM: Final = b'],"stream":true'
_COUNTED: Final = b'],"stream":true,"stream_options":{"include_usage":true}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What differs between servers of this wire."""

    limit_name: str = "max_tokens"
    """What the server calls the most tokens to answer with."""
    counts_usage: bool = True
    """Whether it knows ``stream_options``."""
    is_openai: bool = False
    """Whether it is OpenAI itself: it keeps answers unless it is told not to, and hears less than others."""


def encode(model: str, prompt: Prompt, dialect: Dialect) -> bytes:
    """Return the request's body; of a long history only what is new is worked on.

    Reasoning is never sent back on this wire, and neither are parts of an unknown kind. Raises
    :class:`~tertulia.errors.ModelRefused` for newly sent media that the wire cannot carry.
    """
    why, prompt = _why_withheld(dialect), with_aside(prompt)
    refuse_new_media(prompt.messages, why)
    head = b'{"model":%s,"messages":[' % orjson.dumps(model)
    parts: list[Buffer] = [head]
    for place, piece in enumerate(_pieces(prompt.messages, why)):
        parts += (b",", piece) if place else (piece,)
    parts += (_manner(prompt, dialect), _settings(prompt.settings, dialect))
    parts += (encode_tools(prompt.tools, _tool, may_call=prompt.may_call), _response_format(prompt), b"}")
    return b"".join(parts)


def _why_withheld(dialect: Dialect) -> Why:
    return content.why_withheld_from_openai if dialect.is_openai else content.why_withheld


def _pieces(messages: Sequence[Shown], why: Why) -> list[Buffer]:
    # What is put in words is a part of the encoded form, so that there is one for each way to do so.
    wire = WIRE if why is content.why_withheld else _WIRE_OF_OPENAI
    encode = partial(_encoded, wire=wire, why=why)
    if isinstance(messages, Joinable):
        return messages.pieces(wire, encode)
    return [encode(shown) for shown in messages]


def _encoded(shown: Shown, *, wire: str, why: Why) -> bytes:
    return shown.wire.get(wire) or _encode(shown, wire, why)


def _encode(shown: Shown, wire: str, why: Why) -> bytes:
    message: dict[str, Any] = {"role": shown.role, "content": shown.text}
    if shown.name and (name := wire_name(shown.name)):
        message["name"] = name
    if shown.parts:
        message |= _beyond_text(shown, why)
    try:
        # A copy: what orjson gives holds on to four kilobytes, however short it is, and this is kept.
        encoded = bytes(memoryview(orjson.dumps(message)))
    except orjson.JSONEncodeError:  # half a surrogate pair somewhere
        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        encoded = clean_text(text).encode()
    shown.wire[wire] = encoded
    return encoded


def _beyond_text(shown: Shown, why: Why) -> dict[str, Any]:
    """Return the members of a message that has more than text, or has it otherwise."""
    if shown.role == "tool":
        found = content.result(shown.parts)
        return {"content": found.text, "tool_call_id": content.wire_id(found.call_id)} if found else {}
    if shown.role == "assistant":
        calls = content.calls(shown.parts)
        return {"content": shown.text or None, "tool_calls": calls} if calls else {}
    if shown.role == "user" and (said := content.with_media(shown.parts, why)):
        return {"content": said}
    return {}


def _manner(prompt: Prompt, dialect: Dialect) -> bytes:
    if not prompt.wants_deltas:
        return _WHOLE
    return _COUNTED if dialect.counts_usage else _STREAM


def _settings(settings: ModelSettings, dialect: Dialect) -> bytes:
    given = settings.sampling()
    if dialect.is_openai:
        given["store"] = bool(settings.store)
    if not given:
        return b""
    if "max_tokens" in given:
        given[dialect.limit_name] = given.pop("max_tokens")
    return b"," + orjson.dumps(given)[1:-1]


def _response_format(prompt: Prompt) -> bytes:
    if prompt.response_schema is None:
        return b""
    schema = {"name": SCHEMA_NAME, "schema": prompt.response_schema, "strict": False}
    return b',"response_format":' + orjson.dumps({"type": "json_schema", "json_schema": schema}, default=dict)


def _tool(spec: ToolSpec) -> dict[str, Any]:
    return {"type": "function", "function": parameters(spec)}
