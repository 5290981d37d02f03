"""What is said: messages, the parts they are made of, and the text form in which they are kept."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntFlag
from time import time_ns
from typing import Final, Literal, TypeAlias

import orjson

from tertulia.errors import InvalidInput

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]


class Flag(IntFlag):
    """What has happened to a message since it was written."""

    NONE = 0
    WITHDRAWN = 1
    """Stays in the log, is no longer shown to models."""
    INCOMPLETE = 2
    """The answer was cut short."""
    DELETED = 4
    """Its content was erased; only its number is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A part of a message that is plain text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A part written by a newer version, kept as it is."""

    raw: dict[str, object]


Part: TypeAlias = Text | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One thing said in a conversation; never changed once written."""

    id: str
    role: Role
    content: tuple[Part, ...]
    author: str | None = None
    """Name of the agent or person who said it."""
    number: int = 0
    """Place in the conversation, from 1 without gap; 0 as long as it has none."""
    run_id: str | None = None
    turn: int = 0
    """Turn of the run that said it, from 1; 0 for what the run was asked."""
    flags: Flag = Flag.NONE
    created_at: int = 0
    """Microseconds since 1970, UTC."""

    @property
    def text(self) -> str:
        """All text of the message."""
        return "".join(part.text for part in self.content if isinstance(part, Text))


def now_us() -> int:
    """Return the time: microseconds since 1970, UTC."""
    return time_ns() // 1000


def to_datetime(microseconds: int) -> datetime:
    """Return a time of ours as an aware datetime."""
    return datetime.fromtimestamp(microseconds / 1_000_000, tz=UTC)


def text_content(text: str) -> tuple[Part, ...]:
    """Return the content of a message that is only text."""
    return (Text(text=text),)


_VERSION: Final = 1


def encode_content(content: tuple[Part, ...]) -> str:
    """Return the JSON text in which content is kept; plain text takes the short form."""
    if len(content) == 1 and isinstance(part := content[0], Text):
        return orjson.dumps({"v": _VERSION, "text": part.text}).decode()
    return orjson.dumps({"v": _VERSION, "parts": [_encoded(part) for part in content]}).decode()


def decode_content(kept: str) -> tuple[Part, ...]:
    """Return the content that :func:`encode_content` was given; unknown kinds are carried along."""
    if not kept:
        return ()
    found = orjson.loads(kept)
    if "text" in found:
        return text_content(found["text"])
    return tuple(_decoded(part) for part in found.get("parts", ()))


def _encoded(part: Part) -> dict[str, object]:
    return part.raw if isinstance(part, Unknown) else {"type": "text", "text": part.text}


def _decoded(raw: dict[str, object]) -> Part:
    text = raw.get("text")
    if raw.get("type") == "text" and isinstance(text, str):
        return Text(text=text)
    return Unknown(raw=raw)


def check_text(text: str, *, what: str) -> str:
    """Return ``text``, or raise :class:`InvalidInput` for what no database and no wire can carry."""
    if "\x00" in text:
        raise InvalidInput(f"{what} holds a NUL character; remove it")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} holds half of a surrogate pair; send valid Unicode") from None
    return text


def clean_text(text: str) -> str:
    """Return ``text`` with NUL and lone surrogates replaced by U+FFFD, so that a paid answer is kept."""
    if text.isascii():
        return text.replace("\x00", "\ufffd")
    return text.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
