import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tertulia.hints import EVERYTHING, open_hints
from tertulia.hints.presence import Presence
from tertulia.hints.watch import Watch
from tertulia.testing.hints_contract import Ear, a_run

_OPEN_FILES: Final = Path("/proc/self/fd")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t.db"


@pytest.fixture
def written(path: Path) -> Iterator[sqlite3.Connection]:
    """The file as a store has it open."""
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("PRAGMA journal_mode = WAL")
    raw.execute("CREATE TABLE things (it)")
    yield raw
    raw.close()


def write(raw: sqlite3.Connection) -> None:
    raw.execute("INSERT INTO things VALUES (1)")


@pytest.fixture
def other(path: Path) -> Iterator[Presence]:
    """Somebody else who looks at the file."""
    presence = Presence(path.with_name("t.db-hints"))
    yield presence
    presence.close()


def test_every_change_is_seen_once(path: Path, written: sqlite3.Connection, other: Presence) -> None:
    watch = Watch(path)

    before = watch.look()
    write(written)
    write(written)
    after = [watch.look(), watch.look()]
    watch.close()

    assert (before, after) == (False, [True, False])


def test_who_is_alone_need_not_look(path: Path, written: sqlite3.Connection) -> None:
    watch = Watch(path)

    write(written)
    first = watch.look()
    write(written)
    second = watch.look()
    watch.close()

    assert (first, second) == (False, False)


def test_what_was_written_by_one_who_has_left_is_seen(
    path: Path, written: sqlite3.Connection, other: Presence
) -> None:
    watch = Watch(path)

    write(written)
    other.close()
    looks = [watch.look(), watch.look()]
    watch.close()

    assert looks == [True, False]


def test_what_was_written_before_others_came_is_seen_with_them(
    path: Path, written: sqlite3.Connection
) -> None:
    watch = Watch(path)
    alone = watch.look()

    newcomer = Presence(path.with_name("t.db-hints"))
    write(written)
    looks = [watch.look(), watch.look()]
    newcomer.close()
    watch.close()

    assert (alone, looks) == (False, [True, False])


def test_file_that_comes_later_has_changed(path: Path, other: Presence) -> None:
    watch = Watch(path)

    before = watch.look()
    sqlite3.connect(path).close()
    after = [watch.look(), watch.look()]
    watch.close()

    assert (before, after) == (False, [True, False])


def test_file_that_is_locked_is_looked_at_again(
    path: Path, written: sqlite3.Connection, other: Presence
) -> None:
    written.execute("PRAGMA journal_mode = DELETE")
    watch = Watch(path)

    write(written)
    written.execute("BEGIN EXCLUSIVE")
    while_locked = watch.look()
    written.execute("COMMIT")
    later = [watch.look(), watch.look()]
    watch.close()

    assert (while_locked, later) == (False, [True, False])


def test_looking_writes_nothing(path: Path, written: sqlite3.Connection, other: Presence) -> None:
    watch = Watch(path)
    [(before,)] = written.execute("PRAGMA data_version").fetchall()
    bytes_before = path.read_bytes()

    watch.look()
    [(after,)] = written.execute("PRAGMA data_version").fetchall()
    watch.close()

    assert (before, bytes_before) == (after, path.read_bytes())


def test_closed_file_leaves_nothing_of_its_log_when_the_store_is_closed_last(
    path: Path, written: sqlite3.Connection
) -> None:
    watch = Watch(path)
    write(written)

    watch.close()
    written.close()

    assert sorted(p.name for p in path.parent.iterdir()) == ["t.db", "t.db-hints"]


def test_presence_is_seen_by_others_as_long_as_it_lasts(tmp_path: Path) -> None:
    one = Presence(tmp_path / "here")
    alone = one.is_alone()
    two = Presence(tmp_path / "here")
    together = (one.is_alone(), two.is_alone())
    two.close()
    two.close()
    after = one.is_alone()
    one.close()

    assert (alone, together, after) == (True, (False, False), True)


@pytest.mark.parametrize("place", ["no/such/directory/here", "."])
def test_who_cannot_say_that_he_is_there_is_not_alone(tmp_path: Path, place: str) -> None:
    presence = Presence(tmp_path / place)

    assert not presence.is_alone()
    presence.close()


async def test_file_is_the_same_by_whichever_name(path: Path, written: sqlite3.Connection) -> None:
    path.with_name("link.db").symlink_to(path)
    one, two = (open_hints(f"sqlite:///{name}") for name in (path, path.with_name("link.db")))
    ear, run = Ear(), a_run()
    await one.open(lambda _: None)
    await two.open(ear)

    one.ring({run})
    await ear.until(run)
    write(written)
    await ear.until(EVERYTHING)
    await one.close()
    await two.close()


async def test_relative_url_is_about_the_file_there(
    path: Path, written: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    one, two, ear, run = open_hints("sqlite:///t.db"), open_hints(f"sqlite:///{path}"), Ear(), a_run()
    await one.open(lambda _: None)
    await two.open(ear)

    one.ring({run})

    await ear.until(run)
    await one.close()
    await two.close()


async def test_name_with_strange_characters_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "wha t?#%.db"
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("CREATE TABLE things (it)")
    other, watch = Presence(path.with_name(f"{path.name}-hints")), Watch(path)

    write(raw)
    seen = watch.look()
    for open_thing in (raw, other, watch):
        open_thing.close()

    assert seen
    assert not (tmp_path / "wha t").exists()


@pytest.mark.skipif(not _OPEN_FILES.exists(), reason="a system that does not list a process's open files")
async def test_nothing_stays_open(path: Path, written: sqlite3.Connection) -> None:
    counts = []

    for _ in range(4):
        hints = open_hints(f"sqlite:///{path}")
        await hints.open(lambda _: None)
        await hints.close()
        counts.append(len(os.listdir(_OPEN_FILES)))  # noqa: PTH208  # it is a list that is wanted

    # SQLite itself keeps one for the next to come, while others have the file open.
    assert len(set(counts)) == 1
