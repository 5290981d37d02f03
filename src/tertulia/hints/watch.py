"""Looking whether others have written to a SQLite file."""

import sqlite3
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from tertulia.hints.presence import Presence


class Watch:
    """Looks at a file's version, which changes with every commit of anybody.

    Our own process's commits change it too: so a change counts only if others are there, or were
    when we looked last. Nothing is ever written to the file, nor kept locked. Belongs to one thread
    at a time.
    """

    def __init__(self, path: Path) -> None:
        self._where = f"file:{quote(str(path))}?mode=ro"
        self._presence = Presence(path.with_name(f"{path.name}-hints"))
        self._was_alone = False
        self._raw: sqlite3.Connection | None = None
        self._seen: int | None = None
        self.look()

    def look(self) -> bool:
        """Whether others may have written since the last look."""
        is_alone = self._presence.is_alone()
        is_worth_it = not (is_alone and self._was_alone)
        self._was_alone = is_alone
        return is_worth_it and self._has_changed()

    def close(self) -> None:
        """Let go of the file."""
        self._presence.close()
        if self._raw is not None:
            self._raw.close()

    def _has_changed(self) -> bool:
        seen = self._seen
        with suppress(sqlite3.Error):  # not there, or locked: what has changed is seen when it is back
            self._seen = self._version()
        return self._seen != seen

    def _version(self) -> int:
        if self._raw is None:
            self._raw = sqlite3.connect(self._where, uri=True, timeout=0, check_same_thread=False)
        [(version,)] = self._raw.execute("PRAGMA data_version").fetchall()
        return int(version)
