"""How every store keeps tenants apart."""

from dataclasses import replace

import pytest

from tertulia.conversations import DEFAULT_TENANT, Claim, Commit, Stop
from tertulia.definitions import StoredAgent
from tertulia.errors import LeaseLost, NotFound
from tertulia.ids import RUN, new_id
from tertulia.messages import Flag
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    FAILED,
    HOUR_US,
    a_branch,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_decision,
    a_definition,
    a_failed_run,
    a_finish,
    a_frame,
    a_new_conversation,
    a_queued_run,
    a_step,
    a_submission,
    a_waiting_run,
    all_kept,
    all_texts,
    an_agent,
    an_exchange,
)

OURS = DEFAULT_TENANT
THEIRS = 7


@pytest.mark.asyncio
class IsolationContract:
    """What one tenant has is not there for another."""

    async def test_agents_of_others_are_not_there(self, store: Store) -> None:
        agent = await an_agent(store, name="Chef", tenant=OURS)

        for name in (agent.id, "Chef"):
            with pytest.raises(NotFound):
                await store.agents.get(THEIRS, name)
        with pytest.raises(NotFound):
            await store.agents.update(THEIRS, agent.id, a_definition(name="Stolen"))
        assert await store.agents.page(THEIRS) == []
        assert await store.agents.page(OURS) == [agent]

    async def test_tenants_may_use_the_same_names(self, store: Store) -> None:
        ours, theirs = await _an_agent_each(store)

        assert (ours.tenant, theirs.tenant) == (OURS, THEIRS)
        assert await store.agents.get(OURS, "Chef") == ours
        assert await store.agents.get(THEIRS, "Chef") == theirs
        assert (await store.agents.update(THEIRS, theirs.id, a_definition(model="local"))).version == 2
        assert await store.agents.get(OURS, "Chef") == ours

    async def test_conversations_of_others_are_not_there(self, store: Store) -> None:
        ours, theirs = await _an_agent_each(store)
        conversation = await a_conversation(store, ours, alias="mine")
        await a_claimed_run(store, a_submission(conversation))
        await a_queued_run(store, a_submission(conversation))

        kept = store.conversations
        for name in (conversation.id, "mine"):
            with pytest.raises(NotFound):
                await kept.get(THEIRS, name)
            for reason in ("over", None):
                with pytest.raises(NotFound):
                    await kept.set_closed(THEIRS, name, reason)
        assert (await kept.get(OURS, "mine")).closed is None
        assert await kept.messages(THEIRS, conversation.id) == []
        assert await kept.recent(THEIRS, conversation.id, upto=9, limit=9) == []
        assert await kept.pending(THEIRS, conversation.id) == []
        assert await kept.page(THEIRS, ours.id) == []
        assert await kept.newest(THEIRS, [ours.id, theirs.id], each=9) == {ours.id: [], theirs.id: []}

    async def test_agents_of_others_get_no_conversations(self, store: Store) -> None:
        ours = await an_agent(store)
        new = a_new_conversation(ours)

        with pytest.raises(NotFound):
            await store.conversations.create(THEIRS, new)
        with pytest.raises(NotFound):
            await store.runs.accept(replace(a_submission(new), tenant=THEIRS), a_claimant())

        assert await store.conversations.page(OURS, ours.id) == []

    async def test_tenants_may_use_the_same_aliases(self, store: Store) -> None:
        ours, theirs = await _an_agent_each(store)

        one = await a_conversation(store, ours, alias="main")
        other = await a_conversation(store, theirs, alias="main")

        assert one.id != other.id
        assert await store.conversations.get(OURS, "main") == one
        assert await store.conversations.get(THEIRS, "main") == other

    async def test_requests_do_not_reach_conversations_of_others(self, store: Store) -> None:
        ours, _ = await _an_agent_each(store)
        conversation = await a_conversation(store, ours, alias="mine")

        for name in (conversation.id, "mine"):
            with pytest.raises(NotFound):
                await store.runs.accept(replace(a_submission(name), tenant=THEIRS), a_claimant())

        assert (await store.conversations.get(OURS, "mine")).head == 0

    async def test_runs_of_others_are_not_there(self, store: Store) -> None:
        claim = await _our_run(store)

        with pytest.raises(NotFound):
            await store.runs.get(THEIRS, claim.run.id)
        assert await store.runs.steps(THEIRS, claim.run.id) == []
        assert await store.runs.frames(THEIRS, claim.run.id) == []

    async def test_runs_of_others_are_not_retried(self, store: Store) -> None:
        ours, _ = await _an_agent_each(store)
        failed = await a_failed_run(store, a_submission(await a_conversation(store, ours)))

        with pytest.raises(NotFound):
            await store.runs.retry(THEIRS, failed.run.id, new_id(RUN), a_claimant())

    async def test_leases_of_others_are_worth_nothing(self, store: Store) -> None:
        claim = await _our_run(store)
        stolen = replace(claim.lease, tenant=THEIRS)

        for commit in (Commit(steps=(a_step("x"),)), a_finish("zombie"), Commit(ending=FAILED)):
            with pytest.raises(LeaseLost):
                await store.runs.commit(stolen, commit, None)
        assert await store.runs.renew([stolen], lease_us=HOUR_US) == set()
        await store.runs.release([stolen])

        assert await store.runs.claim(a_claimant(), limit=9) == []
        assert await store.runs.get(OURS, claim.run.id) == claim.run
        assert await all_texts(store, claim.conversation) == ["hello"]

    async def test_runs_of_others_are_not_stopped_listed_or_decided_about(self, store: Store) -> None:
        ours, _ = await _an_agent_each(store)
        claim = await a_waiting_run(store, a_submission(await a_conversation(store, ours)))
        run_id = claim.run.id

        for asked in (
            store.runs.stop(THEIRS, run_id, Stop.CANCEL, a_claimant()),
            store.runs.decide(THEIRS, run_id, a_decision(), a_claimant()),
        ):
            with pytest.raises(NotFound):
                await asked
        assert await store.runs.waiting(THEIRS) == []
        assert await store.runs.page(THEIRS, claim.conversation.id) == []

        assert [run.id for run in await store.runs.waiting(OURS)] == [run_id]

    async def test_events_of_others_are_not_recorded(self, store: Store) -> None:
        claim = await _our_run(store)
        await store.runs.stop(OURS, claim.run.id, Stop.CANCEL, None)
        stolen = replace(claim.lease, tenant=THEIRS)

        assert await store.runs.record([(stolen, a_frame()), (claim.lease, a_frame(1))]) == {claim.run.id}

        assert await store.runs.asked([stolen]) == {}
        assert await store.runs.frames(OURS, claim.run.id) == [a_frame(1)]

    async def test_events_of_many_tenants_are_recorded_at_once(self, store: Store) -> None:
        claims = [
            await a_claimed_run(store, a_submission(await a_conversation(store, agent)))
            for agent in await _an_agent_each(store)
        ]
        await store.runs.stop(THEIRS, claims[1].run.id, Stop.KEEP, None)

        stored = await store.runs.record([(claim.lease, a_frame()) for claim in claims])

        assert stored == {claim.run.id for claim in claims}
        for claim in claims:
            assert await store.runs.frames(claim.run.tenant, claim.run.id) == [a_frame()]
        assert await store.runs.asked([c.lease for c in claims]) == {claims[1].run.id: Stop.KEEP}

    async def test_conversations_of_others_are_neither_branched_nor_marked(self, store: Store) -> None:
        ours, _ = await _an_agent_each(store)
        source = await a_conversation(store, ours, alias="mine")
        await an_exchange(store, source)
        before = await all_kept(store, source)
        branch = a_branch(source, at=1)

        for asked in (
            store.conversations.fork(THEIRS, branch),
            store.conversations.fork(THEIRS, replace(branch, source="mine")),
            store.conversations.mark(THEIRS, source.id, [1], Flag.DELETED),
            store.runs.accept(replace(a_submission(branch), tenant=THEIRS), a_claimant()),
        ):
            with pytest.raises(NotFound):
                await asked

        assert await all_kept(store, source) == before
        assert len(await store.conversations.page(OURS, ours.id)) == 1

    async def test_keys_of_tenants_do_not_clash(self, store: Store) -> None:
        ours, theirs = await _an_agent_each(store)
        for agent in (ours, theirs):
            submission = a_submission(a_new_conversation(agent), agent.id, key="k")
            accepted = await store.runs.accept(replace(submission, tenant=agent.tenant), a_claimant())
            assert accepted.is_new
            assert accepted.run.tenant == accepted.conversation.tenant == agent.tenant

    async def test_owners_serve_every_tenant(self, store: Store) -> None:
        for agent in await _an_agent_each(store):
            await a_queued_run(store, a_submission(await a_conversation(store, agent)))

        claims = await store.runs.claim(a_claimant(), limit=9)

        assert {claim.run.tenant for claim in claims} == {OURS, THEIRS}
        assert {claim.lease.tenant for claim in claims} == {OURS, THEIRS}
        for claim in claims:
            assert await store.runs.get(claim.run.tenant, claim.run.id) == claim.run


async def _an_agent_each(store: Store) -> tuple[StoredAgent, StoredAgent]:
    return await an_agent(store, tenant=OURS), await an_agent(store, tenant=THEIRS)


async def _our_run(store: Store) -> Claim:
    ours, _ = await _an_agent_each(store)
    claim = await a_claimed_run(store, a_submission(await a_conversation(store, ours)))
    await store.runs.commit(claim.lease, Commit(steps=(a_step(),)), None)
    return replace(claim, run=await store.runs.get(OURS, claim.run.id))
