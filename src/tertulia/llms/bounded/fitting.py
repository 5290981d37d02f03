"""The widest grammar of a schema whose longest answer fits a number of tokens."""

from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import orjson

from tertulia.errors import ContextTooLong, ModelRefused
from tertulia.llms.bounded.grammar import Bounds, Piece, write
from tertulia.llms.bounded.merging import Schema

_SPARE: Final = 4
_NEVER: Final = 10**9
_MAX_UNITS: Final = 100
_LARGER: Final = (400, 800)
_LEVELS: Final = (
    Bounds(units=10, items=5, digits=9, returns=2, optional=40),
    Bounds(units=8, items=3, digits=6, returns=1, optional=10),
    Bounds(units=5, items=2, digits=6, returns=1, optional=5),
    Bounds(units=5, items=2, digits=6, returns=1, optional=1),
    Bounds(units=5, items=1, digits=4, returns=0, optional=0),
)
_LEAST: Final = Bounds(units=1, items=0, digits=4, returns=0, optional=0)


@dataclass(frozen=True, slots=True)
class Guide:
    """What an answer is held to."""

    grammar: str
    max_tokens: int


def guide(schema: Schema, *, wished: int | None, usual: int, room: int) -> Guide:
    """Return a grammar for a schema, and how many tokens an answer may have so that none is cut.

    These are the ``wished`` ones; without a wish they are the usual ones or as many more as the
    schema needs, within the room that there is. Raises :class:`~tertulia.errors.ContextTooLong` if
    there is not room for the shortest answer, and :class:`~tertulia.errors.ModelRefused` if there
    can be none or the wish is too small for it.
    """
    return _guide(orjson.dumps(schema, default=dict), wished, usual, max(room, 0))


@lru_cache(maxsize=64)
def _guide(schema: bytes, wished: int | None, usual: int, room: int) -> Guide:
    read = orjson.loads(schema)
    limits = [min(wished, room)] if wished else [*(each for each in (usual, *_LARGER) if each < room), room]
    easy = limits[:-1] or limits
    for bounds in _LEVELS:
        needed = _needed(read, bounds)
        for limit in easy:
            if needed <= limit:
                return _widest(read, bounds, range(bounds.units, _MAX_UNITS + 1), limit)
    needed = _needed(read, _LEAST)
    if needed <= limits[-1]:
        return _widest(read, _LEAST, range(1, _MAX_UNITS + 1), limits[-1])
    if needed <= room:
        raise ModelRefused(
            f"max_tokens is too small for the response shape, whose shortest answer takes up to {needed}"
        )
    if needed == _NEVER:
        raise ModelRefused("the embedded model cannot give an answer of this response shape")
    raise ContextTooLong(
        "the prompt leaves no room in the embedded model's window for the shortest answer of this shape"
    )


def _widest(schema: Schema, bounds: Bounds, units: range, limit: int) -> Guide:
    """Return the grammar with the longest strings that still fits; the shortest are known to."""

    def needed(count: int) -> int:
        return _needed(schema, replace(bounds, units=count))

    place = bisect_right(units, limit, key=needed)
    piece = _written(schema, replace(bounds, units=units[place - 1]))
    if piece is None:
        raise ModelRefused("the embedded model cannot give an answer of this response shape")
    return Guide(piece.text, limit)


def _needed(schema: Schema, bounds: Bounds) -> int:
    piece = _written(schema, bounds)
    return piece.tokens + _SPARE if piece else _NEVER


def _written(schema: Schema, bounds: Bounds) -> Piece | None:
    try:
        return write(schema, bounds)
    except ModelRefused:  # Too large; tighter bounds may make it small enough.
        return None
