"""Web pages as text that can be read: headings, paragraphs, lists and links, and nothing else."""

import re
from typing import Final
from urllib.parse import urljoin

from tertulia.tools.html_scanning import Tag, scan

_UNSEEN: Final = frozenset({"script", "style", "noscript", "template", "svg", "math", "iframe", "object"})
_LINES: Final = """
    address article aside blockquote body br dd details div dl dt fieldset figcaption figure footer form
    header hr html main nav ol p pre section summary table tbody tfoot thead title tr ul
"""
_BLOCKS: Final = frozenset(_LINES.split())
_PARTED: Final = frozenset({"h1", "h2", "h3", "h4", "h5", "h6", "p", "table", "title"})
_MARKS: Final = {"li": "\n- "} | {f"h{level}": f"\n\n{'#' * level} " for level in range(1, 7)}
_SPACES: Final = re.compile(r"\s+")
_EMPTY_LINES: Final = re.compile(r"\n{3,}")
_EMPTY_LINKS: Final = re.compile(r"\[\s*\]\([^()\s]*\)")


def page_text(html: str, *, url: str) -> str:
    """Return what a page shows, with its links as Markdown writes them; ``url`` completes them."""
    reader = _Reader(url)
    for found in scan(html):
        if isinstance(found, Tag):
            reader.take_tag(found)
        else:
            reader.take_text(found)
    return reader.text()


class _Reader:
    """Takes in a page, and gives its text."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._found: list[str] = []
        self._hidden, self._depth = "", 0
        self._verbatim = 0
        self._links: list[str] = []

    def text(self) -> str:
        """Return what was taken in."""
        whole = _EMPTY_LINKS.sub("", "".join(self._found))
        lines = (line.rstrip() for line in whole.splitlines())
        return _EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip()

    def take_tag(self, tag: Tag) -> None:
        """Take in the begin or the end of an element."""
        if self._hidden:
            self._go_on_hiding(tag)
        elif tag.is_end:
            self._end(tag.name)
        elif tag.name in _UNSEEN:
            self._hidden, self._depth = tag.name, 1
        else:
            self._begin(tag)

    def take_text(self, text: str) -> None:
        """Take in a text between tags."""
        if self._hidden:
            return
        if not self._verbatim:
            text = _SPACES.sub(" ", text)
            if not self._found or self._found[-1].endswith(("\n", " ")):
                text = text.lstrip()
        if text:
            self._found.append(text)

    def _go_on_hiding(self, tag: Tag) -> None:
        if tag.name == self._hidden:
            self._depth += -1 if tag.is_end else 1
        if not self._depth:
            self._hidden = ""

    def _begin(self, tag: Tag) -> None:
        if tag.name == "pre":
            self._verbatim += 1
        if tag.name in _MARKS or tag.name in _BLOCKS:
            self._found.append(_MARKS.get(tag.name, "\n"))
        elif tag.name == "a":
            self._links.append(_target(tag.value("href"), self._url))
            self._found += ["["] if self._links[-1] else []
        elif tag.name == "img":
            self._found += filter(None, [tag.value("alt")])

    def _end(self, name: str) -> None:
        if name == "pre":
            self._verbatim = max(0, self._verbatim - 1)
        if name in _PARTED or name in _BLOCKS:
            self._found.append("\n\n" if name in _PARTED else "\n")
        elif name in {"td", "th"}:
            self._found.append(" | ")
        elif name == "a" and self._links and (target := self._links.pop()):
            self._found.append(f"]({target})")


def _target(link: str, url: str) -> str:
    """Return where a link leads, if that is somewhere on the web."""
    try:
        found = urljoin(url, link.strip())
    except ValueError:
        return ""
    is_usable = found.startswith(("http://", "https://")) and not link.startswith("#") and link.strip()
    return found.replace(" ", "%20").replace(")", "%29") if is_usable else ""
