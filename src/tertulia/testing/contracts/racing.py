"""How every store answers those who meet in it before there is anything to meet at."""

import asyncio
from dataclasses import replace

import pytest

from tertulia.conversations import DEFAULT_TENANT
from tertulia.errors import SessionMismatch
from tertulia.stores.base import Store
from tertulia.testing.builders import a_claimant, a_new_conversation, a_submission, all_texts, an_agent

TENANT = DEFAULT_TENANT


@pytest.mark.asyncio
class RaceContract:
    """One key has one effect and one alias one user, also where the conversation is only being made."""

    async def test_of_many_with_one_key_at_once_one_has_an_effect_under_a_new_alias(
        self, store: Store
    ) -> None:
        agent = await an_agent(store)
        requests = [a_submission(a_new_conversation(agent, alias="mine"), key="k") for _ in range(6)]

        accepted = await asyncio.gather(*[store.runs.accept(each, a_claimant()) for each in requests])

        assert len({a.run.id for a in accepted}) == 1
        assert sum(a.is_new for a in accepted) == 1
        assert sum(a.claim is not None for a in accepted) == 1
        [conversation] = await store.conversations.page(TENANT, agent.id)
        assert await all_texts(store, conversation) == ["hello"]
        assert len(await store.runs.page(TENANT, conversation.id)) == 1

    async def test_of_many_requests_with_one_key_at_once_one_is_taken_under_a_new_alias(
        self, store: Store
    ) -> None:
        agent = await an_agent(store)
        requests = [
            a_submission(a_new_conversation(agent, alias="mine"), f"hello {i}", key="k") for i in range(6)
        ]

        answers = await asyncio.gather(
            *[store.runs.accept(each, a_claimant()) for each in requests], return_exceptions=True
        )

        assert (
            sorted(type(answer).__name__ for answer in answers) == ["Accepted"] + ["IdempotencyMismatch"] * 5
        )
        [conversation] = await store.conversations.page(TENANT, agent.id)
        assert len(await store.runs.page(TENANT, conversation.id)) == 1

    async def test_of_two_users_who_begin_one_alias_at_once_one_gets_it(self, store: Store) -> None:
        agent = await an_agent(store)
        news = [replace(a_new_conversation(agent, alias="ours"), user_id=user) for user in ("ann", "bob") * 3]

        ends = await asyncio.gather(
            *[store.runs.accept(a_submission(new), a_claimant()) for new in news], return_exceptions=True
        )

        [conversation] = await store.conversations.page(TENANT, agent.id)
        taken_in = [not isinstance(end, SessionMismatch) for end in ends]
        assert taken_in == [new.user_id == conversation.user_id for new in news]
        assert len(await store.runs.page(TENANT, conversation.id)) == 3
