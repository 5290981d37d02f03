"""How every store lists the runs of a conversation."""

import pytest

from tertulia.conversations import DEFAULT_TENANT, RunStatus, Stop
from tertulia.ids import CONVERSATION, new_id
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    a_claimed_run,
    a_conversation,
    a_failed_run,
    a_queued_run,
    a_submission,
    a_waiting_run,
    an_agent,
    an_exchange,
)

TENANT = DEFAULT_TENANT


@pytest.mark.asyncio
class RunListContract:
    """The runs of a conversation, whatever has become of them."""

    async def test_runs_are_listed_in_order_of_acceptance(self, store: Store) -> None:
        conversation = await a_conversation(store)
        ids = [(await an_exchange(store, conversation)).run.id]
        ids.append((await a_failed_run(store, a_submission(conversation))).run.id)
        ids.append((await a_claimed_run(store, a_submission(conversation))).run.id)
        for _ in range(2):
            ids.append((await a_queued_run(store, a_submission(conversation))).run.id)
        await store.runs.stop(TENANT, ids[3], Stop.CANCEL, None)

        runs = await store.runs.page(TENANT, conversation.id)

        assert runs == [await store.runs.get(TENANT, run_id) for run_id in ids]
        assert [run.n for run in runs] == [1, 2, 3, 4, 5]
        assert [run.status for run in runs] == [
            RunStatus.COMPLETED,
            RunStatus.FAILED,
            RunStatus.RUNNING,
            RunStatus.CANCELLED,
            RunStatus.QUEUED,
        ]

    async def test_runs_are_listed_in_pages(self, store: Store) -> None:
        conversation = await a_conversation(store)
        for _ in range(5):
            await an_exchange(store, conversation)
        runs = await store.runs.page(TENANT, conversation.id)

        for after in range(7):
            for limit in (1, 3, 100):
                page = await store.runs.page(TENANT, conversation.id, after=after, limit=limit)
                assert page == runs[after:][:limit]

    async def test_runs_of_other_conversations_are_not_listed(self, store: Store) -> None:
        one = await a_conversation(store, await an_agent(store, name="A"))
        other = await a_conversation(store, await an_agent(store, name="B"))
        await an_exchange(store, other)
        claim = await a_waiting_run(store, a_submission(one))

        assert [run.id for run in await store.runs.page(TENANT, one.id)] == [claim.run.id]
        for unknown in (new_id(CONVERSATION), "nope", ""):
            assert await store.runs.page(TENANT, unknown) == []
