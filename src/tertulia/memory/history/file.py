"""History in files: one for each session, a JSON text for each message."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TypeVar

from typing_extensions import override

from tertulia.errors import ProviderError
from tertulia.memory.history.base import HistoryProvider
from tertulia.memory.history.session_files import SessionFiles
from tertulia.memory.sessions import ProviderSession
from tertulia.messages import Message

T = TypeVar("T")


class FileHistoryProvider(HistoryProvider):
    """Keeps each session in a JSONL file of a directory, which is made when it is needed.

    Its name is made of the session's id, as far as that can stand in one, and a digest of tenant, agent,
    id and user. When an append has returned, file and directory are on the disk; what a crash has left of an
    append that did not return is not read, and cut off by the next one. Processes may share the
    directory; each session is written by one at a time.
    """

    def __init__(self, directory: str | PathLike[str]) -> None:
        self._files = SessionFiles(Path(directory))

    @override
    async def load(self, session: ProviderSession) -> list[Message]:
        return await _in_thread(lambda: self._files.read(session))

    async def recent(self, session: ProviderSession, *, limit: int) -> list[Message]:
        """Return the newest ``limit`` messages of a session, oldest of them first."""
        return await _in_thread(lambda: self._files.read_end(session, limit=limit))

    @override
    async def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
        said = tuple(messages)
        await _in_thread(lambda: self._files.append(session, said))

    async def forget(self, session: ProviderSession, ids: Collection[str]) -> None:
        """Erase messages of a session: its file is written anew, and holds nothing but their ids then."""
        gone = tuple(ids)
        if gone:
            await _in_thread(lambda: self._files.forget(session, gone))


async def _in_thread(work: Callable[[], T]) -> T:
    with _told():
        return await asyncio.to_thread(work)


@contextmanager
def _told() -> Iterator[None]:
    """Raise what the system raises as our own; the name of a file tells of its session, so it is left out."""
    try:
        yield
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ProviderError(f"the file of the history cannot be used: {why}") from error
