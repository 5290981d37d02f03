import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg
import pytest
from sqlalchemy import bindparam, update
from typing_extensions import override

from tertulia.conversations import Conversation
from tertulia.ids import CONVERSATION, MESSAGE, new_id, to_bytes
from tertulia.messages import Flag, Message
from tertulia.parts import encode_content, text_content
from tertulia.stores import Store, open_store
from tertulia.stores.sql import branching, conversations, marking
from tertulia.stores.sql.conversations import SqlConversations
from tertulia.stores.sql.database import Database, Unit
from tertulia.stores.sql.migrate import upgrade
from tertulia.stores.sql.rows import inserting, message_params
from tertulia.stores.sql.schema import CONVERSATIONS, MESSAGES
from tertulia.stores.sql.statements import Connection, Params, Row, Statement
from tertulia.stores.sql.store import SqlStore
from tertulia.testing.builders import a_branch, a_conversation, a_fork, an_exchange
from tests.postgres import PostgresServer

T = TypeVar("T")

STATEMENTS = {
    "shared": conversations._SHARED,
    "base": conversations._BASE,
    "copy": branching._COPY,
    "add": branching._ADD,
    "segments": branching._SEGMENTS,
    "mark": marking._mark(Flag.DELETED, 8),
    "lock sharers": marking._LOCK_SHARERS,
    "raise": marking._raise(Flag.DELETED, 8),
    "input": marking._INPUT,
    "successor": marking._SUCCESSOR,
    "drop frames": marking._DROP_FRAMES,
}
LONG: Final = 10_000
"""Messages of a conversation that is long."""
PAGE: Final = 50
INSERT_MESSAGE: Final = inserting(MESSAGES)
_STAND_AT: Final = Statement(
    update(CONVERSATIONS)
    .where(CONVERSATIONS.c.id == bindparam("conversation"))
    .values(head=bindparam("new_head"))
)


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_of_a_branch_reads_a_table_through(name: str, sqlite_url: str, tmp_path: Path) -> None:
    upgrade(sqlite_url)
    ready = STATEMENTS[name].sqlite

    raw = sqlite3.connect(tmp_path / "tertulia.db")
    rows = raw.execute(f"EXPLAIN QUERY PLAN {ready.sql}", [1] * len(ready.names)).fetchall()
    raw.close()

    read = [str(row[3]) for row in rows if str(row[3]).startswith(("SCAN", "SEARCH"))]
    assert read
    assert [step for step in read if "tenant=? AND " not in step] == []


def test_shared_messages_are_looked_up_by_their_numbers(sqlite_url: str, tmp_path: Path) -> None:
    upgrade(sqlite_url)
    ready = conversations._SHARED.sqlite

    raw = sqlite3.connect(tmp_path / "tertulia.db")
    rows = raw.execute(f"EXPLAIN QUERY PLAN {ready.sql}", [1] * len(ready.names)).fetchall()
    raw.close()

    by_number = "SEARCH messages USING PRIMARY KEY (tenant=? AND conversation_id=? AND number>? AND number<?)"
    assert by_number in [str(row[3]) for row in rows]


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def sql_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty database of each kind."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
async def sql(sql_url: str) -> AsyncIterator[SqlStore]:
    """An opened, empty store on each database."""
    store = open_store(sql_url)
    assert isinstance(store, SqlStore)
    await store.open()
    yield store
    await store.close()


class _Counting(Database):
    """Counts the statements that units of work carry out."""

    def __init__(self, inner: Database) -> None:
        self._inner = inner
        self.count = 0

    @override
    async def open(self) -> None:
        await self._inner.open()

    @override
    async def close(self) -> None:
        await self._inner.close()

    @override
    async def write(self, unit: Unit[T], *, tenant: int | None) -> T:
        return await self._inner.write(lambda db: unit(_Counted(db, self)), tenant=tenant)

    @override
    async def read(self, unit: Unit[T], *, tenant: int | None) -> T:
        return await self._inner.read(lambda db: unit(_Counted(db, self)), tenant=tenant)

    @override
    async def check_room(self) -> None:
        await self._inner.check_room()


class _Counted(Connection):
    def __init__(self, inner: Connection, counting: _Counting) -> None:
        self._inner, self._counting = inner, counting

    @override
    async def all(self, statement: Statement, params: Params) -> Sequence[Row]:
        self._counting.count += 1
        return await self._inner.all(statement, params)

    @override
    async def one(self, statement: Statement, params: Params) -> Row | None:
        self._counting.count += 1
        return await self._inner.one(statement, params)

    @override
    async def run(self, statement: Statement, params: Params) -> None:
        self._counting.count += 1
        await self._inner.run(statement, params)

    @override
    async def together(self, work: Sequence[tuple[Statement, Params]]) -> None:
        self._counting.count += 1
        await self._inner.together(work)


async def _a_line(store: Store, *, length: int) -> list[Conversation]:
    """Return a conversation, a fork of it, a fork of that and so on, each with two messages of its own."""
    line = [await a_conversation(store)]
    await an_exchange(store, line[0])
    for _ in range(length):
        line.append(await a_fork(store, line[-1], at=2 * len(line)))
        await an_exchange(store, line[-1])
    return line


async def test_plain_conversation_is_read_with_one_statement(sql: SqlStore) -> None:
    [plain] = await _a_line(sql, length=0)
    counting = _Counting(sql.database)
    reading = SqlConversations(counting)

    for after, limit in ((0, 1), (0, 50), (1, 1)):
        assert await reading.messages(0, plain.id, after=after, limit=limit)
        assert await reading.recent(0, plain.id, upto=2 - after, limit=limit)

    assert counting.count == 6


async def test_own_messages_of_a_branch_are_read_with_one_statement(sql: SqlStore) -> None:
    *_, branch = await _a_line(sql, length=2)
    counting = _Counting(sql.database)
    reading = SqlConversations(counting)

    own = await reading.messages(0, branch.id, after=4)
    recent = await reading.recent(0, branch.id, upto=6, limit=2)

    assert [message.number for message in own] == [5, 6]
    assert own == recent[::-1]
    assert counting.count == 2


async def test_number_of_statements_does_not_grow_with_the_depth_of_a_branch(sql: SqlStore) -> None:
    line = await _a_line(sql, length=9)
    counting = _Counting(sql.database)
    kept = SqlConversations(counting)

    counts = []
    for branch in (line[1], line[-1]):
        before = counting.count
        head = (await kept.get(0, branch.id)).head
        assert len(await kept.messages(0, branch.id)) == head
        assert len(await kept.recent(0, branch.id, upto=head, limit=head)) == head
        fork = await kept.fork(0, a_branch(branch, at=head))
        assert len(await kept.recent(0, fork.id, upto=head, limit=head)) == head
        counts.append(counting.count - before)

    assert counts[0] == counts[1]


async def _a_fork_of_a_fork(store: SqlStore, *, length: int) -> Conversation:
    """Return a fork of a fork that shares nearly all messages of a conversation of this length."""
    source = await a_conversation(store)

    async def say(db: Connection) -> None:
        for number in range(1, length + 1):
            await db.run(INSERT_MESSAGE, _said(source, number))
        await db.run(_STAND_AT, {"conversation": to_bytes(source.id), "new_head": length})

    await store.database.write(say, tenant=0)
    return await a_fork(store, await a_fork(store, source, at=length - 5), at=length - 10)


def _said(conversation: Conversation, number: int) -> Params:
    message = Message(id=new_id(MESSAGE), role="user", content=(), number=number)
    return message_params(0, to_bytes(conversation.id), message, encode_content(text_content(f"{number}")))


def _steps_of(statement: Statement, params: Params, path: Path) -> int:
    """Return how many steps SQLite's machine takes for a statement."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    raw = sqlite3.connect(path)
    raw.set_progress_handler(count, 1)
    rows = raw.execute(statement.sqlite.sql, statement.sqlite.bind(params)).fetchall()
    raw.close()
    assert len(rows) == PAGE
    return steps


def _page(branch: Conversation, first: int) -> dict[str, Any]:
    return {
        "tenant": 0,
        "conversation": to_bytes(branch.id),
        "first": first,
        "last": first + PAGE - 1,
    }


async def test_page_of_a_long_branch_costs_what_one_of_a_short_costs(tmp_path: Path) -> None:
    costs = []
    for length in (200, LONG):
        path = tmp_path / f"{length}.db"
        store = open_store(f"sqlite:///{path}")
        assert isinstance(store, SqlStore)
        await store.open()
        branch = await _a_fork_of_a_fork(store, length=length)
        await store.close()
        costs.append([_steps_of(conversations._SHARED, _page(branch, at), path) for at in (1, length // 2)])

    assert costs[0] == costs[1]


async def test_page_of_a_long_branch_reads_no_other_rows_on_postgresql(
    postgres: PostgresServer, postgres_url: str
) -> None:
    store = open_store(postgres_url)
    assert isinstance(store, SqlStore)
    await store.open()
    branch = await _a_fork_of_a_fork(store, length=LONG)
    await store.close()
    ready = conversations._SHARED.postgresql
    postgres.execute("ANALYZE", database="migrated")

    raw = await asyncpg.connect(postgres_url)
    await raw.set_type_codec("uuid", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary")
    async with raw.transaction():
        await raw.execute("SET LOCAL tertulia.tenant = '0'")
        [row] = await raw.fetch(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {ready.sql}", *ready.bind(_page(branch, LONG // 2))
        )
    await raw.close()

    assert _rows_read(json.loads(row[0])[0]["Plan"]) == {"segments": 2, "messages": PAGE}


def _rows_read(plan: dict[str, Any]) -> dict[str, int]:
    """Return how many rows of each table a plan has looked at."""
    read: dict[str, int] = {}
    if "Relation Name" in plan:
        seen = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        read[plan["Relation Name"]] = round(seen * plan["Actual Loops"])
    for part in plan.get("Plans", ()):
        read |= _rows_read(part)
    return read


async def test_branch_that_is_made_while_a_mark_waits_is_told_of_it(
    postgres: PostgresServer, postgres_url: str
) -> None:
    store = open_store(postgres_url)
    await store.open()
    source, *_ = line = await _a_line(store, length=1)
    late = new_id(CONVERSATION)
    making = await asyncpg.connect(postgres.administrator_url("migrated"))
    await making.execute("BEGIN")
    await making.execute(_LOCK, to_bytes(line[-1].id).hex())

    marking = asyncio.create_task(store.conversations.mark(0, source.id, [1], Flag.WITHDRAWN))
    watching = await asyncpg.connect(postgres.administrator_url("migrated"))
    while not await watching.fetchval(_WAITING):
        continue
    for copy in (_COPY_ROW, _COPY_SEGMENTS):
        await making.execute(copy, to_bytes(line[-1].id).hex(), to_bytes(late).hex())
    await making.execute("COMMIT")
    await marking
    versions = [(await store.conversations.get(0, ident)).version for ident in (source.id, line[-1].id, late)]
    for each in (making, watching, store):
        await each.close()

    assert versions == [2, 2, 2]


_LOCK: Final = "SELECT 1 FROM conversations WHERE id = $1::text::uuid FOR UPDATE"
_WAITING: Final = "SELECT count(*) FROM pg_locks WHERE NOT granted"
_COPY_ROW: Final = """
INSERT INTO conversations
SELECT (jsonb_populate_record(old, jsonb_build_object('id', $2::text))).*
FROM conversations AS old WHERE id = $1::text::uuid
"""
_COPY_SEGMENTS: Final = """
INSERT INTO segments
SELECT (jsonb_populate_record(old, jsonb_build_object('conversation_id', $2::text))).*
FROM segments AS old WHERE conversation_id = $1::text::uuid
"""


async def test_erased_text_is_nowhere_in_the_database(sqlite_url: str, tmp_path: Path) -> None:
    store = open_store(sqlite_url)
    await store.open()
    conversation = await a_conversation(store)
    await an_exchange(store, conversation, "the canary asks", "the canary answers")
    branch = await a_fork(store, conversation, at=2)
    raw = sqlite3.connect(tmp_path / "tertulia.db", isolation_level=None)
    raw.execute("UPDATE conversations SET title = 'the canary asks'")

    await store.conversations.mark(0, branch.id, [1, 2], Flag.DELETED)
    await store.close()
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()

    assert b"canary" not in (tmp_path / "tertulia.db").read_bytes()


async def test_title_stays_where_a_message_is_withdrawn(sqlite_url: str, tmp_path: Path) -> None:
    store = open_store(sqlite_url)
    await store.open()
    conversation = await a_conversation(store)
    await an_exchange(store, conversation)
    raw = sqlite3.connect(tmp_path / "tertulia.db", isolation_level=None)
    raw.execute("UPDATE conversations SET title = 'hello'")

    await store.conversations.mark(0, conversation.id, [1], Flag.WITHDRAWN)
    await store.close()
    titles = raw.execute("SELECT title FROM conversations").fetchall()
    raw.close()

    assert titles == [("hello",)]


async def test_many_messages_are_marked_and_many_branches_told(sql: SqlStore) -> None:
    source = await _a_fork_of_a_fork(sql, length=200)
    sharers = [await a_fork(sql, source, at=190) for _ in range(70)]

    await sql.conversations.mark(0, source.id, range(1, 151), Flag.WITHDRAWN)

    shown = await sql.conversations.messages(0, sharers[-1].id, limit=200)
    assert [bool(message.flags) for message in shown] == [True] * 150 + [False] * 40
    assert {(await sql.conversations.get(0, each.id)).version for each in sharers} == {2}
