import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress

import asyncpg
import pytest
from sqlalchemy import func, literal_column, select

from tertulia.conversations import Conversation
from tertulia.errors import InvalidInput, StoreUnavailable
from tertulia.ids import AGENT, new_id, to_bytes
from tertulia.stores import Store, StoreOptions, open_store
from tertulia.stores.sql.postgresql import PostgreSQLDatabase, PostgreSQLStore
from tertulia.stores.sql.statements import Connection, Statement
from tertulia.testing.builders import (
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_queued_run,
    a_submission,
    an_agent,
)
from tertulia.testing.proxy import Proxy
from tests.postgres import PostgresServer


@pytest.fixture
async def postgresql(postgres_url: str) -> AsyncIterator[Store]:
    store = open_store(postgres_url)
    await store.open()
    yield store
    await store.close()


async def _orphan(store: Store, conversation: Conversation) -> str:
    return (await a_queued_run(store, a_submission(conversation))).run.id


async def _expired(store: Store, conversation: Conversation) -> str:
    gone = a_claimant(lease_us=OVER_AT_ONCE)
    return (await a_claimed_run(store, a_submission(conversation), claimant=gone)).run.id


@pytest.mark.parametrize("left", [_orphan, _expired], ids=["waiting", "expired"])
async def test_locked_conversation_is_passed_over_and_not_waited_for(
    postgresql: Store, postgres_url: str, left: Callable[[Store, Conversation], Awaitable[str]]
) -> None:
    agent = await an_agent(postgresql)
    locked, free = [await a_conversation(postgresql, agent) for _ in range(2)]
    runs = [await left(postgresql, conversation) for conversation in (locked, free)]
    other = await asyncpg.connect(postgres_url)
    await other.execute("BEGIN; SET LOCAL tertulia.tenant = '0'")
    await other.execute(
        "SELECT 1 FROM conversations WHERE id = $1::text::uuid FOR UPDATE", to_bytes(locked.id).hex()
    )

    while_locked = await postgresql.runs.claim(a_claimant(), limit=9)
    await other.close()
    later = await postgresql.runs.claim(a_claimant(), limit=9)

    assert [claim.run.id for claim in while_locked] == runs[1:]
    assert [claim.run.id for claim in later] == runs[:1]


async def test_text_that_the_database_has_no_characters_for_is_the_fault_of_who_sent_it(
    postgresql: Store,
) -> None:
    with pytest.raises(InvalidInput, match="cannot keep"):
        await a_conversation(postgresql, alias="a\0b")


class Cuts:
    """Cuts all connections when a client sends a statement, as often as it was told to."""

    proxy: Proxy

    def __init__(self) -> None:
        self.at, self.times = b"", 0

    def passed(self, piece: bytes) -> None:
        if self.times and self.at in piece:
            self.times -= 1
            self.proxy.cut()


@pytest.fixture(scope="module")
def mortal() -> Iterator[PostgresServer]:
    """A server that may crash, with a migrated database ``kept``."""
    with PostgresServer() as server:
        server.make("kept")
        yield server


@pytest.fixture
async def cuts(postgres: PostgresServer) -> AsyncIterator[Cuts]:
    """A way to the server that can be cut at any statement."""
    cuts = Cuts()
    async with Proxy.to_socket(postgres.socket, passed=cuts.passed) as cuts.proxy:
        yield cuts


@pytest.fixture
async def remote(postgres: PostgresServer, postgres_url: str, cuts: Cuts) -> AsyncIterator[Store]:
    """A store on the far side of that way."""
    store = open_store(postgres.url("migrated", port=cuts.proxy.port), StoreOptions(connections=3))
    await store.open()
    yield store
    await store.close()


def _database(store: Store) -> PostgreSQLDatabase:
    assert isinstance(store, PostgreSQLStore)
    assert isinstance(store.database, PostgreSQLDatabase)
    return store.database


async def _agents(store: Store, *, count: int = 12) -> list[object]:
    """Ask so much at once that every connection is used."""
    return list(await asyncio.gather(*[store.agents.page(0) for _ in range(count)], return_exceptions=True))


async def test_whatever_is_asked_first_after_a_crash_is_answered(mortal: PostgresServer) -> None:
    store = open_store(mortal.url("kept"))
    await store.open()
    agent = await an_agent(store, name=new_id(AGENT))
    before = await _agents(store)

    await asyncio.to_thread(mortal.crash)
    await asyncio.to_thread(mortal.restart)
    conversation = await a_conversation(store, agent)
    after = await _agents(store)
    kept = await store.conversations.get(0, conversation.id)
    await store.close()

    assert after == before
    assert kept == conversation


async def test_calls_fail_at_once_while_the_server_is_away_and_work_when_it_is_back(
    mortal: PostgresServer,
) -> None:
    store = open_store(mortal.url("kept"))
    await store.open()
    before = await _agents(store)

    await asyncio.to_thread(mortal.crash)
    away, health = await _agents(store), await store.health()
    with pytest.raises(StoreUnavailable):
        await an_agent(store, name=new_id(AGENT))
    await asyncio.to_thread(mortal.restart)
    after = await _agents(store)
    await store.close()

    assert {type(error) for error in away} == {StoreUnavailable}
    assert not health.ready
    assert after == before


async def test_store_is_closed_while_the_server_is_away(mortal: PostgresServer) -> None:
    store = open_store(mortal.url("kept"))
    await store.open()
    await _agents(store)

    await asyncio.to_thread(mortal.crash)
    await store.close()
    await asyncio.to_thread(mortal.restart)

    with pytest.raises(StoreUnavailable, match="not open"):
        await store.agents.page(0)


async def test_store_is_closed_while_nothing_comes_back_from_the_server(
    remote: Store, cuts: Cuts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tertulia.stores.sql.postgresql._CLOSE_SECONDS", 0.05)
    await _agents(remote)
    cuts.proxy.flowing.clear()
    asking = asyncio.create_task(remote.agents.page(0))
    await asyncio.sleep(0)

    await remote.close()

    with pytest.raises(StoreUnavailable):
        await asking


async def test_connections_that_were_cut_while_idle_are_noticed_by_nobody(remote: Store, cuts: Cuts) -> None:
    before = await _agents(remote)

    cut = cuts.proxy.cut()
    agent = await an_agent(remote)

    assert cut == 3
    assert before == [[]] * 12
    assert await _agents(remote) == [[agent]] * 12


@pytest.mark.parametrize("at", [b"BEGIN", b"INSERT INTO agents"])
async def test_what_was_cut_before_its_end_was_sent_is_done_again(
    remote: Store, cuts: Cuts, at: bytes
) -> None:
    cuts.at, cuts.times = at, 2

    agent = await an_agent(remote)

    assert cuts.times == 0
    assert await remote.agents.page(0) == [agent]


@pytest.mark.parametrize("at", [b"BEGIN", b"SELECT agents", b"COMMIT"])
async def test_what_was_cut_while_it_was_read_is_read_again(remote: Store, cuts: Cuts, at: bytes) -> None:
    agent = await an_agent(remote)
    cuts.at, cuts.times = at, 1

    found = await remote.agents.page(0)

    assert cuts.times == 0
    assert found == [agent]


async def test_what_was_cut_when_its_end_was_sent_is_not_done_again_and_not_acknowledged(
    remote: Store, cuts: Cuts
) -> None:
    conversation = await a_conversation(remote)
    done = 0

    async def unit(_: Connection) -> None:
        nonlocal done
        done += 1

    cuts.at, cuts.times = b"COMMIT", 1
    with pytest.raises(StoreUnavailable, match="not known"):
        await _database(remote).write(unit, tenant=0)

    assert done == 1
    assert await remote.conversations.get(0, conversation.id) == conversation


async def test_what_is_cut_every_time_is_given_up(remote: Store, cuts: Cuts) -> None:
    cuts.at, cuts.times = b"BEGIN", 1000

    with pytest.raises(StoreUnavailable):
        await remote.agents.page(0)
    cuts.times = 0

    assert await remote.agents.page(0) == []


async def test_nobody_waits_long_for_a_server_that_lets_nobody_in(remote: Store, cuts: Cuts) -> None:
    cuts.proxy.refusing = True
    cuts.proxy.cut()

    away = await _agents(remote)
    cuts.proxy.refusing = False

    assert {type(error) for error in away} == {StoreUnavailable}
    assert await _agents(remote) == [[]] * 12


async def test_connections_through_which_nothing_comes_any_more_are_not_kept(
    remote: Store, cuts: Cuts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tertulia.stores.sql.postgresql._SHORT_SECONDS", 0.05)
    await _agents(remote)
    cuts.proxy.flowing.clear()

    stalled = await asyncio.gather(*[remote.agents.page(0) for _ in range(3)], return_exceptions=True)
    monkeypatch.undo()
    stale = cuts.proxy.cut()
    cuts.proxy.flowing.set()

    assert {type(error) for error in stalled} == {StoreUnavailable}
    assert stale >= 3
    assert await _agents(remote) == [[]] * 12


_KILL_MYSELF = Statement(select(func.pg_terminate_backend(func.pg_backend_pid())))
_DIVIDE = Statement(select(literal_column("1/0")))
_ONE = Statement(select(literal_column("1")))
_SLEEP = Statement(select(func.pg_sleep(literal_column("60"))))


async def test_unit_whose_connection_the_server_ends_is_carried_out_again(postgresql: Store) -> None:
    tries = 0

    async def unit(db: Connection) -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            await db.one(_KILL_MYSELF, {})
        return "done"

    assert await _database(postgresql).write(unit, tenant=0) == "done"
    assert tries == 2


async def test_transaction_in_which_something_failed_is_never_acknowledged(postgresql: Store) -> None:
    async def unit(db: Connection) -> None:
        with suppress(asyncpg.DivisionByZeroError):
            await db.run(_DIVIDE, {})

    with pytest.raises(StoreUnavailable, match="given up"):
        await _database(postgresql).write(unit, tenant=0)


async def test_caller_who_goes_away_in_the_middle_leaves_a_connection_that_can_be_used(
    postgres_url: str,
) -> None:
    database = PostgreSQLDatabase(postgres_url, StoreOptions(connections=1))
    await database.open()
    begun = asyncio.Event()

    async def unit(db: Connection) -> None:
        begun.set()
        await db.run(_SLEEP, {})

    async def count(db: Connection) -> object:
        return await db.one(_ONE, {})

    task = asyncio.create_task(database.write(unit, tenant=0))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    found = await database.read(count, tenant=0)
    await database.close()

    assert found == (1,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("statement_timeout", "25s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "10s"),
    ],
)
async def test_server_gives_up_what_takes_too_long(postgresql: Store, name: str, value: str) -> None:
    setting = Statement(select(func.current_setting(literal_column(f"'{name}'"))))

    async def ask(db: Connection) -> object:
        return await db.one(setting, {})

    assert await _database(postgresql).read(ask, tenant=0) == (value,)
