"""Readers: a document of any kind that we know in, its text in sections out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message as Header
from pathlib import PurePosixPath
from typing import Final, TypeAlias

from tertulia.errors import InvalidInput
from tertulia.memory.knowledge.decoding import charset_in, checked, decoded
from tertulia.memory.knowledge.limits import ReadingLimits
from tertulia.memory.knowledge.pdf import read_pdf
from tertulia.memory.knowledge.sections import Section, of_markdown
from tertulia.tools.page_text import page_text

TEXT: Final = "text/plain"
MARKDOWN: Final = "text/markdown"
HTML: Final = "text/html"
PDF: Final = "application/pdf"

SUFFIXES: Final[Mapping[str, str]] = {
    ".txt": TEXT,
    ".text": TEXT,
    ".log": TEXT,
    ".rst": TEXT,
    ".csv": TEXT,
    ".tsv": TEXT,
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".pdf": PDF,
}
"""What a document is by the end of its name."""

_OTHERWISE_CALLED: Final = {
    "text/x-markdown": MARKDOWN,
    "application/xhtml+xml": HTML,
    "application/x-pdf": PDF,
}
_UNSAID: Final = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded"})
"""What programs say of a body of which they know nothing."""
_PDF_MARK: Final = b"%PDF-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was read."""

    media_type: str
    sections: tuple[Section, ...]

    @property
    def characters(self) -> int:
        """How long the text is."""
        return sum(len(section.text) for section in self.sections)


def read_document(
    content: bytes, *, name: str, content_type: str = "", limits: ReadingLimits | None = None
) -> Reading:
    """Return the text of a document; blocks, and is to be called in a thread.

    What kind it is, ``content_type`` says (``text/html; charset=utf-8``), else the end of its name.
    Raises :class:`~tertulia.errors.InvalidInput`, saying what to do, for what cannot be read.
    """
    bounds = limits or ReadingLimits()
    if len(content) > bounds.max_bytes:
        raise InvalidInput(f"a document has at most {bounds.max_bytes} bytes: split it")
    said, charset = _parted(content_type)
    media_type = _kind_of(content, name, said)
    reading = Reading(media_type=media_type, sections=tuple(_READERS[media_type](content, charset, bounds)))
    if not any(section.text.strip() for section in reading.sections):
        raise InvalidInput(_EMPTY[media_type == PDF])
    if reading.characters > bounds.max_characters:
        raise InvalidInput(_TOO_LONG.format(bounds.max_characters))
    return reading


_EMPTY: Final = (
    "this document holds no text",
    "this PDF holds no text, only images of it: have it recognised (OCR) first",
)
_TOO_LONG: Final = "the text of a document has at most {} characters: split it"


def media_type_of(name: str) -> str:
    """Return what a document is by its name; empty if that does not tell it."""
    return SUFFIXES.get(PurePosixPath(name).suffix.lower(), "")


def _parted(content_type: str) -> tuple[str, str]:
    """Return a media type and its charset, in small letters."""
    header = Header()
    header["content-type"] = content_type.replace("\r", " ").replace("\n", " ")
    said = content_type.partition(";")[0].strip().lower()
    return _OTHERWISE_CALLED.get(said, said), (header.get_content_charset() or "")


def _kind_of(content: bytes, name: str, said: str) -> str:
    named = media_type_of(name)
    if said == TEXT and named in {MARKDOWN, HTML}:  # which are texts, too
        return named
    if said in _READERS:
        return said
    if said in _UNSAID and (named or content.startswith(_PDF_MARK)):
        return named or PDF
    if said.startswith("text/"):
        return TEXT
    raise InvalidInput(
        "what kind of document this is cannot be told, or is not known here: give it a name that ends in "
        ".txt, .md, .html or .pdf, or say its Content-Type"
    )


def _text_sections(content: bytes, charset: str, limits: ReadingLimits) -> list[Section]:
    return [Section(text=_short_enough(decoded(content, charset=checked(charset)), limits))]


def _markdown_sections(content: bytes, charset: str, limits: ReadingLimits) -> list[Section]:
    return of_markdown(_short_enough(decoded(content, charset=checked(charset)), limits))


def _html_sections(content: bytes, charset: str, limits: ReadingLimits) -> list[Section]:
    html = decoded(content, charset=checked(charset) or charset_in(content))
    return of_markdown(_short_enough(page_text(html, url=""), limits))


def _pdf_sections(content: bytes, charset: str, limits: ReadingLimits) -> list[Section]:
    return read_pdf(content, limits=limits)


def _short_enough(text: str, limits: ReadingLimits) -> str:
    """Return a text that may be taken in; it is not looked into before that is known."""
    if len(text) > limits.max_characters:
        raise InvalidInput(_TOO_LONG.format(limits.max_characters))
    return text


_Read: TypeAlias = Callable[[bytes, str, ReadingLimits], list[Section]]
_READERS: Final[Mapping[str, _Read]] = {
    TEXT: _text_sections,
    MARKDOWN: _markdown_sections,
    HTML: _html_sections,
    PDF: _pdf_sections,
}
