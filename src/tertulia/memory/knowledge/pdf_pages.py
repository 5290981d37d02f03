"""The program that reads a PDF in a process of its own: bytes in, the texts of its pages out.

Whoever made the document may want it to last, or to fill the memory; so this process may have little
of both, and whoever started it ends it when its time is over. It is started as
``python -m tertulia.memory.knowledge.pdf_pages PAGES CHARACTERS SECONDS`` and answers with one line of
JSON: ``{"pages": ["…"]}``, or ``{"refused": "…"}`` with one of the words of :data:`REFUSALS`.
"""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import Any, Final, TypeAlias

from tertulia.registry import load

try:
    import resource
except ImportError:  # not on Windows, where its time alone is bounded
    _SETTABLE: tuple[str, ...] = ()
else:
    _SETTABLE = ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE")

_Reader: TypeAlias = Any
"""A reader of the library's, which need not be there, and so has no types here."""

MEMORY: Final = 1024 * 1024 * 1024
"""Bytes of address space."""
REFUSALS: Final = {
    "protected": "this PDF is protected by a password: save it without one",
    "pages": "this PDF has too many pages: split it",
    "characters": "this PDF holds too much text: split it",
}


def main(content: bytes, *, pages: int, characters: int) -> dict[str, object]:
    """Return the texts of the pages, or why there are none."""
    reader: _Reader = load("pypdf:PdfReader")(BytesIO(content))
    if reader.is_encrypted and not reader.decrypt(""):
        return {"refused": "protected"}
    if len(reader.pages) > pages:
        return {"refused": "pages"}
    found, left = [], characters
    for text in _texts(reader):
        left -= len(text)
        if left < 0:
            return {"refused": "characters"}
        found.append(text)
    return {"pages": found}


def _texts(reader: _Reader) -> Iterator[str]:
    for page in reader.pages:
        yield page.extract_text() or ""


def confine(seconds: int) -> None:
    """Let this process have no more than so many seconds of a processor, and little memory."""
    limits = {"RLIMIT_AS": MEMORY, "RLIMIT_CPU": seconds, "RLIMIT_FSIZE": 0}
    for name in _SETTABLE:
        with suppress(OSError, ValueError):  # some systems know a limit, and refuse to set it
            resource.setrlimit(getattr(resource, name), (limits[name], limits[name]))


if __name__ == "__main__":
    logging.disable()
    most_pages, most_characters, most_seconds = map(int, sys.argv[1:])
    confine(most_seconds)
    told = main(sys.stdin.buffer.read(), pages=most_pages, characters=most_characters)
    sys.stdout.buffer.write(json.dumps(told).encode())
