"""The body of a chat completions request, joined from parts that are encoded once."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from typing_extensions import Buffer

from tertulia.definitions import ModelSettings
from tertulia.llms.base import Joinable, Prompt, Shown
from tertulia.messages import clean_text

WIRE: Final = "openai-chat"
SCHEMA_NAME: Final = "answer"

_WHOLE: Final = b"]"
_STREAM: Final = b'],"stream":true'
_COUNTED: Final = b'],"stream":true,"stream_options":{"include_usage":true}'
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]")
_MAX_NAME: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What differs between servers of this wire."""

    limit_name: str = "max_tokens"
    """What the server calls the most tokens to answer with."""
    counts_usage: bool = True
    """Whether it knows ``stream_options``."""


def encode(model: str, prompt: Prompt, dialect: Dialect) -> bytes:
    """Return the request's body; of a long history only what is new is worked on."""
    head = b'{"model":%s,"messages":[' % orjson.dumps(model)
    tail = _manner(prompt, dialect) + _settings(prompt.settings, dialect) + _response_format(prompt) + b"}"
    parts: list[Buffer] = [head]
    for place, piece in enumerate(_pieces(prompt.messages)):
        parts += (b",", piece) if place else (piece,)
    return b"".join((*parts, tail))


def _pieces(messages: Sequence[Shown]) -> list[Buffer]:
    if isinstance(messages, Joinable):
        return messages.pieces(WIRE, _encoded)
    return [_encoded(shown) for shown in messages]


def _encoded(shown: Shown) -> bytes:
    return shown.wire.get(WIRE) or _encode(shown)


def _encode(shown: Shown) -> bytes:
    message: dict[str, object] = {"role": shown.role, "content": shown.text}
    if shown.name and (name := wire_name(shown.name)):
        message["name"] = name
    try:
        encoded = orjson.dumps(message)
    except orjson.JSONEncodeError:
        encoded = orjson.dumps(message | {"content": clean_text(shown.text)})
    shown.wire[WIRE] = encoded
    return encoded


def _manner(prompt: Prompt, dialect: Dialect) -> bytes:
    if not prompt.wants_deltas:
        return _WHOLE
    return _COUNTED if dialect.counts_usage else _STREAM


def wire_name(name: str) -> str:
    """Return a speaker's name in the characters that the wire allows."""
    return _NOT_IN_NAMES.sub("_", name)[:_MAX_NAME]


def _settings(settings: ModelSettings, dialect: Dialect) -> bytes:
    given = settings.given()
    given.pop("timeout", None)
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
