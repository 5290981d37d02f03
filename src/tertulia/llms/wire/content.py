"""A message's parts as the chat wire writes them."""

import mimetypes
import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, Final, TypeAlias

import orjson

from tertulia.llms.withheld import words_for
from tertulia.parts import Media, Part, Text, ToolCall, ToolResult

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]")
_MAX_NAME: Final = 64
_ID: Final = re.compile(r"[A-Za-z0-9_.:|-]{1,40}")
_DATA_URL: Final = re.compile(r"data:([^;,]*);base64,", re.IGNORECASE)
_USUAL: Final = {"image": "image/png", "audio": "audio/wav", "file": "application/pdf"}
_FORMATS: Final = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "x-mp3": "mp3"}
_CALLED: Final = {"audio": "recordings", "file": "documents"}
_OPENAI_FORMATS: Final = ("wav", "mp3")

Why: TypeAlias = Callable[[Media], str]
"""Says why media cannot be sent; nothing if they can."""


def wire_name(name: str) -> str:
    """Return a speaker's or a tool's name in the characters that the wire allows."""
    return _NOT_IN_NAMES.sub("_", name)[:_MAX_NAME]


def wire_id(call_id: str) -> str:
    """Return the id of a call as the wire can carry it: its own if that is short and plain."""
    if _ID.fullmatch(call_id):
        return call_id
    return f"call_{sha256(call_id.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def why_withheld(media: Media) -> str:
    """Return why media cannot be sent on this wire, whoever is asked; nothing if they can."""
    if media.kind == "image" or _bytes(media)[1]:
        return ""
    return f"this provider takes {_CALLED[media.kind]} as bytes only, and not from an address"


def why_withheld_from_openai(media: Media) -> str:
    """Return why media cannot be sent to OpenAI itself, which hears less than others; nothing if they can."""
    if media.kind == "audio" and _format(_bytes(media)[0]) not in _OPENAI_FORMATS:
        return "OpenAI takes recordings as WAV or MP3"
    return why_withheld(media)


def with_media(parts: Iterable[Part], why: Why = why_withheld) -> list[dict[str, Any]]:
    """Return the content of a user's message that shows more than text; nothing if it is all text.

    Words stand in for media that cannot be sent.
    """
    sent = [part for part in parts if isinstance(part, Text | Media)]
    if all(isinstance(part, Text) for part in sent):
        return []
    return [_text(part.text) if isinstance(part, Text) else _media(part, why) for part in sent]


def calls(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """Return the calls of tools in an assistant's message."""
    return [_call(part) for part in parts if isinstance(part, ToolCall)]


def result(parts: Iterable[Part]) -> ToolResult | None:
    """Return the result that a tool's message holds, if it does."""
    return next((part for part in parts if isinstance(part, ToolResult)), None)


def arguments(text: str) -> str:
    """Return a call's arguments as a JSON object, as many servers demand of what they are shown again.

    What the model gave is kept as it is if it is one, and stands as text in an object if not.
    """
    try:
        found = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        found = None
    if isinstance(found, dict):
        return text or "{}"
    return orjson.dumps({"unreadable": text.encode("utf-8", "replace").decode()}).decode()


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": wire_name(call.name) or "_", "arguments": arguments(call.arguments)}
    return {"id": wire_id(call.id), "type": "function", "function": function}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _media(part: Media, why: Why) -> dict[str, Any]:
    if why(part):
        return _text(words_for(part))
    kind, base64 = _bytes(part)
    address = f"data:{kind};base64,{base64}"
    if part.kind == "image":
        return {"type": "image_url", "image_url": {"url": address if base64 else part.url}}
    if part.kind == "audio":
        return {"type": "input_audio", "input_audio": {"data": base64, "format": _format(kind)}}
    name = part.name or f"file{mimetypes.guess_extension(kind) or ''}"
    return {"type": "file", "file": {"filename": name, "file_data": address}}


def _format(kind: str) -> str:
    """Return a sound's type as the wire calls it."""
    form = kind.rpartition("/")[2]
    return _FORMATS.get(form, form)


def _bytes(part: Media) -> tuple[str, str]:
    """Return the type and the Base64 of media that came as bytes, also as those in an address."""
    usual = part.media_type or _USUAL[part.kind]
    if found := _DATA_URL.match(part.url):
        return found[1].lower() or usual, part.url[found.end() :]
    return usual, part.base64
