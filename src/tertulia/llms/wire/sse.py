"""Server-sent events taken apart as their bytes arrive."""

import json
from typing import Final

import orjson

from tertulia.errors import ModelMalformed
from tertulia.messages import clean_text

MAX_LINE: Final = 4 * 1024 * 1024
DONE: Final = b"[DONE]"

_FIELD: Final = b"data:"
_HIGH: Final = ("\ud800", "\udbff")


class EventLines:
    """The ``data:`` lines of a stream, whole, however its bytes were cut.

    Every line is an event of its own, as all servers of this wire send them; comments and other
    fields are passed over.
    """

    def __init__(self, *, longest: int | None = None) -> None:
        self._kept = bytearray()
        self._longest = longest

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the payloads that are complete with this chunk."""
        kept = self._kept
        if kept:
            kept += chunk
            if b"\n" not in chunk:
                return self._wait()
            chunk = bytes(kept)
            kept.clear()
        lines = chunk.split(b"\n")
        if rest := lines.pop():
            kept += rest
            self._wait()
        return _payloads(lines)

    def rest(self) -> list[bytes]:
        """Return what the stream ended in, if its last line lacked an end."""
        line = bytes(self._kept)
        self._kept.clear()
        return _payloads([line])

    def _wait(self) -> list[bytes]:
        if len(self._kept) > (self._longest or MAX_LINE):
            raise ModelMalformed("the model's provider sent a line without end")
        return []


def _payloads(lines: list[bytes]) -> list[bytes]:
    return [line[5:].strip() for line in lines if line.startswith(_FIELD)]


def decode(payload: bytes) -> object:
    """Return the JSON value of a payload; half surrogate pairs are let through, to be joined later.

    Raises :class:`~tertulia.errors.ModelMalformed` when it is no JSON.
    """
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(payload.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise ModelMalformed("the model's provider sent something that is not JSON") from None


class CleanText:
    """Text put together from pieces that may end in the middle of a surrogate pair."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, piece: str) -> str:
        """Return what can be shown now; half a pair waits for the next piece."""
        if self._half:
            piece, self._half = self._half + piece, ""
        if piece and _HIGH[0] <= piece[-1] <= _HIGH[1]:
            piece, self._half = piece[:-1], piece[-1]
        return clean_text(piece)

    def rest(self) -> str:
        """Return what was still waited for, cleaned."""
        half, self._half = self._half, ""
        return clean_text(half)
