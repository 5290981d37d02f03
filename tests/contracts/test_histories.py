"""Every history provider of ours against the contract, on every kind of place; and one from outside."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tertulia.memory.history import (
    HISTORIES,
    FileHistoryProvider,
    HistoryProvider,
    InMemoryHistoryProvider,
    Recording,
    RedisHistoryProvider,
    SQLHistoryProvider,
)
from tertulia.stores.base import Store
from tertulia.testing.history_contract import HistoryContract, a_message, a_session, some_messages
from tests.valkey import ValkeyServer

_FOREIGN: Final = '''
"""A history provider that somebody else has written."""

PLACES = {}


class NotebookHistory:
    """Keeps sessions in lists, by the name of a notebook."""

    name = "notebook"

    def __init__(self, notebook):
        self._kept = PLACES.setdefault(notebook, {})

    async def load(self, session):
        return list(self._kept.get(key_of(session), {}).values())

    async def append(self, session, messages):
        kept = self._kept.setdefault(key_of(session), {})
        for message in messages:
            kept.setdefault(message.id, message)

    async def close(self):
        pass


def key_of(session):
    return session.tenant, session.agent, session.id, session.user
'''


@pytest.fixture(scope="module")
def valkey_server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def redis_url(valkey_server: ValkeyServer) -> str:
    """URL of an empty database."""
    valkey_server.say("FLUSHALL")
    return valkey_server.url


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a history provider that another distribution has registered."""
    (tmp_path / "notebook_history.py").write_text(_FOREIGN)
    facts = tmp_path / "notebook_history-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: notebook-history\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[tertulia.histories]\n"
        "notebook = notebook_history:NotebookHistory\n"
        "memory = notebook_history:NotebookHistory\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "notebook"
    sys.modules.pop("notebook_history", None)


class TestInMemory(HistoryContract):
    @pytest.fixture
    def opened(self) -> Callable[[], HistoryProvider]:
        only = InMemoryHistoryProvider()
        return lambda: only


class TestFiles(HistoryContract):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Callable[[], HistoryProvider]:
        return lambda: FileHistoryProvider(tmp_path / "histories")


class TestSQLite(HistoryContract):
    @pytest.fixture
    def opened(self, sqlite_url: str) -> Callable[[], HistoryProvider]:
        return lambda: SQLHistoryProvider(sqlite_url)


class TestPostgreSQL(HistoryContract):
    @pytest.fixture
    def opened(self, postgres_url: str) -> Callable[[], HistoryProvider]:
        return lambda: SQLHistoryProvider(postgres_url)


class TestLentStores(HistoryContract):
    """The fixture ``store`` is there once for every kind of store."""

    @pytest.fixture
    def opened(self, store: Store) -> Callable[[], HistoryProvider]:
        return lambda: SQLHistoryProvider(store)


class TestRedis(HistoryContract):
    @pytest.fixture
    def opened(self, redis_url: str) -> Callable[[], HistoryProvider]:
        return lambda: RedisHistoryProvider(redis_url)


class TestBoundedRedis(HistoryContract):
    """Bounds that no test reaches change nothing."""

    @pytest.fixture
    def opened(self, redis_url: str) -> Callable[[], HistoryProvider]:
        return lambda: RedisHistoryProvider(redis_url, prefix="a:b", ttl_seconds=3600, max_messages=5000)


class TestRecording(HistoryContract):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Callable[[], HistoryProvider]:
        return lambda: Recording(FileHistoryProvider(tmp_path))


class TestForeign(HistoryContract):
    """A provider that was found by its entry point."""

    @pytest.fixture
    def opened(self, installed: str) -> Callable[[], HistoryProvider]:
        kind: Callable[[str], HistoryProvider] = HISTORIES.get(installed)
        notebook = str(id(self))
        return lambda: kind(notebook)


def test_ours_are_not_replaced_by_what_is_installed(installed: str) -> None:
    assert installed in HISTORIES
    assert installed not in list(HISTORIES)
    assert HISTORIES.get("memory") is InMemoryHistoryProvider


def test_name_that_nobody_has_is_told_with_those_that_there_are(installed: str) -> None:
    with pytest.raises(KeyError, match=f"file, memory, {installed}, redis, sql"):
        HISTORIES.get("nowhere")
    assert "nowhere" not in HISTORIES


@pytest.fixture(params=["memory", "file", "sql", "redis"])
async def history(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[HistoryProvider]:
    """A provider of every kind of ours."""
    makers: dict[str, Callable[[], HistoryProvider]] = {
        "memory": InMemoryHistoryProvider,
        "file": lambda: FileHistoryProvider(tmp_path),
        "sql": lambda: SQLHistoryProvider(request.getfixturevalue("sqlite_url")),
        "redis": lambda: RedisHistoryProvider(request.getfixturevalue("redis_url")),
    }
    assert set(makers) == set(HISTORIES)
    provider = makers[request.param]()
    yield provider
    await provider.close()


async def test_ours_need_no_state(history: HistoryProvider) -> None:
    session = a_session()

    await history.append(session, some_messages(4))
    await history.load(session)

    assert session.state == {}


async def test_session_that_was_never_written_costs_nothing(history: HistoryProvider) -> None:
    sessions = [a_session(f"{n}") for n in range(20)]

    found = await asyncio.gather(*(history.load(session) for session in sessions))

    assert found == [[]] * 20


def test_ours_serve_one_event_loop_after_another(history_in_loops: Callable[[], HistoryProvider]) -> None:
    provider, said = history_in_loops(), [a_message(f"{n}") for n in range(3)]

    async def go_on(place: int) -> list[str]:
        await provider.append(a_session(), [said[place]])
        kept = [message.text for message in await provider.load(a_session())]
        await provider.close()
        return kept

    kept = [asyncio.run(go_on(place)) for place in range(3)]

    assert kept == [["0"], ["0", "1"], ["0", "1", "2"]]


@pytest.fixture(params=["file", "sql", "redis"])
def history_in_loops(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], HistoryProvider]:
    """Makes a provider outside of any loop."""
    if request.param == "file":
        return lambda: FileHistoryProvider(tmp_path)
    if request.param == "sql":
        url = request.getfixturevalue("sqlite_url")
        return lambda: SQLHistoryProvider(url)
    url = request.getfixturevalue("redis_url")
    return lambda: RedisHistoryProvider(url)
