"""Media in the form in which pydantic-ai takes them, or in words where a model cannot be shown them."""

import binascii
import mimetypes
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from pydantic_ai.messages import AudioUrl, BinaryContent, DocumentUrl, ImageUrl

from tertulia.llms.by_pydantic_ai.dialect import Dialect
from tertulia.llms.withheld import words_for
from tertulia.messages import clean_text
from tertulia.parts import Media, MediaKind

Content: TypeAlias = str | BinaryContent | ImageUrl | AudioUrl | DocumentUrl

_USUAL: Final[Mapping[MediaKind, str]] = {
    "image": "image/png",
    "audio": "audio/wav",
    "file": "application/pdf",
}
_BEGINNINGS: Final = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"%PDF": "application/pdf",
    b"ID3": "audio/mpeg",
}


@dataclass(frozen=True, slots=True)
class Withheld:
    """Media that a model cannot be shown, and why; in an older message the words stand in for them."""

    words: str
    why: str


def content_of(media: Media, dialect: Dialect) -> Content | Withheld:
    """Return media as a model is shown them; nothing is ever fetched from an address by us."""
    if media.base64:
        return _bytes(media, dialect)
    if media.url:
        return _address(media, dialect)
    return _withheld(media, "holds neither bytes nor an address")


def _bytes(media: Media, dialect: Dialect) -> Content | Withheld:
    try:
        found = b64decode("".join(media.base64.split()), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not found:
        return _withheld(media, "is no Base64; send its bytes in that form")
    media_type = media.media_type or _sniffed(found) or _guessed(media)
    if media_type.startswith("text/"):
        return _text_file(media, found)
    if not dialect.takes(media_type):
        return _withheld(media, f"cannot be shown to this model as {media_type}; choose another model")
    return BinaryContent(data=found, media_type=media_type)


def _address(media: Media, dialect: Dialect) -> Content | Withheld:
    media_type = media.media_type or _guessed(media)
    if media.url != clean_text(media.url) or not dialect.fetches(media_type, media.url):
        return _withheld(
            media, f"is not fetched from its address by this provider; send the {media.kind} itself"
        )
    if media_type.startswith("image/"):
        return ImageUrl(media.url, media_type=media_type)
    if media_type.startswith("audio/"):
        return AudioUrl(media.url, media_type=media_type)
    return DocumentUrl(media.url, media_type=media_type)


def _text_file(media: Media, found: bytes) -> str:
    name = f" {media.name}" if media.name else ""
    return clean_text(f"[file{name}]\n{found.decode('utf-8', 'replace')}\n[end of file]")


def _withheld(media: Media, why: str) -> Withheld:
    return Withheld(words=words_for(media), why=f"the {media.kind} {why}")


def _sniffed(found: bytes) -> str | None:
    if found[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(found[8:12])
    return next((type_ for beginning, type_ in _BEGINNINGS.items() if found.startswith(beginning)), None)


def _guessed(media: Media) -> str:
    """Return the media type by the file's name, if that speaks of the right kind, else the usual one."""
    guessed = mimetypes.guess_type(media.name or media.url.partition("?")[0])[0] or ""
    fits = media.kind == "file" or guessed.startswith(f"{media.kind}/")
    return guessed if guessed and fits else _USUAL[media.kind]
