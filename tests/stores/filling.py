"""Fills the disk under a store and empties it again; says in JSON what the store did meanwhile.

    python -m tests.stores.filling disk /directory/on/a/small/disk
    python -m tests.stores.filling pages /directory/anywhere

The first form fills a real disk. The second has the database itself refuse to grow, and its ballast
be of pages: for machines where one may not mount a small disk.
"""

import asyncio
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final

from typing_extensions import override

from tertulia.conversations import Claim
from tertulia.errors import StoreUnavailable
from tertulia.stores import StoreOptions
from tertulia.stores.sql.ballast import SIZE, Ballast
from tertulia.stores.sql.sqlite import SQLiteDatabase, SQLiteStore
from tertulia.testing.builders import (
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_finish,
    a_submission,
    all_texts,
    an_agent,
)

_UNDER_WAY: Final = 20
_ANSWER: Final = "y" * 8000
_MANY: Final = 2000


def _hurrying() -> Callable[[], float]:
    """Return a clock on which a second has gone by whenever one looks: nothing has to be waited for."""
    seconds = count()
    return lambda: float(next(seconds))


class Disk(ABC):
    """Something that can be full."""

    @abstractmethod
    async def fill(self) -> None:
        """Leave no room."""

    @abstractmethod
    async def free(self) -> None:
        """Leave plenty."""


class RealDisk(Disk):
    """The disk that a directory is on."""

    def __init__(self, directory: Path) -> None:
        self._filler = directory / "filler"

    @override
    async def fill(self) -> None:
        with self._filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)) == 4096:
                pass

    @override
    async def free(self) -> None:
        self._filler.unlink()


class Pages(Ballast, Disk):
    """The number of pages that the database may have, and a ballast of some more of them."""

    _KEPT: Final = 300

    def __init__(self, database: SQLiteDatabase) -> None:
        super().__init__(database.path.with_name("pages"), clock=_hurrying(), free=lambda _: self._room)
        self._database, self._room, self._most = database, 10 * SIZE, 0

    @override
    async def fill(self) -> None:
        pages = await self._database.pragma("page_count")
        assert isinstance(pages, int)
        self._room, self._most = 0, pages
        await self._database.pragma(f"max_page_count = {pages}")

    @override
    async def free(self) -> None:
        self._room = 10 * SIZE
        await self._database.pragma("max_page_count = 1000000")

    @override
    def give_up(self) -> bool:
        had = super().give_up()
        if had and self._database._writer is not None:
            self._most += self._KEPT
            self._database._writer._raw.execute(f"PRAGMA max_page_count = {self._most}")
        return had


async def _what_happens(store: SQLiteStore, disk: Disk) -> dict[str, object]:
    agent = await an_agent(store)
    conversations = [await a_conversation(store, agent) for _ in range(_UNDER_WAY)]
    claims = [await a_claimed_run(store, a_submission(each)) for each in conversations]
    other = await a_conversation(store, agent)
    await disk.fill()
    ended = [await _ended(store, claims[0])]  # that the disk is full is found out by one that may have room
    accepted, refused = await _accept_until_refused(store, other.id)
    health = await store.health()
    refused_again = [await _is_refused(store, other.id) for _ in range(3)]
    read = [await all_texts(store, each) for each in conversations[1:]]
    ended += [await _ended(store, claim) for claim in claims[1:]]
    answered = [(await all_texts(store, each))[1:] == [_ANSWER] for each in conversations]
    is_full_still = await _is_refused(store, other.id)
    await disk.free()
    recovered = await store.health()
    await store.runs.accept(a_submission(other), None)
    return {
        "refused": refused,
        "refused again": refused_again,
        "health": [health.ready, health.detail],
        "read": read == [["hello"]] * (_UNDER_WAY - 1),
        "ended": ended,
        "answered": answered,
        "full still": is_full_still,
        "recovered": recovered.ready,
        "lost": accepted + 1 - len(await store.runs.page(0, other.id, limit=_MANY)),
        "integrity": await _whole(store),
    }


async def _accept_until_refused(store: SQLiteStore, conversation: str) -> tuple[int, str]:
    for accepted in range(_MANY):
        try:
            await store.runs.accept(a_submission(conversation, "x" * 4000), None)
        except StoreUnavailable as error:
            return accepted, str(error)
    return _MANY, "never"


async def _is_refused(store: SQLiteStore, conversation: str) -> bool:
    try:
        await store.runs.accept(a_submission(conversation), None)
    except StoreUnavailable:
        return True
    return False


async def _ended(store: SQLiteStore, claim: Claim) -> str:
    try:
        await store.runs.commit(claim.lease, a_finish(_ANSWER), a_claimant())
    except StoreUnavailable as error:
        return str(error)
    return (await store.runs.get(claim.run.tenant, claim.run.id)).status


async def _whole(store: SQLiteStore) -> object:
    assert isinstance(store.database, SQLiteDatabase)
    return await store.database.pragma("integrity_check")


async def main(form: str, directory: Path) -> None:
    """Print what happens."""
    database = SQLiteDatabase(directory / "t.db", StoreOptions())
    disk: Disk
    if form == "pages":
        disk = database._ballast = Pages(database)
    else:
        disk = RealDisk(directory)
        database._ballast = Ballast(directory / "t.db-ballast", clock=_hurrying())
    store = SQLiteStore(database)
    await store.open()
    found = await _what_happens(store, disk)
    await store.close()
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    os.umask(0)
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
