"""What the service writes to its log: a JSON object for each line, or words on a terminal."""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from traceback import extract_tb
from types import TracebackType
from typing import Final

import orjson
from typing_extensions import override

_QUIET: Final = {
    "uvicorn.error": logging.WARNING,
    "uvicorn.access": logging.CRITICAL,
    "asyncio": logging.WARNING,
    "alembic": logging.WARNING,
    # Addresses that are asked may hold keys.
    "client": logging.WARNING,
    "httpx": logging.WARNING,
    "httpx2": logging.WARNING,
    "mcp": logging.WARNING,
}
_FRAMES: Final = 12


def configure(level: str) -> None:
    """Send our own lines and those of all libraries to standard error, from ``level`` on."""
    number = logging.getLevelNamesMapping()[level.upper()]
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(AsWords() if sys.stderr.isatty() else AsJSON())
    logging.basicConfig(level=number, handlers=[lines], force=True)
    # No line says which thread or process it came from, and finding out is a fifth of its cost.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, number))
    logging.getLogger("uvicorn.error").addFilter(_is_no_advice)


def write(log: logging.Logger, level: int, event: str, /, **fields: object) -> None:
    """Write a line of our own; ``fields`` are ids, numbers and names, never what people wrote.

    Other than ``log.log`` it does not look for the line of code that it was called from.
    """
    if log.isEnabledFor(level):
        line = _OwnLine(log.name, level, event)
        line.fields = fields
        log.handle(line)


def _is_no_advice(record: logging.LogRecord) -> bool:
    """Whether a line is more than uvicorn's advice to install something, which anyone can provoke."""
    return "pip install" not in str(record.msg)


class _OwnLine(logging.LogRecord):
    """A line with fields."""

    fields: Mapping[str, object]

    def __init__(self, name: str, level: int, event: str) -> None:
        super().__init__(name, level, "", 0, event, None, None)


def places(trace: TracebackType | None) -> list[str]:
    """Return the last places of a traceback, innermost last."""
    return [f"{Path(at.filename).name}:{at.lineno} {at.name}" for at in extract_tb(trace)[-_FRAMES:]]


class AsJSON(logging.Formatter):
    """One JSON object in one line."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _event(record),
            **_fields(record),
        }
        try:
            return orjson.dumps(line, str, orjson.OPT_UTC_Z).decode()
        except TypeError:  # half a character, or a number of more than 64 bits
            return json.dumps(line, default=str)


class AsWords(logging.Formatter):
    """Time, level, event and fields, for people."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        at = self.formatTime(record, "%H:%M:%S")
        said = (f"{name}={_plain(value)}" for name, value in _fields(record).items())
        return " ".join([at, f"{record.levelname.lower():7}", _printable(_event(record)), *said])


def _event(record: logging.LogRecord) -> str:
    """Return what is said; of a traceback logged as text the last line if the error is ours, or its kind."""
    text = record.getMessage()
    if not text.startswith("Traceback"):
        return text
    kind, _, said = text.rstrip().rpartition("\n")[2].partition(": ")
    return (said or kind) if kind.startswith("tertulia.") else kind


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    """Return the fields; an exception is its kind and its places, as its text may hold what people wrote."""
    if isinstance(record, _OwnLine):
        return record.fields
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return {}
    return {"error": type(error).__name__, "at": places(error.__traceback__)}


def _plain(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and not set(text) & set(" ='\"") else repr(text)


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)
