"""The directory in which processes of one user on one host find each other."""

import os
import tempfile
from pathlib import Path
from typing import Final

VARIABLE: Final = "TERTULIA_RUNTIME_DIR"
_OTHERS: Final = 0o077


def runtime_dir(given: Path | None = None) -> Path:
    """Return the directory, made if need be and open to its owner only.

    Raises ``OSError`` when there cannot be one, ``PermissionError`` when it belongs to someone else.
    """
    named = os.environ.get(VARIABLE)
    chosen = (given or (Path(named) if named else _usual())).absolute()
    chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = chosen.stat()
    if found.st_uid != os.getuid():
        raise PermissionError(f"{chosen} belongs to another user")
    if found.st_mode & _OTHERS:
        chosen.chmod(0o700)
    return chosen


def _usual() -> Path:
    try:
        return Path.home() / ".cache" / "tertulia"
    except RuntimeError:
        # A user without a home, as in many containers.
        return Path(tempfile.gettempdir()) / f"tertulia-{os.getuid()}"
