"""PDF documents, read by a process of its own that is ended when it takes too long."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from math import ceil
from typing import Any, Final

import orjson

from tertulia.errors import InvalidInput, MissingExtra
from tertulia.memory.knowledge.limits import ReadingLimits
from tertulia.memory.knowledge.pdf_pages import REFUSALS
from tertulia.memory.knowledge.sections import Section
from tertulia.messages import clean_text

LIBRARY: Final = "pypdf"
PROGRAM: Final = "tertulia.memory.knowledge.pdf_pages"

_KEPT: Final = ("PATH", "SYSTEMROOT", "TMPDIR", "TEMP", "LANG", "LC_ALL")
"""Variables that the process is given; keys of providers are none of its business."""
_HYPHEN: Final = re.compile(r"(?<=[a-z])-\n(?=[a-z])")


def read_pdf(content: bytes, *, limits: ReadingLimits) -> list[Section]:
    """Return the pages of a PDF that hold text; blocks, for no longer than it may take.

    Raises :class:`~tertulia.errors.InvalidInput`, saying what to do, if it cannot be read, and
    :class:`~tertulia.errors.MissingExtra` without the library.
    """
    if find_spec(LIBRARY) is None:
        raise MissingExtra("PDF documents need a library: pip install tertulia[knowledge]")
    told = _told(content, limits)
    if "refused" in told:
        raise InvalidInput(REFUSALS[told["refused"]])
    return [
        Section(text=_HYPHEN.sub("", clean_text(text.strip())), where=f"page {number}")
        for number, text in enumerate(told["pages"], start=1)
        if text.strip()
    ]


def _told(content: bytes, limits: ReadingLimits) -> dict[str, Any]:
    """Return what the reading process has told."""
    bounds = (limits.max_pages, limits.max_characters, ceil(limits.within_seconds))
    try:
        ran = subprocess.run(  # noqa: S603  # ourselves
            [sys.executable, "-P", "-m", PROGRAM, *map(str, bounds)],
            input=content,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            timeout=limits.within_seconds,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise InvalidInput(
            f"reading this PDF takes longer than {limits.within_seconds:g} seconds: "
            "save it anew with another program, or send its text"
        ) from error
    except subprocess.CalledProcessError as error:
        raise InvalidInput(
            "this PDF cannot be read: it is damaged, or needs too much time or memory; "
            "save it anew with another program, or send its text"
        ) from error
    told: dict[str, Any] = orjson.loads(ran.stdout)
    return told


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
