"""Chunks: pieces of a text that are short enough to be shown, cut where it hurts least.

A chunk ends where a paragraph ends, else after a sentence, else after a line (in tables and code
lines come before sentences), else after a word. Every visible character of the text stands in a
chunk, in order, and a chunk begins with the last sentence of the one before it where that is short.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tertulia.memory.knowledge.sections import fence_after
from tertulia.memory.tokens import estimate

TOKENS: Final = 200
"""Estimated tokens of a chunk, about."""
WHOLE: Final = 400
"""Estimated tokens of a table or a block of code that is kept whole nevertheless."""
OVERLAP: Final = 30
"""Estimated tokens that two chunks have in common at most."""
LITTLE: Final = 30
"""Estimated tokens that are no chunk by themselves where more follows: a heading, a line above a table."""

_SENTENCE: Final = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|(?<=[。！？])|(?<=[।॥])\s*")  # noqa: RUF001
_STOPS: Final = (".", "!", "?", "…", "。", "！", "？", "।")  # noqa: RUF001
_LINE: Final = re.compile(r"\n")
_SPACE: Final = re.compile(r"\s+")
_PROSE: Final = (_SENTENCE, _LINE, _SPACE)
_ROWS: Final = (_LINE, _SPACE)
_HARD: Final = TOKENS // 2
"""Characters that are cut off at a time where there is nothing to cut at; at most two tokens each."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of the text, from ``start`` to before ``end``."""

    start: int
    end: int
    tokens: int
    is_prose: bool = True


def chunks_of(text: str) -> list[str]:
    """Return the chunks of a text; none if nothing of it can be seen."""
    return [text[start:end] for start, end in spans_of(text)]


def spans_of(text: str) -> list[tuple[int, int]]:
    """Return where the chunks of a text begin and end, the space around them left out."""
    found = []
    for start, end in _packed(text, [*_pieces(text)]):
        chunk = text[start:end]
        if shown := chunk.strip():
            begin = start + len(chunk) - len(chunk.lstrip())
            found.append((begin, begin + len(shown)))
    return found


def _pieces(text: str) -> Iterator[_Piece]:
    """Yield pieces that together are the text, none of them longer than a chunk may be."""
    for start, end in _blocks(text):
        is_prose = not _is_laid_out(text[start:end])
        if is_prose:
            yield from _divided(text, start, end, _PROSE)
            continue
        tokens = estimate(text[start:end])
        if tokens <= WHOLE:
            yield _Piece(start, end, tokens, is_prose=False)
        else:
            yield from (
                _Piece(p.start, p.end, p.tokens, is_prose=False) for p in _divided(text, start, end, _ROWS)
            )


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Yield where paragraphs begin and end; what stands between the marks of code is one."""
    start, fence = 0, ""
    for begin, end in _lines(text):
        line = text[begin:end]
        after = fence_after(line, fence)
        edge = end
        if after and not fence:
            edge = begin
        elif after or (not fence and line.strip()):
            fence = after
            continue
        if edge > start:
            yield start, edge
        start, fence = edge, after
    if start < len(text):
        yield start, len(text)


def _lines(text: str) -> Iterator[tuple[int, int]]:
    edges = [0, *(found.end() for found in _LINE.finditer(text)), len(text)]
    return pairwise(edges)


def _is_laid_out(block: str) -> bool:
    """Whether lines mean something here: a table, or code."""
    lines = [line for line in block.splitlines() if line.strip()]
    rows = sum(line.lstrip().startswith("|") or line.count("|") > 1 or "\t" in line for line in lines)
    return bool(lines) and (bool(fence_after(lines[0], "")) or 2 * rows > len(lines))


def _divided(text: str, start: int, end: int, cuts: Sequence[re.Pattern[str]]) -> Iterator[_Piece]:
    """Yield the pieces of a part of the text: itself if it is short, else what the cuts make of it."""
    tokens = estimate(text[start:end])
    if tokens <= TOKENS:
        yield _Piece(start, end, tokens)
        return
    edges = [found.end() for found in cuts[0].finditer(text, start, end)] if cuts else []
    if not cuts:
        edges = [*range(start + _HARD, end, _HARD)]
    for first, last in pairwise(dict.fromkeys((start, *edges, end))):
        yield from _divided(text, first, last, cuts[1:])


def _packed(text: str, pieces: Sequence[_Piece]) -> Iterator[tuple[int, int]]:
    """Yield where chunks begin and end: as many pieces as there is room for."""
    start, tokens = 0, 0
    held: list[_Piece] = []
    for piece in pieces:
        if tokens > LITTLE and held and tokens + piece.tokens > TOKENS:
            yield start, held[-1].end
            start, tokens = _overlapping(text, held[-1])
            held = []
        held.append(piece)
        tokens += piece.tokens
    if held:
        yield start, held[-1].end


def _overlapping(text: str, last: _Piece) -> tuple[int, int]:
    """Return where the next chunk begins: at the last sentence of this one, if that is short prose."""
    if not last.is_prose or not text[last.start : last.end].rstrip().endswith(_STOPS):
        return last.end, 0
    ends = [found.end() for found in _SENTENCE.finditer(text, last.start, last.end)]
    begins = [end for end in (last.start, *ends) if text[end : last.end].strip()]
    start = begins[-1] if begins else last.end
    tokens = estimate(text[start : last.end])
    return (start, tokens) if tokens <= OVERLAP else (last.end, 0)
