import asyncio
import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.errors import ProviderError
from tertulia.memory.history import FileHistoryProvider, locked_files
from tertulia.memory.history import session_files as files
from tertulia.messages import Message
from tertulia.testing.history_contract import a_message, a_session, some_messages, what_counts

SOURCES: Final = Path(files.__file__).parents[3]
WRITER: Final = """
import asyncio, sys
from tertulia.memory.history import FileHistoryProvider
from tertulia.testing.history_contract import a_session, some_messages

async def main(place, count):
    history = FileHistoryProvider(place)
    for _ in range(count):
        said = some_messages(3)
        await history.append(a_session(), said)
        print(*(message.id for message in said), flush=True)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""
FORGETTER: Final = """
import asyncio, sys
from tertulia.memory.history import FileHistoryProvider
from tertulia.testing.history_contract import a_session

async def main(place, count):
    history = FileHistoryProvider(place)
    for message in (await history.load(a_session()))[:count]:
        await history.forget(a_session(), [message.id])
        print(message.id, flush=True)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""
FULL: Final = """
import asyncio, resource, signal, sys
from tertulia.errors import ProviderError
from tertulia.memory.history import FileHistoryProvider
from tertulia.testing.history_contract import a_session, some_messages

async def main(place, room):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    history = FileHistoryProvider(place)
    for _ in range(2):
        try:
            await history.append(a_session(), some_messages(9))
        except ProviderError as error:
            print(error)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "histories"


def a_program(text: str, place: Path, number: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", text, str(place), str(number)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(SOURCES)},
    )


def the_file(place: Path) -> Path:
    [found] = the_files(place)
    return found


def the_files(place: Path) -> list[Path]:
    return list(place.iterdir())


def everything_in(place: Path) -> bytes:
    return b"".join(path.read_bytes() for path in the_files(place))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def ids(messages: list[Message]) -> list[str]:
    return [message.id for message in messages]


async def test_torn_last_line_is_not_read_and_cut_off(place: Path) -> None:
    said = some_messages(4)
    await FileHistoryProvider(place).append(a_session(), said[:2])
    with the_file(place).open("ab") as file:
        file.write(b'{"id": "msg_1", "role": "us')

    history = FileHistoryProvider(place)
    before = await history.load(a_session())
    newest = await history.recent(a_session(), limit=1)
    await history.append(a_session(), said[2:])

    assert what_counts(before) == said[:2]
    assert what_counts(newest) == said[1:2]
    assert what_counts(await history.load(a_session())) == said
    assert b"msg_1" not in the_file(place).read_bytes()


async def test_nothing_of_a_long_torn_line_stays(place: Path) -> None:
    said = some_messages(2)
    await FileHistoryProvider(place).append(a_session(), said[:1])
    with the_file(place).open("ab") as file:
        file.write(b"~" * 10_000)

    await FileHistoryProvider(place).append(a_session(), said[1:])

    assert b"~" not in the_file(place).read_bytes()
    assert what_counts(await FileHistoryProvider(place).load(a_session())) == said


async def test_half_an_append_is_no_append(place: Path) -> None:
    said = some_messages(5)
    history = FileHistoryProvider(place)
    await history.append(a_session(), said[:2])
    await history.append(a_session(), said[2:])
    lines = the_file(place).read_bytes().splitlines(keepends=True)
    the_file(place).write_bytes(b"".join(lines[:-1]))

    for provider in (history, FileHistoryProvider(place)):
        assert what_counts(await provider.load(a_session())) == said[:2]
        assert what_counts(await provider.recent(a_session(), limit=4)) == said[:2]

    await history.append(a_session(), said[2:])
    assert what_counts(await FileHistoryProvider(place).load(a_session())) == said


@given(cut=st.integers(0, 5_000), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_file_that_ends_anywhere_has_the_appends_before_that(
    tmp_path_factory: pytest.TempPathFactory, cut: int, sizes: list[int]
) -> None:
    place = tmp_path_factory.mktemp("cut")
    turns = [some_messages(size) for size in sizes]

    async def appended(history: FileHistoryProvider) -> list[Message]:
        for turn in turns:
            await history.append(a_session(), turn)
        return what_counts(await history.load(a_session()))

    async def loaded() -> list[Message]:
        return what_counts(await FileHistoryProvider(place).load(a_session()))

    asyncio.run(appended(FileHistoryProvider(place)))
    whole = the_file(place).read_bytes()
    the_file(place).write_bytes(whole[: cut % (len(whole) + 1)])

    found, again = asyncio.run(loaded()), asyncio.run(appended(FileHistoryProvider(place)))

    beginnings = [[m for turn in turns[:count] for m in turn] for count in range(len(turns) + 1)]
    assert found in beginnings
    assert again == beginnings[-1]
    assert the_file(place).read_bytes() == whole


async def test_what_was_acknowledged_survives_kill(place: Path) -> None:
    acknowledged: list[str] = []
    for turns in (1, 7, 2, 12):
        with a_program(WRITER, place, 10_000) as writer:
            assert writer.stdout is not None
            for _ in range(turns):
                acknowledged += writer.stdout.readline().split()
            writer.send_signal(signal.SIGKILL)
            acknowledged += writer.stdout.read().rpartition("\n")[0].split()

        kept = ids(await FileHistoryProvider(place).load(a_session()))

        assert len(kept) % 3 == 0
        assert [ident for ident in kept if ident in acknowledged] == acknowledged
        assert len(kept) - len(acknowledged) <= 3
        acknowledged = kept


async def test_appends_of_several_processes_do_not_mix(place: Path) -> None:
    writers = [a_program(WRITER, place, 25) for _ in range(3)]
    turns = [line for writer in writers for line in writer.communicate()[0].splitlines()]

    kept = ids(await FileHistoryProvider(place).load(a_session()))

    assert len(kept) == 3 * 25 * 3
    assert sorted(" ".join(kept[at : at + 3]) for at in range(0, len(kept), 3)) == sorted(turns)


async def test_append_for_which_there_is_no_room_leaves_nothing(place: Path) -> None:
    said = some_messages(2)
    await FileHistoryProvider(place).append(a_session(), said)
    before = the_file(place).read_bytes()

    with a_program(FULL, place, len(before) + 200) as program:
        told = program.communicate()[0].splitlines()

    assert told == ["the file of the history cannot be used: File too large"] * 2
    assert the_file(place).read_bytes() == before


@pytest.mark.parametrize("strange", [b"\x00\x00\x00", b"hello", b"[]", b'{"role": "user"}', b'{"id": "x"}'])
async def test_what_cannot_be_read_is_not_left_out(place: Path, strange: bytes) -> None:
    history, said = FileHistoryProvider(place), some_messages(2)
    await history.append(a_session(), said)
    with the_file(place).open("ab") as file:
        file.write(strange + b"\n")
    before = the_file(place).read_bytes()

    for provider in (history, FileHistoryProvider(place)):
        with pytest.raises(ProviderError):
            await provider.load(a_session())
        with pytest.raises(ProviderError):
            await provider.recent(a_session(), limit=1)
        with pytest.raises(ProviderError):
            await provider.append(a_session(), [a_message()])

    assert the_file(place).read_bytes() == before


async def test_file_of_another_session_is_not_taken_for_ones_own(place: Path) -> None:
    history = FileHistoryProvider(place)
    await history.append(a_session("one"), [a_message()])
    one = the_file(place)
    await history.append(a_session("two"), [a_message()])
    two = next(path for path in the_files(place) if path != one)
    two.write_bytes(one.read_bytes())

    for work in (history.load(a_session("two")), history.append(a_session("two"), [a_message()])):
        with pytest.raises(ProviderError, match="another session's"):
            await work


async def test_session_that_was_taken_away_begins_anew(place: Path) -> None:
    history, said = FileHistoryProvider(place), some_messages(3)
    await history.append(a_session(), said)

    the_file(place).unlink()
    await history.append(a_session(), said[:2])

    assert what_counts(await history.load(a_session())) == said[:2]


async def test_file_that_is_taken_away_before_it_is_locked_is_not_written(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history, said = FileHistoryProvider(place), a_message()
    await history.append(a_session(), [a_message()])
    lock = locked_files._lock

    def taken_away(file: int, how: int) -> None:
        monkeypatch.setattr(locked_files, "_lock", lock)
        the_file(place).unlink()
        lock(file, how)

    monkeypatch.setattr(locked_files, "_lock", taken_away)
    await history.append(a_session(), [said])

    assert what_counts(await history.load(a_session())) == [said]


async def test_append_is_on_the_disk_with_the_name_of_its_file(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync, fails = os.fsync, [True]

    def fsync(file: int) -> None:
        synced.append("directory" if stat.S_ISDIR(os.fstat(file).st_mode) else "file")
        if synced[-1] == "directory" and len(synced) > 1 and fails:
            fails.clear()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(file)

    monkeypatch.setattr(os, "fsync", fsync)
    history, said = FileHistoryProvider(place), some_messages(2)

    with pytest.raises(ProviderError, match="Input/output error"):
        await history.append(a_session(), said[:1])
    await history.append(a_session(), said[:1])
    await history.append(a_session(), said[1:])

    assert synced == ["directory", "file", "directory", "file", "directory", "file"]
    assert what_counts(await history.load(a_session())) == said


async def test_session_that_was_put_back_is_read_again(place: Path) -> None:
    history, said = FileHistoryProvider(place), some_messages(3)
    await history.append(a_session(), said[:1])
    early = the_file(place).read_bytes()
    await history.append(a_session(), said[1:2])

    the_file(place).write_bytes(early)
    await history.append(a_session(), said[1:])

    assert what_counts(await history.load(a_session())) == said


async def test_ids_that_were_forgotten_are_found_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_KEPT_IDS", 5)
    history = FileHistoryProvider(place)
    said = {f"{n}": some_messages(3) for n in range(6)}

    for _ in range(3):
        for name, messages in said.items():
            await history.append(a_session(name), messages)

    for name, messages in said.items():
        assert what_counts(await history.load(a_session(name))) == messages
    assert sum(len(known.ids) for known in history._files._known.values()) <= 5


async def test_long_history_is_read_from_its_end(place: Path) -> None:
    history = FileHistoryProvider(place)
    said = [a_message("x" * 5_000) for _ in range(50)]
    await history.append(a_session(), said)
    path = the_file(place)
    text = path.read_bytes()
    path.write_bytes(b"-" * 1000 + text[1000:])  # what is not read cannot be found broken

    assert what_counts(await history.recent(a_session(), limit=5)) == said[-5:]
    with pytest.raises(ProviderError):
        await history.recent(a_session(), limit=50)


async def test_nobody_else_may_read_what_was_said(place: Path) -> None:
    await FileHistoryProvider(place).append(a_session(), [a_message()])

    assert mode(place) == 0o700
    assert mode(the_file(place)) == 0o600


async def test_name_of_a_file_tells_of_its_session(place: Path) -> None:
    await FileHistoryProvider(place).append(a_session("../Ada's 1st / Chat"), [a_message()])

    assert the_file(place).name.startswith("ada-s-1st-chat-")


async def test_links_are_not_followed(place: Path, tmp_path: Path) -> None:
    history = FileHistoryProvider(place)
    await history.append(a_session(), [a_message()])
    path = the_file(place)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")

    for work in (history.load(a_session()), history.append(a_session(), [a_message()])):
        with pytest.raises(ProviderError):
            await work


async def test_directory_that_is_none_is_a_failure_that_names_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    history = FileHistoryProvider(tmp_path / "taken")

    with pytest.raises(ProviderError) as raised:
        await history.append(a_session(), [a_message()])

    assert "taken" not in str(raised.value)


async def test_who_holds_a_session_for_ever_keeps_nobody_for_ever(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locked_files, "_SECONDS", 0.01)
    history = FileHistoryProvider(place)
    await history.append(a_session(), [a_message()])

    with the_file(place).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for work in (
            history.load(a_session()),
            history.append(a_session(), [a_message()]),
            history.forget(a_session(), ["msg_1"]),
        ):
            with pytest.raises(ProviderError, match="somebody else writes the session"):
                await work

    assert len(await history.load(a_session())) == 1


async def test_what_was_forgotten_is_no_more_on_the_disk(place: Path) -> None:
    history = FileHistoryProvider(place)
    said = [a_message("kept"), a_message("secret", author="Ada"), a_message("kept too")]
    await history.append(a_session(), said)

    await history.forget(a_session(), [said[1].id])

    text = everything_in(place)
    assert b"secret" not in text
    assert b"Ada" not in text
    assert text.count(said[1].id.encode()) == 1
    assert mode(the_file(place)) == 0o600


async def test_what_else_stands_in_a_file_stays_byte_for_byte(place: Path) -> None:
    history, said = FileHistoryProvider(place), some_messages(5)
    await history.append(a_session(), said[:2])
    await history.append(a_session(), said[2:])
    before = the_file(place).read_bytes().splitlines()

    await history.forget(a_session(), [said[3].id])

    after = the_file(place).read_bytes().splitlines()
    assert [*after[1:4], *after[5:]] == [*before[1:4], *before[5:]]


async def test_what_was_torn_is_gone_when_something_is_forgotten(place: Path) -> None:
    said = some_messages(2)
    await FileHistoryProvider(place).append(a_session(), said)
    with the_file(place).open("ab") as file:
        file.write(b'{"id": "msg_1", "role": "us')

    await FileHistoryProvider(place).forget(a_session(), [said[0].id])

    assert b"msg_1" not in everything_in(place)
    assert what_counts(await FileHistoryProvider(place).load(a_session())) == said[1:]


async def test_what_was_forgotten_before_it_came_does_not_come(place: Path) -> None:
    history, said = FileHistoryProvider(place), some_messages(3)

    await history.forget(a_session(), [said[1].id])
    await FileHistoryProvider(place).append(a_session(), said)

    assert what_counts(await history.load(a_session())) == [said[0], said[2]]


async def test_forgetting_once_more_writes_nothing(place: Path) -> None:
    history, said = FileHistoryProvider(place), some_messages(3)
    await history.append(a_session(), said)
    await history.forget(a_session(), [said[1].id])
    before = the_file(place).stat()

    await history.forget(a_session(), [said[1].id])
    await FileHistoryProvider(place).forget(a_session(), [said[1].id])

    after = the_file(place).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


async def test_file_that_was_written_anew_is_not_taken_for_the_one_before(place: Path) -> None:
    """A system may give the number of a file that is gone to the next one."""
    history, said = FileHistoryProvider(place), some_messages(9)
    await history.append(a_session(), said[:6])
    path = the_file(place)
    number = path.stat().st_ino

    other = FileHistoryProvider(place)
    await other.forget(a_session(), [said[0].id])
    await other.append(a_session(), said[6:8])
    history._files._known[path.name].inode = path.stat().st_ino
    assert path.stat().st_ino != number
    await history.append(a_session(), said)

    assert what_counts(await history.load(a_session())) == said[1:]


async def test_forgetting_is_on_the_disk_with_the_name_of_the_file(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history, said = FileHistoryProvider(place), some_messages(2)
    await history.append(a_session(), said)
    synced: list[str] = []
    sync = os.fsync

    def fsync(file: int) -> None:
        synced.append("directory" if stat.S_ISDIR(os.fstat(file).st_mode) else "file")
        sync(file)

    monkeypatch.setattr(os, "fsync", fsync)
    await history.forget(a_session(), [said[0].id])

    assert synced == ["file", "directory"]


@pytest.mark.parametrize("fails", ["fsync", "pwrite", "ftruncate"])
async def test_forgetting_that_fails_leaves_everything(
    place: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    history, said = FileHistoryProvider(place), some_messages(4)
    await history.append(a_session(), said)
    before = the_file(place).read_bytes()
    if fails == "ftruncate":  # what is torn cannot be cut off
        with the_file(place).open("ab") as file:
            file.write(b"torn")

    def failing(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, fails, failing)
        with pytest.raises(ProviderError, match="Input/output error"):
            await history.forget(a_session(), [said[0].id])

    assert the_file(place).read_bytes().removesuffix(b"torn") == before
    await history.forget(a_session(), [said[0].id])
    assert what_counts(await history.load(a_session())) == said[1:]


async def test_killed_while_it_forgets_it_has_forgotten_what_it_said(place: Path) -> None:
    said = [a_message(f"{n} " + "word " * 200) for n in range(300)]
    await FileHistoryProvider(place).append(a_session(), said)
    told: list[str] = []
    for count in (1, 5, 9):
        with a_program(FORGETTER, place, 20) as forgetter:
            assert forgetter.stdout is not None
            for _ in range(count):
                told.append(forgetter.stdout.readline().strip())
            forgetter.send_signal(signal.SIGKILL)
            told += forgetter.stdout.read().rpartition("\n")[0].split()

        kept = ids(await FileHistoryProvider(place).load(a_session()))

        assert not {*told} & {*kept}
        assert kept == ids(said)[-len(kept) :]
        assert len(said) - len(kept) - len(told) <= 1
        told = ids(said)[: -len(kept)]

    await FileHistoryProvider(place).forget(a_session(), ids(said)[250:])
    assert len(the_files(place)) == 1  # what was begun when it was killed is gone too
    assert f'"{299} word'.encode() not in everything_in(place)


async def test_appends_while_others_forget_are_all_there(place: Path) -> None:
    said = some_messages(40)
    await FileHistoryProvider(place).append(a_session(), said)
    programs = [a_program(WRITER, place, 25), a_program(FORGETTER, place, 40), a_program(WRITER, place, 25)]

    told = [program.communicate()[0].split() for program in programs]

    kept = ids(await FileHistoryProvider(place).load(a_session()))
    assert told[1][:40] == ids(said)
    assert sorted(kept) == sorted([*told[0], *told[2]])
    in_threes = [kept[at : at + 3] for at in range(0, len(kept), 3)]
    assert all(three[0] in (*told[0][::3], *told[2][::3]) for three in in_threes)


async def test_reader_is_not_left_with_the_file_before(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history, said = FileHistoryProvider(place), some_messages(3)
    await history.append(a_session(), said)
    lock = locked_files._lock

    def replaced(file: int, how: int) -> None:
        monkeypatch.setattr(locked_files, "_lock", lock)
        asyncio.run(FileHistoryProvider(place).forget(a_session(), [said[0].id]))
        lock(file, how)

    monkeypatch.setattr(locked_files, "_lock", replaced)

    assert what_counts(await history.load(a_session())) == said[1:]
