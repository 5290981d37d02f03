"""Rows as they are shown to a model: JSON, one a line, not too many and not too long."""

from collections.abc import Iterable, Sequence

import orjson

from tertulia.memory.context.tables import Answer, Caps


def fitted(rows: Iterable[str], caps: Caps) -> Answer:
    """Return as many rows as the caps allow, and take no more than one beyond them."""
    kept: list[str] = []
    left = caps.characters
    for row in rows:
        # Line ends stand in JSON only where they mean nothing: those in texts are written otherwise.
        line = row.replace("\r", " ").replace("\n", " ")
        if len(kept) == caps.rows or (kept and len(line) > left):
            return Answer(rows=tuple(kept), is_cut=True)
        if len(line) > left:
            return Answer(rows=(f"{line[:left]} …",), is_cut=True)
        kept.append(line)
        left -= len(line)
    return Answer(rows=tuple(kept), is_cut=False)


def as_json(names: Sequence[str], values: Sequence[object]) -> str:
    """Return a row as a JSON object; of two columns with one name the second gets a number."""
    row: dict[str, object] = {}
    for name, value in zip(names, values, strict=True):
        key, number = name, 2
        while key in row:
            key, number = f"{name}_{number}", number + 1
        row[key] = value
    return orjson.dumps(row, default=_told).decode()


def _told(value: object) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)
