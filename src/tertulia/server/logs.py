"""What the service writes to its log: JSON lines, or coloured ones on a terminal."""

import logging
import sys
from pathlib import Path
from traceback import extract_tb
from types import TracebackType
from typing import Final

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger
from typing_extensions import override

_QUIET: Final = {
    "uvicorn.error": logging.WARNING,
    "uvicorn.access": logging.CRITICAL,
    "asyncio": logging.WARNING,
    "alembic": logging.WARNING,
}
_FRAMES: Final = 12


def configure(level: str) -> None:
    """Send our own lines and those of all libraries to standard error, from ``level`` on."""
    number = logging.getLevelNamesMapping()[level.upper()]
    common: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        without_values,
    ]
    is_terminal = sys.stderr.isatty()
    render: Processor = (
        structlog.dev.ConsoleRenderer()
        if is_terminal
        else structlog.processors.JSONRenderer(serializer=_as_text)
    )
    structlog.configure(
        processors=[*common, render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    lines = logging.StreamHandler(sys.stderr)
    lines.addFilter(OneLineForFailedStarts())
    lines.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *common],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.basicConfig(level=number, handlers=[lines], force=True)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, number))


def without_values(logger: WrappedLogger, method: str, line: EventDict) -> EventDict:
    """Say an exception's kind and where it came from; its text may hold what people wrote."""
    raised = line.pop("exc_info", None)
    if raised is True:
        raised = sys.exc_info()
    error = raised[1] if isinstance(raised, tuple) else raised
    if isinstance(error, BaseException):
        line["error"] = type(error).__name__
        line["at"] = places(error.__traceback__)
    return line


def places(trace: TracebackType | None) -> list[str]:
    """Return the last places of a traceback, innermost last."""
    return [f"{Path(at.filename).name}:{at.lineno} {at.name}" for at in extract_tb(trace)[-_FRAMES:]]


class OneLineForFailedStarts(logging.Filter):
    """Turns a traceback that was logged as text into its last line, if the error is ours, or its kind."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if text.startswith("Traceback"):
            last = text.rstrip().rpartition("\n")[2]
            kind, _, said = last.partition(": ")
            record.msg, record.args = (said or kind) if kind.startswith("tertulia.") else kind, ()
        return True


def _as_text(line: object, **_: object) -> str:
    return orjson.dumps(line, default=str).decode()
