"""What a document that was read is made of: sections, each with the place where it stands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_HEADING: Final = re.compile(r" {0,3}(#{1,6})[ \t]")
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_MARKS: Final = re.compile(r"[*_`]{1,3}|\[([^\[\]]*)\]\([^()]*\)")
_BETWEEN: Final = " > "
_MAX_HEADING: Final = 400
"""Characters of a heading; a longer line is none."""
_MAX_WHERE: Final = 200
"""Characters of the place where a section stands; of longer ones the end counts.

They are counted in every passage, so that long ones would cost as much as a document many times as large.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a document that belongs together."""

    text: str
    where: str = ""
    """Where it stands: its headings, from the outermost one, or ``page 3``."""
    words: str = ""
    """What of ``where`` tells what it is about."""


def of_markdown(text: str) -> list[Section]:
    """Return the sections of a Markdown text, its headings included; together they are the text."""
    found: list[Section] = []
    lines: list[str] = []
    path: list[tuple[int, str]] = []
    has_body = False
    for line, heading in _read(text):
        if heading is not None and has_body:
            found.append(_section(lines, path))
            lines, has_body = [], False
        if heading is not None:
            path = [*(outer for outer in path if outer[0] < heading[0]), heading]
        elif line.strip():
            has_body = True
        lines.append(line)
    if "".join(lines).strip():
        found.append(_section(lines, path))
    return found


def fence_after(line: str, fence: str) -> str:
    """Return the marks of the block of code that goes on after a line; empty if none does.

    ``fence`` are those of the block that the line stands in.
    """
    found = _FENCE.match(line)
    marks = found[1] if found else ""
    if not fence:
        return marks
    return "" if marks.startswith(fence) and line.strip() == marks else fence


def _read(text: str) -> Iterator[tuple[str, tuple[int, str] | None]]:
    """Yield the lines of a text; of one that is a heading its level and words, too."""
    fence = ""
    for line in text.splitlines(keepends=True):
        heading = None if fence else _heading(line)
        fence = fence_after(line, fence)
        yield line, heading


def _heading(line: str) -> tuple[int, str] | None:
    """Return the level and the words of a heading; ``None`` for another line."""
    bare = line.rstrip()
    marks = _HEADING.match(bare) if len(bare) <= _MAX_HEADING else None
    if marks is None:
        return None
    return len(marks[1]), _plain(bare[marks.end() :].rstrip("#"))


def _plain(heading: str) -> str:
    """Return a heading without the marks of Markdown."""
    return " ".join(_MARKS.sub(lambda found: found[1] or "", heading).split())


def _section(lines: list[str], path: list[tuple[int, str]]) -> Section:
    headings = _BETWEEN.join(words for _, words in path if words)
    where = headings if len(headings) <= _MAX_WHERE else f"…{headings[1 - _MAX_WHERE :]}"
    return Section(text="".join(lines), where=where, words=headings[-_MAX_WHERE:])
