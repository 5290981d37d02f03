"""Hints beside a SQLite file: within the process as such, and from others by looking at the file."""

import asyncio
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Final, Self
from urllib.parse import unquote

from typing_extensions import override

from tertulia.errors import InvalidInput
from tertulia.hints import neighbours
from tertulia.hints.base import EVERYTHING, Hear, Hints
from tertulia.hints.gathering import Gathering
from tertulia.hints.watch import Watch

LOOK_SECONDS: Final = 0.05


class SQLiteHints(Hints):
    """All that use one file hear each other; what another process wrote is heard as everything.

    Close it before the store: whoever closes the file last has to be somebody who may tidy it up.
    """

    def __init__(self, path: Path, *, look_seconds: float = LOOK_SECONDS) -> None:
        self._path = path.resolve()
        self._name = f"sqlite:{self._path}"
        self._look_seconds = look_seconds
        self._closed = threading.Event()
        self._heard: Gathering | None = None
        self._thread: threading.Thread | None = None

    @override
    @classmethod
    def from_url(cls, url: str) -> Self:
        rest = url.partition(":")[2]
        if not rest.startswith("///") or rest in {"///", "///:memory:"}:
            raise InvalidInput("a SQLite URL names a file: sqlite:///tertulia.db; use memory:// for none")
        return cls(Path(unquote(rest[3:].partition("?")[0])))

    @override
    async def open(self, hear: Hear) -> None:
        self._heard = heard = Gathering(hear)
        neighbours.join(self._name, heard)
        watch = await asyncio.to_thread(Watch, self._path)
        self._thread = threading.Thread(
            target=self._look, args=(watch, heard), name="tertulia-hints", daemon=True
        )
        self._thread.start()

    @override
    async def close(self) -> None:
        heard, self._heard = self._heard, None
        if heard is not None:
            neighbours.leave(self._name, heard)
            heard.close()
        self._closed.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.to_thread(thread.join)

    @override
    def ring(self, topics: Collection[str]) -> None:
        if self._heard is not None:
            neighbours.tell(self._name, topics)

    def _look(self, watch: Watch, heard: Gathering) -> None:
        while not self._closed.wait(self._look_seconds):
            if watch.look():
                heard.add({EVERYTHING})
        watch.close()
