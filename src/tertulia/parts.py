"""What a message is made of, and the text form in which that is kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Final, Literal, TypeAlias

import orjson

MediaKind: TypeAlias = Literal["image", "audio", "file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Plain text."""

    type: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """An image, a recording or a document: its bytes, or the address where its provider finds it."""

    type: ClassVar[str] = "media"
    kind: MediaKind
    media_type: str = ""
    """As ``image/png``; may be empty beside an address."""
    base64: str = ""
    """Its bytes, in Base64; empty if there is an address."""
    url: str = ""
    """Is handed to the model's provider as it is, and never fetched by us."""
    name: str = ""
    """Of the file, if it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A model's wish to use a tool; part of an assistant's message."""

    type: ClassVar[str] = "tool_call"
    id: str
    """Names the call within its turn; its result carries the same."""
    name: str
    arguments: str
    """JSON text as the model gave it, which may be no JSON at all."""
    opaque: str = ""
    """What its provider wants to see again with it, for that provider's plug only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool has given; the only part of a message whose role is ``tool``."""

    type: ClassVar[str] = "tool_result"
    call_id: str
    name: str
    """Of the tool."""
    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    """What a model thought before it spoke: no part of what it says, nor shown in later turns."""

    type: ClassVar[str] = "reasoning"
    text: str = ""
    """As far as the provider shows it."""
    provider: str = ""
    """The plug that can read ``opaque``."""
    opaque: str = ""
    """What the provider wants to see again within the same turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A part written by a newer version, kept as it is."""

    raw: dict[str, object]


Part: TypeAlias = Text | Media | ToolCall | ToolResult | Reasoning | Unknown

_VERSION: Final = 1
_KINDS: Final[Mapping[object, Callable[..., Part]]] = {
    part.type: part for part in (Text, Media, ToolCall, ToolResult, Reasoning)
}


def text_content(text: str) -> tuple[Part, ...]:
    """Return the content of a message that is only text."""
    return (Text(text=text),)


def encode_content(content: tuple[Part, ...]) -> str:
    """Return the JSON text in which content is kept; plain text takes the short form."""
    if len(content) == 1 and isinstance(part := content[0], Text):
        return orjson.dumps({"v": _VERSION, "text": part.text}).decode()
    return orjson.dumps({"v": _VERSION, "parts": [encode_part(part) for part in content]}).decode()


def decode_content(kept: str) -> tuple[Part, ...]:
    """Return the content that :func:`encode_content` was given; unknown kinds are carried along."""
    if not kept:
        return ()
    found = orjson.loads(kept)
    if "text" in found:
        return text_content(found["text"])
    return tuple(decode_part(part) for part in found.get("parts", ()))


def encode_part(part: Part) -> dict[str, object]:
    """Return a part as JSON; what is as it is by default is left out."""
    if isinstance(part, Unknown):
        return part.raw
    given = {f.name: value for f in fields(part) if (value := getattr(part, f.name)) != f.default}
    return {"type": part.type, **given}


def decode_part(raw: dict[str, object]) -> Part:
    """Return the part that :func:`encode_part` was given; what is none of ours is carried along."""
    given = {name: value for name, value in raw.items() if name != "type"}
    try:
        part = _KINDS[raw.get("type")](**given)
    except (KeyError, TypeError):
        return Unknown(raw=raw)
    return part if _is_sound(part) else Unknown(raw=raw)


def _is_sound(part: Part) -> bool:
    """Whether all that was given has the type that it should have."""
    return all(isinstance(getattr(part, f.name), bool if f.name == "is_error" else str) for f in fields(part))
