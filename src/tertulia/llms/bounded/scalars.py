"""Numbers and strings that cannot go on for ever: their schemas, and what they cost at most."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from tertulia.llms.bounded.merging import Schema

# A few plain characters or one of any kind cost about the same in the worst case: tokens of a
# character each, and a token for each byte. Control characters, of six bytes, are left out; new lines
# and tabs could be written so, too, but are not in practice.
_UNIT: Final = r"(?:[ !#-\[\]-~]{1,4}|[^\x00-\x08\x0b-\x1f\x7f])"
_UNIT_TOKENS: Final = 4
# What has to be there is not left to the dearest characters, else the shortest answer would be dear.
_CHAR: Final = r"[^\x00-\x08\x0b-\x1f\x7f\x{800}-\x{10ffff}]"
_CHAR_TOKENS: Final = 2
_QUOTES: Final = 2
_PATTERN_CHARS: Final = 64
_KEY_CHARS: Final = 16
_FORMATS: Final[Mapping[str, int]] = {
    "date": 10,
    "date-time": 25,
    "duration": 20,
    "email": 60,
    "hostname": 60,
    "ipv4": 15,
    "ipv6": 39,
    "time": 14,
    "uri": 100,
    "uuid": 36,
}
# What the grammar's expressions cannot say; an answer is checked against it afterwards.
_UNSAYABLE: Final = re.compile(r"\(\?(?:[=!]|<[=!])|\\[1-9bBk]")
_DECIMALS: Final = 2
_MAX_DECIMALS: Final = 9
_MAX_BROKEN: Final = 10**12
"""The largest number that is given decimals."""
_COUNTS: Final = re.compile(r"\{(\d{1,4})")


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value without values inside."""

    schema: Mapping[str, Any]
    tokens: int
    """The most that it costs."""


def a_string(node: Schema, *, units: int) -> Scalar:
    """Return a string as its schema asks for, of at most so many units of four characters."""
    least, most = node.get("minLength", 0), node.get("maxLength", math.inf)
    pattern, form = node.get("pattern"), node.get("format")
    if form in _FORMATS or _can_say(pattern):
        room = _FORMATS.get(str(form), 0) or _PATTERN_CHARS + _counted(pattern)
        chars = int(max(least, min(most, room)))
        kept = {key: node[key] for key in ("pattern", "format", "minLength") if key in node}
        if not _can_say(pattern):
            kept.pop("pattern", None)
        return Scalar({"type": "string", **kept, "maxLength": chars}, chars + _QUOTES)
    least = int(least)
    count = int(min(most - least, units))
    needed = f"{_CHAR}{{{least}}}" if least else ""
    schema: dict[str, Any] = {"type": "string", "pattern": f"^{needed}{_UNIT}{{0,{count}}}$"}
    if most < least + count * _UNIT_TOKENS:
        schema["maxLength"] = most
    return Scalar(schema, least * _CHAR_TOKENS + count * _UNIT_TOKENS + _QUOTES)


def a_key(pattern: object = None) -> Scalar:
    """Return a name of a property that its schema does not name."""
    if _can_say(pattern):
        schema = {"type": "string", "pattern": pattern, "minLength": 1, "maxLength": _KEY_CHARS * 2}
        return Scalar(schema, _KEY_CHARS * 2 + _QUOTES)
    return Scalar({"type": "string", "pattern": f"^[A-Za-z0-9 _-]{{1,{_KEY_CHARS}}}$"}, _KEY_CHARS + _QUOTES)


def a_number(node: Schema, *, is_whole: bool, digits: int) -> Scalar | None:
    """Return a number as its schema asks for, of about so many digits; ``None`` if there is none."""
    low, high = _between(node, 10**digits - 1)
    if low > high:
        return None
    is_whole = is_whole or max(abs(low), abs(high)) > _MAX_BROKEN
    step = node.get("multipleOf")
    decimals = 0 if is_whole else _decimals(step, float(high) - float(low))
    if step is None and not is_whole:
        step = 10.0**-decimals
    kept = {key: node[key] for key in ("exclusiveMinimum", "exclusiveMaximum") if _limits(node, key)}
    schema = {"type": "integer" if is_whole else "number", "minimum": low, "maximum": high, **kept}
    if step is not None:
        schema["multipleOf"] = step
    whole = len(str(int(max(abs(low), abs(high)))))
    return Scalar(schema, whole + int(low < 0) + decimals + int(decimals > 0))


def _can_say(pattern: object) -> bool:
    return isinstance(pattern, str) and not _UNSAYABLE.search(pattern)


def _counted(pattern: object) -> int:
    """Return about how many characters a pattern counts out."""
    return sum(map(int, _COUNTS.findall(pattern))) if isinstance(pattern, str) else 0


def _between(node: Schema, reach: int) -> tuple[float, float]:
    """Return the least and the most that a number may be, by its schema and by what it may cost."""
    lows, highs = _limits(node, "minimum", "exclusiveMinimum"), _limits(node, "maximum", "exclusiveMaximum")
    # A number that is large itself has to grow by more than its last digit.
    low = max([min([-reach, *(each - max(reach, abs(each)) for each in highs)]), *lows])
    high = min([max([reach, *(each + max(reach, abs(each)) for each in lows)]), *highs])
    return low, high


def _limits(node: Schema, *keys: str) -> list[float]:
    """Return the limits that are given; older drafts have truth values where newer ones have numbers."""
    given = (node.get(key) for key in keys)
    return [each for each in given if isinstance(each, int | float) and not isinstance(each, bool)]


def _decimals(step: float | None, width: float) -> int:
    """Return how many digits stand behind the point: by the schema's step, else so that there is a choice."""
    if step is not None:
        exponent = Decimal(str(step)).as_tuple().exponent
        return max(0, -exponent) if isinstance(exponent, int) else 0
    if not 0 < width < 1:
        return _DECIMALS
    return min(_MAX_DECIMALS, _DECIMALS + math.ceil(-math.log10(width)))
