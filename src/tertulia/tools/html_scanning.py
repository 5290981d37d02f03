"""HTML as a stream of texts and tags, in a time that grows with its length, however broken it is.

The standard library's parser takes hours for a megabyte of ``<a <a <a``, and who writes a page that
is read may be anybody.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from typing import Final

_NAME: Final = re.compile(r"/?([a-zA-Z][a-zA-Z0-9:-]{0,30})")
_RAW: Final = {
    name: re.compile(f"</{name}", re.IGNORECASE) for name in ("script", "style", "textarea", "iframe")
}
_VALUE: Final = r"""(?:^|[\s"'/]){}\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+)"""
_VALUES: Final = {name: re.compile(_VALUE.format(name), re.IGNORECASE) for name in ("href", "alt")}
_LONGEST_TAG: Final = 8192


@dataclass(frozen=True, slots=True)
class Tag:
    """The begin or the end of an element."""

    name: str
    """In small letters."""
    is_end: bool
    source: str

    def value(self, name: str) -> str:
        """Return an attribute, ``href`` or ``alt``; empty if it is not there."""
        found = _VALUES[name].search(self.source[:_LONGEST_TAG])
        return unescape(found[1].strip("\"'")) if found else ""


def scan(html: str) -> Iterator[str | Tag]:
    """Yield the texts, with their references resolved, and the tags of a page; comments are left out."""
    at = 0
    while (start := html.find("<", at)) >= 0:
        if start > at:
            yield unescape(html[at:start])
        named = _NAME.match(html, start + 1)
        if named is None and html[start + 1 : start + 2] not in ("!", "?", "/"):
            yield "<"
            at = start + 1
            continue
        end = _end(html, start)
        if end < 0:
            return
        at = end
        if named is not None:
            tag = Tag(named[1].lower(), html[start + 1] == "/", html[named.end() : end - 1])
            yield tag
            at = _after_raw(html, tag, end)
    yield unescape(html[at:])


def _end(html: str, start: int) -> int:
    """Return where a tag or comment ends; -1 if it never does, and so nothing follows."""
    if html.startswith("<!--", start):
        found = html.find("-->", start + 4)
        return found + 3 if found >= 0 else -1
    end = html.find(">", start)
    # A ">" within a quoted value is none of the tag's.
    for quote in "\"'":
        if end >= 0 and html.count(quote, start, min(end, start + _LONGEST_TAG)) % 2:
            closing = html.find(quote, end)
            end = html.find(">", closing) if closing >= 0 else end
    return end + 1 if end >= 0 else -1


def _after_raw(html: str, tag: Tag, end: int) -> int:
    """Return where reading goes on: after what an element holds that is no HTML, at its end."""
    if tag.is_end or tag.name not in _RAW:
        return end
    found = _RAW[tag.name].search(html, end)
    return found.start() if found else len(html)
