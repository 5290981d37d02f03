from collections.abc import Sequence
from dataclasses import replace

import pytest
from typing_extensions import override

from tertulia.conversations import DEFAULT_TENANT, Claim, Commit, Step
from tertulia.stores import Store, open_store
from tertulia.stores.sql import accepting, committing
from tertulia.stores.sql.statements import Connection, Params, Row, Statement
from tertulia.stores.sql.store import SqlStore
from tertulia.testing.builders import (
    COMPLETED,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_finish,
    a_frame,
    a_step,
    a_submission,
    an_exchange,
)
from tertulia.usage import Usage


class Counting(Connection):
    """Counts how often the database is asked for something."""

    def __init__(self, inner: Connection) -> None:
        self._inner = inner
        self.count = 0

    @override
    async def all(self, statement: Statement, params: Params) -> Sequence[Row]:
        self.count += 1
        return await self._inner.all(statement, params)

    @override
    async def one(self, statement: Statement, params: Params) -> Row | None:
        self.count += 1
        return await self._inner.one(statement, params)

    @override
    async def run(self, statement: Statement, params: Params) -> None:
        self.count += 1
        await self._inner.run(statement, params)

    @override
    async def together(self, work: Sequence[tuple[Statement, Params]]) -> None:
        self.count += 1
        await self._inner.together(work)


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def sql_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty database of each kind."""
    url: str = request.getfixturevalue(request.param)
    return url


async def test_plain_answer_takes_two_statements_to_commit(sql_url: str) -> None:
    store = open_store(sql_url)
    assert isinstance(store, SqlStore)
    await store.open()
    claim = await _a_run(store)
    answer = replace(a_finish("an answer"), steps=(a_step(),), frames=(a_frame(0, 9),), usage=Usage())

    async def unit(db: Connection) -> int:
        counting = Counting(db)
        await committing.commit(counting, claim.lease, answer, None)
        return counting.count

    count = await store.database.write(unit, tenant=DEFAULT_TENANT)
    run = await store.runs.get(DEFAULT_TENANT, claim.run.id)
    await store.close()

    assert run.status is COMPLETED.status
    assert count == 2


@pytest.mark.parametrize(("is_closed", "statements"), [(False, 2), (True, 3)])
async def test_message_for_an_open_conversation_takes_two_statements_and_one_that_opens_it_three(
    sql_url: str, is_closed: bool, statements: int
) -> None:
    store = open_store(sql_url)
    assert isinstance(store, SqlStore)
    await store.open()
    conversation = await a_conversation(store)
    await an_exchange(store, conversation)
    if is_closed:
        await store.conversations.set_closed(DEFAULT_TENANT, conversation.id, "done")
    asked = replace(a_submission(conversation), reopens=is_closed)

    async def unit(db: Connection) -> int:
        counting = Counting(db)
        await accepting.accept(counting, asked, a_claimant())
        return counting.count

    count = await store.database.write(unit, tenant=DEFAULT_TENANT)
    await store.close()

    assert count == statements


async def test_usage_of_nothing_takes_the_place_of_what_was_there(store: Store) -> None:
    claim = await _a_run(store)
    await store.runs.commit(claim.lease, Commit(usage=Usage(input_tokens=5)), None)

    await store.runs.commit(claim.lease, Commit(usage=Usage()), None)

    assert (await store.runs.get(DEFAULT_TENANT, claim.run.id)).usage == Usage()


async def test_steps_of_one_path_in_one_commit_follow_each_other(store: Store) -> None:
    claim = await _a_run(store)
    finished, other = a_step(output='"first"'), a_step(output='"other"')
    steps = (
        replace(finished, ended_at=0),
        finished,
        replace(finished, output='"ignored"'),
        replace(other, identity=bytes(32)),
        other,
    )

    await store.runs.commit(claim.lease, Commit(steps=steps[:3]), None)
    after_three = await _journal(store, claim)
    await store.runs.commit(claim.lease, Commit(steps=steps[3:]), None)

    assert after_three == [finished]
    assert await _journal(store, claim) == [other]


async def _a_run(store: Store) -> Claim:
    return await a_claimed_run(store, a_submission(await a_conversation(store)))


async def _journal(store: Store, claim: Claim) -> list[Step]:
    return await store.runs.steps(DEFAULT_TENANT, claim.run.id)
