import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tertulia.errors import DuplicateName, IdempotencyMismatch, NotFound
from tertulia.ids import AGENT, new_id
from tertulia.stores import Store, open_store
from tertulia.testing.builders import (
    a_branch,
    a_claimant,
    a_conversation,
    a_definition,
    a_new_conversation,
    a_once,
    a_submission,
    an_agent,
)


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def sql_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty database of each kind."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
async def sql(sql_url: str) -> AsyncIterator[Store]:
    """An opened, empty store on each database."""
    store = open_store(sql_url)
    await store.open()
    yield store
    await store.close()


async def test_key_that_found_a_conversation_leads_to_that_one(sql: Store) -> None:
    agent = await an_agent(sql)
    there = await a_conversation(sql, agent, alias="theirs")
    create = sql.conversations.create

    first = await create(0, a_new_conversation(agent, alias="theirs"), once=a_once())
    again = await create(0, a_new_conversation(agent), once=a_once())

    assert first == again == there


async def test_key_of_a_request_that_failed_is_free(sql: Store) -> None:
    source = await a_conversation(sql)
    await a_conversation(sql, await an_agent(sql, name="Other"), alias="taken")
    unknown = a_new_conversation(await an_agent(sql, name="Third"), agent_version=2)

    with pytest.raises(DuplicateName):
        await sql.agents.create(0, new_id(AGENT), a_definition(name="Other"), once=a_once())
    with pytest.raises(NotFound):
        await sql.conversations.create(0, unknown, once=a_once())
    made = await sql.agents.create(0, new_id(AGENT), a_definition(name="New"), once=a_once(request="next"))
    fork = await sql.conversations.fork(0, a_branch(source, at=0), once=a_once(request="next"))

    assert made.definition.name == "New"
    assert fork.parent_id == source.id


async def test_key_of_another_kind_of_request_is_refused(sql: Store) -> None:
    source = await a_conversation(sql)
    once = a_once("k", "hello")
    accepted = await sql.runs.accept(a_submission(source, "hello", key="k"), a_claimant())
    forked = a_branch(source, at=0)

    with pytest.raises(IdempotencyMismatch):
        await sql.conversations.fork(0, forked, once=once)
    await sql.conversations.fork(0, forked, once=a_once("other", "a fork"))
    with pytest.raises(IdempotencyMismatch):
        await sql.runs.accept(a_submission(source, "hello", key="other"), None)

    assert accepted.is_new
    assert (await sql.conversations.get(0, source.id)).head == 1


async def test_of_many_with_one_key_at_once_one_makes_it(sql: Store) -> None:
    agent = await an_agent(sql)
    source = await a_conversation(sql, agent)
    count = 8

    agents = await asyncio.gather(
        *[sql.agents.create(0, new_id(AGENT), a_definition(name="New"), once=a_once()) for _ in range(count)]
    )
    made = await asyncio.gather(
        *[sql.conversations.create(0, a_new_conversation(agent), once=a_once()) for _ in range(count)]
    )
    forks = await asyncio.gather(
        *[sql.conversations.fork(0, a_branch(source, at=0), once=a_once()) for _ in range(count)]
    )

    assert agents == [agents[0]] * count
    assert made == [made[0]] * count
    assert forks == [forks[0]] * count
    assert len(await sql.conversations.page(0, agent.id)) == 3


async def test_key_that_is_over_is_a_new_one(sqlite_url: str, tmp_path: Path) -> None:
    store = open_store(sqlite_url)
    await store.open()
    agent = await an_agent(store)
    first = await store.conversations.create(0, a_new_conversation(agent), once=a_once())
    raw = sqlite3.connect(tmp_path / "tertulia.db", isolation_level=None)
    raw.execute("UPDATE idempotency SET expires = 1")
    raw.close()

    second = await store.conversations.create(0, a_new_conversation(agent), once=a_once(request="another"))
    again = await store.conversations.create(0, a_new_conversation(agent), once=a_once(request="another"))
    await store.close()

    assert first != second
    assert second == again
