"""How every store meets writes that come again with a key."""

import asyncio
from dataclasses import replace

import pytest

from tertulia.conversations import DEFAULT_TENANT, Claim, Conversation, NewConversation
from tertulia.definitions import StoredAgent
from tertulia.errors import (
    ConversationMovedOn,
    DuplicateName,
    IdempotencyMismatch,
    InvalidInput,
    NotFound,
    SessionMismatch,
)
from tertulia.ids import AGENT, RUN, new_id
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    FAILED,
    a_branch,
    a_claimant,
    a_conversation,
    a_definition,
    a_failed_run,
    a_finish,
    a_new_conversation,
    a_once,
    a_submission,
    an_agent,
    an_exchange,
)

TENANT = DEFAULT_TENANT
THEIRS = 7


@pytest.mark.asyncio
class OnceContract:
    """With a key a write happens once, however often it is asked for."""

    async def test_agent_is_made_once(self, store: Store) -> None:
        first = await _agent(store)

        again = await _agent(store)

        assert again == first
        assert await store.agents.page(TENANT) == [first]

    async def test_agent_is_returned_as_it_stands_now(self, store: Store) -> None:
        first = await _agent(store)
        newer = await store.agents.update(TENANT, first.id, a_definition(name="Cook"))

        assert await _agent(store) == newer

    async def test_other_agent_under_the_key_is_refused(self, store: Store) -> None:
        first = await _agent(store)

        with pytest.raises(IdempotencyMismatch):
            await _agent(store, name="Baker", request="another")

        assert await store.agents.page(TENANT) == [first]

    async def test_agent_under_another_key_is_another(self, store: Store) -> None:
        await _agent(store)

        with pytest.raises(DuplicateName):
            await _agent(store, key="other")
        assert (await _agent(store, name="Baker", key="other")).definition.name == "Baker"

    async def test_agent_that_was_refused_does_not_use_up_its_key(self, store: Store) -> None:
        chef = await an_agent(store, name="Chef")
        with pytest.raises(DuplicateName):
            await _agent(store)

        baker = await _agent(store, name="Baker", request="another")

        assert await store.agents.page(TENANT) == [chef, baker]

    async def test_key_of_an_agent_is_that_of_its_tenant(self, store: Store) -> None:
        ours = await _agent(store)

        theirs = await store.agents.create(THEIRS, new_id(AGENT), a_definition(), once=a_once())

        assert (ours.tenant, theirs.tenant) == (TENANT, THEIRS)
        assert ours.id != theirs.id

    async def test_agent_is_changed_once(self, store: Store) -> None:
        agent = await an_agent(store)
        first = await store.agents.update(TENANT, agent.id, a_definition(name="Cook"), once=a_once())
        newest = await store.agents.update(TENANT, agent.id, a_definition(name="Baker"))

        again = await store.agents.update(TENANT, agent.id, a_definition(name="Cook"), once=a_once())

        assert (first.version, newest.version) == (2, 3)
        assert again == newest
        assert await store.agents.get(TENANT, agent.id) == newest

    async def test_change_that_changed_nothing_is_known_too(self, store: Store) -> None:
        agent = await an_agent(store)
        await store.agents.update(TENANT, agent.id, agent.definition, once=a_once())
        newest = await store.agents.update(TENANT, agent.id, a_definition(name="Baker"))

        assert await store.agents.update(TENANT, agent.id, agent.definition, once=a_once()) == newest

    async def test_other_change_under_the_key_is_refused(self, store: Store) -> None:
        agent = await an_agent(store)
        changed = await store.agents.update(TENANT, agent.id, a_definition(name="Cook"), once=a_once())

        with pytest.raises(IdempotencyMismatch):
            await store.agents.update(
                TENANT, agent.id, a_definition(name="Baker"), once=a_once(request="another")
            )

        assert await store.agents.get(TENANT, agent.id) == changed

    async def test_change_that_was_refused_does_not_use_up_its_key(self, store: Store) -> None:
        agent = await an_agent(store)
        await an_agent(store, name="Baker")
        with pytest.raises(DuplicateName):
            await store.agents.update(TENANT, agent.id, a_definition(name="Baker"), once=a_once())

        changed = await store.agents.update(
            TENANT, agent.id, a_definition(name="Cook"), once=a_once(request="another")
        )

        assert (changed.version, changed.definition.name) == (2, "Cook")

    async def test_key_of_a_change_is_that_of_its_agent(self, store: Store) -> None:
        chef, baker = await an_agent(store, name="Chef"), await an_agent(store, name="Baker")

        changed = [
            await store.agents.update(TENANT, agent.id, a_definition(name=name), once=a_once())
            for agent, name in ((chef, "Cook"), (baker, "Pastry cook"))
        ]

        assert [agent.version for agent in changed] == [2, 2]

    async def test_conversation_is_made_once(self, store: Store) -> None:
        agent = await an_agent(store)
        first = await _conversation(store, a_new_conversation(agent))
        await an_exchange(store, first)

        again = await _conversation(store, a_new_conversation(agent))

        assert (again.id, again.head) == (first.id, 2)
        assert await store.conversations.page(TENANT, agent.id) == [again]

    async def test_other_conversation_under_the_key_is_refused(self, store: Store) -> None:
        agent = await an_agent(store)
        await _conversation(store, a_new_conversation(agent))
        other = a_new_conversation(agent, alias="other")

        with pytest.raises(IdempotencyMismatch):
            await _conversation(store, other, request="another")

        with pytest.raises(NotFound):
            await store.conversations.get(TENANT, "other")

    async def test_key_stands_for_a_conversation_that_was_there_already(self, store: Store) -> None:
        agent = await an_agent(store)
        made = await a_conversation(store, agent, alias="mine")

        for _ in range(2):
            assert await _conversation(store, a_new_conversation(agent, alias="mine")) == made
        with pytest.raises(IdempotencyMismatch):
            await _conversation(store, a_new_conversation(agent), request="another")

    async def test_key_of_a_conversation_is_that_of_its_agent(self, store: Store) -> None:
        chef, baker = await an_agent(store, name="Chef"), await an_agent(store, name="Baker")

        made = [await _conversation(store, a_new_conversation(agent)) for agent in (chef, baker)]

        assert [row.agent_id for row in made] == [chef.id, baker.id]

    async def test_conversation_that_was_refused_does_not_use_up_its_key(self, store: Store) -> None:
        chef, baker = await an_agent(store, name="Chef"), await an_agent(store, name="Baker")
        await a_conversation(store, chef, alias="taken")
        with pytest.raises(SessionMismatch):
            await _conversation(store, a_new_conversation(baker, alias="taken"))

        made = await _conversation(store, a_new_conversation(baker), request="another")

        assert made.agent_id == baker.id

    async def test_branch_is_made_once(self, store: Store) -> None:
        source = await _a_source(store)
        first = await _fork(store, source)
        await an_exchange(store, first)

        again = await _fork(store, source)

        assert (again.id, again.head) == (first.id, 3)
        assert len(await store.conversations.page(TENANT, source.agent_id)) == 2

    async def test_other_branch_under_the_key_is_refused(self, store: Store) -> None:
        source = await _a_source(store)
        await _fork(store, source)

        with pytest.raises(IdempotencyMismatch):
            await _fork(store, source, at=2, request="another")

        assert len(await store.conversations.page(TENANT, source.agent_id)) == 2

    async def test_branch_that_was_refused_does_not_use_up_its_key(self, store: Store) -> None:
        source = await _a_source(store)
        with pytest.raises(InvalidInput):
            await _fork(store, source, at=3)

        assert (await _fork(store, source, at=2, request="another")).base == 2

    async def test_key_of_a_branch_is_that_of_its_source(self, store: Store) -> None:
        source = await _a_source(store)
        first = await _fork(store, source)

        second = await _fork(store, first)

        assert second.parent_id == first.id
        with pytest.raises(IdempotencyMismatch):
            await store.runs.accept(a_submission(source, "a question", key="k"), a_claimant())
        assert (await store.runs.accept(a_submission(second, "a question", key="k"), None)).is_new

    async def test_run_is_repeated_once(self, store: Store) -> None:
        failed = await a_failed_run(store, a_submission(await a_conversation(store)))
        first = await store.runs.retry(TENANT, failed.run.id, new_id(RUN), a_claimant(), once=a_once())

        again = await store.runs.retry(TENANT, failed.run.id, new_id(RUN), a_claimant(), once=a_once())

        assert first.is_new
        assert first.claim is not None
        assert (again.run, again.claim, again.is_new) == (first.run, None, False)
        assert again.conversation == first.conversation
        assert len(await store.runs.page(TENANT, first.conversation.id)) == 2

    async def test_repeated_run_is_returned_as_it_stands_now(self, store: Store) -> None:
        failed = await a_failed_run(store, a_submission(await a_conversation(store)))
        first = await store.runs.retry(TENANT, failed.run.id, new_id(RUN), a_claimant(), once=a_once())
        assert first.claim is not None
        await store.runs.commit(first.claim.lease, a_finish(ending=FAILED), None)

        again = await store.runs.retry(TENANT, failed.run.id, new_id(RUN), a_claimant(), once=a_once())

        assert (again.run, again.is_new) == (await store.runs.get(TENANT, first.run.id), False)

    async def test_other_repeat_under_the_key_is_refused(self, store: Store) -> None:
        failed = await a_failed_run(store, a_submission(await a_conversation(store)))
        await store.runs.retry(TENANT, failed.run.id, new_id(RUN), a_claimant(), once=a_once())

        with pytest.raises(IdempotencyMismatch):
            await store.runs.retry(
                TENANT, failed.run.id, new_id(RUN), a_claimant(), once=a_once(request="another")
            )
        with pytest.raises(ConversationMovedOn):
            await store.runs.retry(TENANT, failed.run.id, new_id(RUN), a_claimant(), once=a_once("other"))

    async def test_repeat_that_was_refused_does_not_use_up_its_key(self, store: Store) -> None:
        conversation = await a_conversation(store)
        failed = await a_failed_run(store, a_submission(conversation))
        held = await store.runs.retry(TENANT, failed.run.id, new_id(RUN), a_claimant())
        with pytest.raises(ConversationMovedOn):
            await store.runs.retry(TENANT, failed.run.id, new_id(RUN), a_claimant(), once=a_once())
        assert held.claim is not None
        await store.runs.commit(held.claim.lease, a_finish(ending=FAILED), None)

        again = await store.runs.retry(
            TENANT, failed.run.id, new_id(RUN), a_claimant(), once=a_once(request="another")
        )

        assert again.is_new

    async def test_key_of_a_repeat_is_that_of_the_failed_run(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim: Claim | None = await a_failed_run(store, a_submission(conversation, key="k"))

        for n in (2, 3, 4):
            assert claim is not None
            accepted = await store.runs.retry(TENANT, claim.run.id, new_id(RUN), a_claimant(), once=a_once())
            claim = accepted.claim
            assert claim is not None
            assert (accepted.run.n, accepted.is_new) == (n, True)
            await store.runs.commit(claim.lease, a_finish(ending=FAILED), None)

    async def test_of_many_who_ask_at_once_one_has_an_effect(self, store: Store) -> None:
        agent = await an_agent(store, name="Baker")
        source = await _a_source(store, agent)
        failed = await a_failed_run(store, a_submission(source, "again"))
        run_ids = [new_id(RUN) for _ in range(6)]

        agents = await asyncio.gather(*[_agent(store) for _ in range(6)])
        made = await asyncio.gather(*[_conversation(store, a_new_conversation(agent)) for _ in range(6)])
        branches = await asyncio.gather(*[_fork(store, source) for _ in range(6)])
        repeated = await asyncio.gather(
            *[
                store.runs.retry(TENANT, failed.run.id, run_id, a_claimant(), once=a_once())
                for run_id in run_ids
            ]
        )

        assert agents == [agents[0]] * 6
        assert made == [made[0]] * 6
        assert branches == [branches[0]] * 6
        assert {a.run.id for a in repeated} == {repeated[0].run.id}
        assert sum(a.is_new for a in repeated) == 1
        assert len(await store.conversations.page(TENANT, agent.id)) == 3


async def _agent(
    store: Store, *, name: str = "Chef", key: str = "k", request: str = "the same"
) -> StoredAgent:
    return await store.agents.create(
        TENANT, new_id(AGENT), a_definition(name=name), once=a_once(key, request)
    )


async def _conversation(store: Store, new: NewConversation, *, request: str = "the same") -> Conversation:
    return await store.conversations.create(TENANT, new, once=a_once(request=request))


async def _fork(
    store: Store, source: Conversation, *, at: int = 1, request: str = "the same"
) -> Conversation:
    branch = replace(a_branch(source, at=at))
    return await store.conversations.fork(TENANT, branch, once=a_once(request=request))


async def _a_source(store: Store, agent: StoredAgent | None = None) -> Conversation:
    source = await a_conversation(store, agent)
    await an_exchange(store, source)
    return await store.conversations.get(TENANT, source.id)
