"""Whether others look at a file too, known by a lock that the kernel lets go of when they end."""

import fcntl
import os
import struct
import sys
from pathlib import Path
from typing import Final

_FLOCK: Final = "hhqqi4x"
_HAS_LOCKS: Final = sys.platform == "linux" and sys.maxsize > 2**32  # the layout above is Linux's, in 64 bits
_SET: Final[int | None] = getattr(fcntl, "F_OFD_SETLK", None) if _HAS_LOCKS else None
_GET: Final[int | None] = getattr(fcntl, "F_OFD_GETLK", None) if _HAS_LOCKS else None


class Presence:
    """Our being there, told by a shared lock on a file of its own.

    Where it cannot be known (no such locks, no right to write there), nobody counts as alone.
    """

    def __init__(self, path: Path) -> None:
        self._file: int | None = None
        if _SET is None:
            return
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.fcntl(self._file, _SET, _lock(fcntl.F_RDLCK))
        except OSError:
            self.close()

    def is_alone(self) -> bool:
        """Whether nobody else is there, for certain."""
        if _GET is None or self._file is None:
            return False
        try:
            found = fcntl.fcntl(self._file, _GET, _lock(fcntl.F_WRLCK))
        except OSError:
            return False
        return bool(struct.unpack(_FLOCK, found)[0] == fcntl.F_UNLCK)

    def close(self) -> None:
        """Be there no more; may be called twice."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _lock(kind: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 1, 0)
