"""Checks of the machine: Python, open files, and room on the disk."""

import os
import platform
import shutil
import sqlite3
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from tertulia import __version__
from tertulia.cli.doctor.findings import Case, Finding, broken, good, warning
from tertulia.cli.doctor.stored import file_of

with suppress(ImportError):  # Windows has none.
    import resource

FEW_FILES: Final = 1024
MANY_FILES: Final = 8192
LITTLE_ROOM: Final = 200_000_000
NO_ROOM: Final = 10_000_000
_MEGABYTE: Final = 1_000_000


async def check_python(_case: Case) -> list[Finding]:
    """Say what runs here."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    text = (
        f"Tertulia {__version__}, {python}, SQLite {sqlite3.sqlite_version}, {platform.platform(terse=True)}"
    )
    if sys.platform == "win32":
        return [warning("machine", f"{text}: not tested on Windows", "use WSL, or a container")]
    return [good("machine", text)]


async def check_open_files(_case: Case) -> list[Finding]:
    """Say whether enough files and connections may be open at once."""
    if sys.platform == "win32":
        return []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= FEW_FILES:
        return [good("open files", f"{'any number of' if soft == resource.RLIM_INFINITY else soft} at once")]
    most = MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, MANY_FILES)
    text = f"only {soft} at once, and everybody who follows an answer takes one"
    return [warning("open files", text, f"ulimit -n {most}")]


async def check_disk(case: Case) -> list[Finding]:
    """Say whether the database's directory can be written to, and how much room there is."""
    file = file_of(case.settings)
    if file is None:
        return []
    folder = _nearest(file.absolute().parent)
    if not os.access(folder, os.W_OK | os.X_OK):
        return [broken("disk", f"{folder} cannot be written to", f"see to the permissions of {folder}")]
    free = shutil.disk_usage(folder).free
    text = f"{free // _MEGABYTE:,} MB left where {file} is"
    if free < NO_ROOM:
        return [broken("disk", text, "make room on the disk")]
    return [warning("disk", text, "make room on the disk") if free < LITTLE_ROOM else good("disk", text)]


def _nearest(folder: Path) -> Path:
    """Return the directory, or the one in which it would be made."""
    return next(place for place in (folder, *folder.parents) if place.exists())
