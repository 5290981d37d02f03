"""Topics as a short line of text, as it goes over a wire.

``w`` or ``-`` for work or none, then the ids of runs, 16 bytes each, in base64; ``*`` for
everything. What cannot be packed is everything, and so is what cannot be read: another version may
have written it.
"""

from base64 import b64decode, b64encode
from collections.abc import Collection
from typing import Final

from tertulia import ids
from tertulia.hints.base import EVERYTHING, WORK

MAX_RUNS: Final = 350
"""How many runs are named one by one: PostgreSQL takes less than 8000 bytes."""

_ID: Final = 16
_WORK, _NO_WORK = "w", "-"
_ALL: Final = frozenset({EVERYTHING})


def pack(topics: Collection[str]) -> str:
    """Return topics as text without spaces or quotes, of less than 8000 bytes."""
    runs = set(topics) - {WORK}
    if len(runs) > MAX_RUNS or not all(ids.is_id(run, prefix=ids.RUN) for run in runs):
        return EVERYTHING
    raw = b"".join(ids.to_bytes(run) for run in runs)
    return (_WORK if WORK in topics else _NO_WORK) + b64encode(raw).decode()


def unpack(text: str) -> frozenset[str]:
    """Return the topics that :func:`pack` was given, or everything."""
    form, packed = text[:1], text[1:]
    if form not in {_WORK, _NO_WORK}:
        return _ALL
    try:
        raw = b64decode(packed, validate=True)
    except ValueError:
        return _ALL
    if len(raw) % _ID:
        return _ALL
    runs = {ids.from_bytes(ids.RUN, raw[at : at + _ID]) for at in range(0, len(raw), _ID)}
    return frozenset(runs | {WORK} if form == _WORK else runs)
