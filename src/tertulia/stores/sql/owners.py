"""Who is alive on this machine: a lock that the kernel lets go of when its process ends.

A lease runs out some seconds after its owner has died. Processes that share a SQLite file share a
machine as well, so there it need not be waited for: each owner locks a byte of its own in a file
beside the database. The locks belong to open files, not to processes, so that two stores in one
process see each other too. Where a system has none of the kind, everybody counts as alive.
"""

import fcntl
import os
import struct
from pathlib import Path
from typing import Final

from tertulia import ids

_FLOCK: Final = "hhqqi4x"
_SET: Final[int | None] = getattr(fcntl, "F_OFD_SETLK", None)
_GET: Final[int | None] = getattr(fcntl, "F_OFD_GETLK", None)
_PLACES: Final = 2**62


class Owners:
    """The owners of one database file that this process speaks for, and a look at the others."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._mine: set[str] = set()

    def hold(self, owner: str) -> None:
        """Be alive as this owner, from now until ``close``; does nothing the second time."""
        if owner in self._mine:
            return
        if _SET is not None:
            fcntl.fcntl(self._file, _SET, _lock(owner))
        self._mine.add(owner)

    def is_gone(self, owner: str) -> bool:
        """Whether nobody is alive as this owner, for certain."""
        if _GET is None or owner in self._mine:
            return False
        found = fcntl.fcntl(self._file, _GET, _lock(owner))
        return bool(struct.unpack(_FLOCK, found)[0] == fcntl.F_UNLCK)

    def close(self) -> None:
        """Be alive as nobody any more."""
        os.close(self._file)
        self._mine.clear()


def _lock(owner: str) -> bytes:
    place = int.from_bytes(ids.to_bytes(owner)[8:], "big") % _PLACES
    return struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
