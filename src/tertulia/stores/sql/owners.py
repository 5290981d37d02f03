"""Who is alive on this machine: a lock that the kernel lets go of when its process ends.

A lease runs out some seconds after its owner has died. Processes that share a SQLite file share a
machine as well, so there it need not be waited for: each owner locks a byte of its own in a file
beside the database. The locks belong to open files, not to processes, so that two stores in one
process see each other too. Where a system has none of the kind, everybody counts as alive.
"""

import fcntl
import os
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from tertulia import ids

_FLOCK: Final = "hhqqi4x"
_HAS_LOCKS: Final = sys.platform == "linux" and sys.maxsize > 2**32  # the layout below is Linux's, in 64 bits
_SET: Final[int | None] = getattr(fcntl, "F_OFD_SETLK", None) if _HAS_LOCKS else None
_GET: Final[int | None] = getattr(fcntl, "F_OFD_GETLK", None) if _HAS_LOCKS else None
_PLACES: Final = 2**62
_ID: Final = 16


class Owners:
    """The owners of one database file that this process speaks for, and a look at the others.

    An owner writes its id into the file as well, once its lock is there: of one that is not in the
    file that we see (it may have been deleted, or be another one) nothing is known.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_APPEND
        self._file = os.open(path, flags, 0o600)
        self._mine: set[str] = set()

    def hold(self, owner: str) -> None:
        """Be alive as this owner, from now until ``close``; does nothing the second time."""
        if owner in self._mine:
            return
        self._mine.add(owner)
        if _SET is None:
            return
        with suppress(OSError):  # locks of this kind are not to be had here: the lease alone decides
            fcntl.fcntl(self._file, _SET, _lock(owner))
            os.write(self._file, ids.to_bytes(owner))

    def is_gone(self, owner: str) -> bool:
        """Whether nobody is alive as this owner, for certain."""
        if _GET is None or owner in self._mine or not self._is_written(owner):
            return False
        try:
            found = fcntl.fcntl(self._file, _GET, _lock(owner))
        except OSError:
            return False
        return bool(struct.unpack(_FLOCK, found)[0] == fcntl.F_UNLCK)

    def close(self) -> None:
        """Be alive as nobody any more."""
        os.close(self._file)
        self._mine.clear()

    def _is_written(self, owner: str) -> bool:
        size, sought = os.fstat(self._file).st_size, ids.to_bytes(owner)
        written = os.pread(self._file, size, 0)
        return any(written[place : place + _ID] == sought for place in range(0, size, _ID))


def _lock(owner: str) -> bytes:
    place = int.from_bytes(ids.to_bytes(owner)[8:], "big") % _PLACES
    return struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
