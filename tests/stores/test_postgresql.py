from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from tertulia.conversations import Conversation
from tertulia.errors import InvalidInput
from tertulia.ids import to_bytes
from tertulia.stores import Store, open_store
from tertulia.testing.builders import (
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_queued_run,
    a_submission,
    an_agent,
)


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
    await other.execute("BEGIN")
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
