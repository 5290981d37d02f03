import os
import stat
import threading
from pathlib import Path

import pytest

from tertulia.stores.sql.ballast import SIZE, Ballast


class Disk:
    """How much room is left, and what time it is."""

    def __init__(self) -> None:
        self.room, self.now, self.looks = 10 * SIZE, 0.0, 0

    def free(self, _: Path) -> int:
        self.looks += 1
        return self.room


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def ballast(tmp_path: Path, disk: Disk) -> Ballast:
    return Ballast(tmp_path / "ballast", clock=lambda: disk.now, free=disk.free)


def test_it_takes_real_room_that_nobody_else_can_read(ballast: Ballast, tmp_path: Path) -> None:
    before = os.umask(0)
    is_whole = ballast.make()
    os.umask(before)

    [file] = tmp_path.iterdir()
    found = file.stat()
    assert is_whole
    assert found.st_size == SIZE
    assert found.st_blocks * 512 >= SIZE
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert len(set(file.read_bytes()[:1000])) > 100


def test_it_is_made_once(ballast: Ballast, tmp_path: Path) -> None:
    ballast.make()
    before = (tmp_path / "ballast").stat()

    assert ballast.make()
    assert (tmp_path / "ballast").stat() == before


def test_its_room_is_given_up_once(ballast: Ballast, tmp_path: Path) -> None:
    ballast.make()

    given = [ballast.give_up(), ballast.give_up()]

    assert given == [True, False]
    assert (tmp_path / "ballast").stat().st_blocks == 0
    assert not ballast.is_whole()


def test_what_was_never_made_cannot_be_given_up(ballast: Ballast) -> None:
    assert not ballast.give_up()
    assert not ballast.is_whole()


def test_every_process_sees_whether_it_is_whole(ballast: Ballast, tmp_path: Path) -> None:
    other = Ballast(tmp_path / "ballast")
    ballast.make()

    seen = [other.is_whole(), other.give_up(), ballast.is_whole(), other.make(), ballast.is_whole()]

    assert seen == [True, True, False, True, True]


@pytest.mark.parametrize(
    ("room", "is_made"), [(0, False), (SIZE, False), (2 * SIZE - 1, False), (2 * SIZE, True)]
)
def test_it_is_not_made_of_the_room_that_it_has_just_given(
    ballast: Ballast, disk: Disk, room: int, is_made: bool
) -> None:
    disk.room = room

    assert ballast.make() is is_made
    assert ballast.is_whole() is is_made


def test_it_leaves_nothing_when_there_was_no_room_after_all(tmp_path: Path, disk: Disk) -> None:
    ballast = Ballast(tmp_path / "gone" / "ballast", free=disk.free)

    assert not ballast.make()
    assert list(tmp_path.iterdir()) == []


def test_it_is_tried_again_once_a_second(ballast: Ballast, disk: Disk) -> None:
    disk.room = 0
    tries = []

    for disk.now in (0.0, 0.5, 0.99, 1.0, 1.5):
        ballast.make_again()
        tries.append(disk.looks)
    disk.room, disk.now = 10 * SIZE, 2.0

    assert tries == [1, 1, 1, 2, 2]
    assert ballast.make_again()


def test_half_of_it_is_not_whole(ballast: Ballast, tmp_path: Path) -> None:
    ballast.make()
    os.truncate(tmp_path / "ballast", SIZE // 2)

    assert not ballast.is_whole()
    assert ballast.make()


def test_two_that_make_it_at_the_same_moment_both_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_begun, may_go_on, made = threading.Event(), threading.Event(), list[bool]()
    second = threading.Thread(target=lambda: made.append(Ballast(tmp_path / "ballast").make()))
    fill, sync = os.write, os.fsync

    def written(file: int, piece: memoryview) -> int:
        if threading.current_thread() is second:
            has_begun.set()
            may_go_on.wait(10)
        return fill(file, piece)

    def synced(file: int) -> None:
        sync(file)
        if threading.current_thread() is not second:
            second.start()
            has_begun.wait(10)

    monkeypatch.setattr(os, "write", written)
    monkeypatch.setattr(os, "fsync", synced)
    made.append(Ballast(tmp_path / "ballast").make())
    may_go_on.set()
    second.join(10)

    assert made == [True, True]
    assert [file.name for file in tmp_path.iterdir()] == ["ballast"]


def test_what_another_has_left_behind_is_cleared_up_when_it_is_old(ballast: Ballast, tmp_path: Path) -> None:
    for name in ("ballast-new", "ballast-new-1", "ballast-new-2", "other-new-3"):
        (tmp_path / name).write_bytes(b"room")
        if name != "ballast-new-2":
            os.utime(tmp_path / name, (0, 0))

    ballast.make()

    assert {file.name for file in tmp_path.iterdir()} == {"ballast", "ballast-new-2", "other-new-3"}
