"""What every store keeps for providers."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from tertulia.conversations import DEFAULT_TENANT, Commit, Conversation
from tertulia.errors import InvalidInput, NotFound, VersionMoved
from tertulia.ids import CONVERSATION
from tertulia.messages import Flag
from tertulia.stores.base import KeptState, Store
from tertulia.testing.builders import (
    CANCELLED,
    a_branch,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_finish,
    a_fork,
    a_new_conversation,
    a_submission,
    an_agent,
    an_exchange,
)
from tertulia.testing.contracts.content import any_text

TENANT = DEFAULT_TENANT
OTHERS = 7
USER = "user:somebody"

_FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def a_state(store: Store, scope: str, source: str = "facts", value: str = '{"a":1}') -> int:
    """Have a provider keep something where it keeps nothing yet; return the version."""
    return await store.states.put(TENANT, scope, source, value, expected_version=0)


async def values_of(store: Store, scope: str) -> dict[str, str]:
    """Return what providers keep there, by source."""
    return {source: kept.value for source, kept in (await store.states.all_of(TENANT, scope)).items()}


async def a_scope(store: Store, kind: str) -> str:
    """Return the scope of a user, or of a conversation that is there."""
    return USER if kind == "user" else (await a_conversation(store)).id


each_scope = pytest.mark.parametrize("kind", ["user", "conversation"])


@pytest.mark.asyncio
class StateContract:
    """What a provider has written it reads again, unless somebody has written there meanwhile."""

    @each_scope
    async def test_state_is_read_as_it_was_written(self, store: Store, kind: str) -> None:
        scope = await a_scope(store, kind)

        version = await a_state(store, scope, value='{"b":2,"a":1.0}')

        assert version == 1
        assert await store.states.get(TENANT, scope, "facts") == KeptState(value='{"b":2,"a":1.0}', version=1)
        assert await store.states.get(TENANT, scope, "fact") is None

    @each_scope
    async def test_nothing_is_there_before(self, store: Store, kind: str) -> None:
        scope = await a_scope(store, kind)

        assert await store.states.get(TENANT, scope, "facts") is None
        assert await store.states.all_of(TENANT, scope) == {}
        assert await store.states.forget(TENANT, scope) == 0

    @pytest.mark.parametrize("scope", [f"{CONVERSATION}_{7:032x}", "nobody's", ""])
    async def test_nothing_is_to_be_read_of_a_conversation_that_is_not_there(
        self, store: Store, scope: str
    ) -> None:
        assert await store.states.get(TENANT, scope, "facts") is None
        assert await store.states.all_of(TENANT, scope) == {}
        assert await store.states.forget(TENANT, scope) == 0

    @each_scope
    async def test_version_counts_the_changes(self, store: Store, kind: str) -> None:
        scope = await a_scope(store, kind)

        versions = [
            await store.states.put(TENANT, scope, "facts", f"[{version}]", expected_version=version)
            for version in range(3)
        ]

        assert versions == [1, 2, 3]
        assert await store.states.get(TENANT, scope, "facts") == KeptState(value="[2]", version=3)

    @each_scope
    @pytest.mark.parametrize("value", ["{}", None])
    async def test_who_has_read_another_version_writes_nothing(
        self, store: Store, kind: str, value: str | None
    ) -> None:
        scope = await a_scope(store, kind)
        await a_state(store, scope)
        await store.states.put(TENANT, scope, "facts", "[2]", expected_version=1)

        for stale in (0, 1, 3):
            with pytest.raises(VersionMoved):
                await store.states.put(TENANT, scope, "facts", value, expected_version=stale)

        assert await store.states.get(TENANT, scope, "facts") == KeptState(value="[2]", version=2)

    @each_scope
    async def test_what_is_taken_away_is_gone_and_may_come_again(self, store: Store, kind: str) -> None:
        scope = await a_scope(store, kind)
        await a_state(store, scope)

        gone = await store.states.put(TENANT, scope, "facts", None, expected_version=1)

        assert gone == 0
        assert await store.states.get(TENANT, scope, "facts") is None
        with pytest.raises(VersionMoved):
            await store.states.put(TENANT, scope, "facts", "{}", expected_version=1)
        with pytest.raises(VersionMoved):
            await store.states.put(TENANT, scope, "facts", None, expected_version=1)
        assert await store.states.put(TENANT, scope, "facts", None, expected_version=0) == 0
        assert await a_state(store, scope) == 1

    @each_scope
    @pytest.mark.parametrize("version", [0, 1])
    async def test_of_many_who_have_read_one_version_one_writes(
        self, store: Store, kind: str, version: int
    ) -> None:
        scope = await a_scope(store, kind)
        if version:
            await a_state(store, scope)

        ends = await asyncio.gather(
            *[store.states.put(TENANT, scope, "facts", f"[{i}]", expected_version=version) for i in range(6)],
            return_exceptions=True,
        )

        written = [i for i, end in enumerate(ends) if end == version + 1]
        assert len(written) == 1
        assert sum(isinstance(end, VersionMoved) for end in ends) == 5
        kept = await store.states.get(TENANT, scope, "facts")
        assert kept == KeptState(value=f"[{written[0]}]", version=version + 1)

    @each_scope
    async def test_many_sources_write_beside_each_other(self, store: Store, kind: str) -> None:
        scope = await a_scope(store, kind)

        await asyncio.gather(*[a_state(store, scope, f"p{i}", f"[{i}]") for i in range(8)])

        assert await values_of(store, scope) == {f"p{i}": f"[{i}]" for i in range(8)}

    @pytest.mark.parametrize("value", ["{}", None])
    @pytest.mark.parametrize("scope", [f"{CONVERSATION}_{7:032x}", "nobody's", "the alias", "user", ""])
    async def test_nothing_is_kept_of_a_conversation_that_is_not_there(
        self, store: Store, scope: str, value: str | None
    ) -> None:
        await a_conversation(store, alias="the alias")

        with pytest.raises(NotFound):
            await store.states.put(TENANT, scope, "facts", value, expected_version=0)

        assert await store.states.all_of(TENANT, scope) == {}

    async def test_what_is_forgotten_is_that_of_one_scope(self, store: Store) -> None:
        conversation = await a_conversation(store)
        for scope in (USER, "user:somebody else", conversation.id):
            await a_state(store, scope, "facts")
            await a_state(store, scope, "view:summary")

        forgotten = await store.states.forget(TENANT, USER)

        assert forgotten == 2
        assert await store.states.all_of(TENANT, USER) == {}
        for scope in ("user:somebody else", conversation.id):
            assert set(await values_of(store, scope)) == {"facts", "view:summary"}
        assert await store.states.forget(TENANT, conversation.id) == 2
        assert await store.states.all_of(TENANT, conversation.id) == {}

    async def test_conversation_stays_as_it_is(self, store: Store) -> None:
        conversation = await a_conversation(store)

        await a_state(store, conversation.id)

        assert await store.conversations.get(TENANT, conversation.id) == conversation

    @_FEW
    @given(user=any_text, source=any_text, value=any_text)
    async def test_any_text_can_be_kept_and_named(
        self, store: Store, user: str, source: str, value: str
    ) -> None:
        scope = f"user:{user}"
        await store.states.forget(TENANT, scope)

        await a_state(store, scope, source, value)

        assert await store.states.get(TENANT, scope, source) == KeptState(value=value, version=1)
        assert await values_of(store, scope) == {source: value}

    @pytest.mark.parametrize("texts", [("\ud800", "f", "{}"), ("u", "\ud800", "{}"), ("u", "f", "\ud800")])
    async def test_what_can_never_be_kept_is_refused(self, store: Store, texts: tuple[str, str, str]) -> None:
        user, source, value = texts

        with pytest.raises(InvalidInput):
            await store.states.put(TENANT, f"user:{user}", source, value, expected_version=0)

    async def test_states_of_other_tenants_are_not_there(self, store: Store) -> None:
        conversation = await a_conversation(store)
        for scope in (USER, conversation.id):
            await a_state(store, scope)

        for scope in (USER, conversation.id):
            assert await store.states.get(OTHERS, scope, "facts") is None
            assert await store.states.all_of(OTHERS, scope) == {}
            assert await store.states.forget(OTHERS, scope) == 0
        with pytest.raises(NotFound):
            await store.states.put(OTHERS, conversation.id, "facts", "{}", expected_version=0)
        with pytest.raises(VersionMoved):
            await store.states.put(OTHERS, USER, "facts", "{}", expected_version=1)
        assert await store.states.put(OTHERS, USER, "facts", "[7]", expected_version=0) == 1
        assert await values_of(store, USER) == {"facts": '{"a":1}'}


@pytest.mark.asyncio
class BranchStateContract:
    """A branch at the head begins with the states of its source."""

    async def test_branch_at_the_head_begins_with_the_states(self, store: Store) -> None:
        source = await a_talk_with_states(store)

        branch = await a_fork(store, source, at=2)

        kept = await store.states.all_of(TENANT, branch.id)
        assert {name: each.value for name, each in kept.items()} == {"facts": "[1]", "view:summary": "[2]"}
        for name, each in kept.items():
            put = await store.states.put(TENANT, branch.id, name, "[9]", expected_version=each.version)
            assert put == each.version + 1
        assert await values_of(store, source.id) == {"facts": "[1]", "view:summary": "[2]"}

    @pytest.mark.parametrize("at", [0, 1])
    async def test_branch_of_an_earlier_place_has_none(self, store: Store, at: int) -> None:
        source = await a_talk_with_states(store)

        branch = await a_fork(store, source, at=at)

        assert await store.states.all_of(TENANT, branch.id) == {}

    async def test_conversation_in_which_nothing_was_said_passes_its_states_on_too(
        self, store: Store
    ) -> None:
        source = await a_conversation(store)
        await a_state(store, source.id)

        branch = await a_fork(store, source, at=0)

        assert await values_of(store, branch.id) == {"facts": '{"a":1}'}

    async def test_both_sides_go_their_own_way(self, store: Store) -> None:
        source = await a_talk_with_states(store)
        branch = await a_fork(store, source, at=2, alias="mine")
        await store.states.put(TENANT, source.id, "facts", "[3]", expected_version=1)
        await store.states.put(TENANT, branch.id, "facts", None, expected_version=1)

        again = await a_fork(store, source, at=2, alias="mine")

        assert again.id == branch.id
        assert await values_of(store, source.id) == {"facts": "[3]", "view:summary": "[2]"}
        assert await values_of(store, branch.id) == {"view:summary": "[2]"}

    async def test_branch_of_a_branch_begins_with_its_parents(self, store: Store) -> None:
        source = await a_talk_with_states(store)
        parent = await a_fork(store, source, at=2)
        await store.states.put(TENANT, parent.id, "facts", "[3]", expected_version=1)

        branch = await a_fork(store, parent, at=2)

        assert await values_of(store, branch.id) == {"facts": "[3]", "view:summary": "[2]"}

    @pytest.mark.parametrize("at", [1, 2])
    async def test_branch_that_a_request_makes_is_no_other(self, store: Store, at: int) -> None:
        source = await a_talk_with_states(store)

        accepted = await store.runs.accept(a_submission(a_branch(source, at=at)), a_claimant())

        expected = {"facts": "[1]", "view:summary": "[2]"} if at == 2 else {}
        assert await values_of(store, accepted.conversation.id) == expected

    async def test_request_that_goes_on_in_the_source_leaves_its_states(self, store: Store) -> None:
        source = await a_talk_with_states(store)

        accepted = await store.runs.accept(a_submission(a_branch(source, at=2, or_append=True)), a_claimant())

        assert accepted.conversation.id == source.id
        assert await values_of(store, source.id) == {"facts": "[1]", "view:summary": "[2]"}

    async def test_what_users_have_is_not_copied(self, store: Store) -> None:
        await a_state(store, USER)
        agent = await an_agent(store)
        new = replace(a_new_conversation(agent), user_id="somebody")
        source = await store.conversations.create(TENANT, new)

        branch = await a_fork(store, source, at=0)

        assert await store.states.all_of(TENANT, branch.id) == {}


@pytest.mark.asyncio
class ViewStateContract:
    """What is derived from messages goes when one of them is marked."""

    @pytest.mark.parametrize("flag", [Flag.WITHDRAWN, Flag.DELETED])
    async def test_views_go_with_the_version(self, store: Store, flag: Flag) -> None:
        conversation = await a_talk_with_states(store)
        for source in ("view:", "view:Summary:9", "viewpoint", "View:x", "my view:x"):
            await a_state(store, conversation.id, source)

        await store.conversations.mark(TENANT, conversation.id, [1], flag)

        assert set(await values_of(store, conversation.id)) == {"facts", "viewpoint", "View:x", "my view:x"}

    async def test_views_go_in_all_that_share_the_message_and_nowhere_else(self, store: Store) -> None:
        source = await a_talk_with_states(store)
        near, far = await a_fork(store, source, at=1), await a_fork(store, source, at=2)
        await a_state(store, near.id, "view:summary")
        other = await a_talk_with_states(store, name="Another")
        await a_state(store, USER, "view:summary")

        await store.conversations.mark(TENANT, far.id, [2], Flag.WITHDRAWN)

        assert set(await values_of(store, source.id)) == {"facts"}
        assert set(await values_of(store, far.id)) == {"facts"}
        assert set(await values_of(store, near.id)) == {"view:summary"}
        assert set(await values_of(store, other.id)) == {"facts", "view:summary"}
        assert set(await values_of(store, USER)) == {"view:summary"}

    async def test_views_stay_where_nothing_has_changed(self, store: Store) -> None:
        conversation = await a_talk_with_states(store)
        await store.conversations.mark(TENANT, conversation.id, [1], Flag.WITHDRAWN)
        await a_state(store, conversation.id, "view:summary")

        await store.conversations.mark(TENANT, conversation.id, [1], Flag.WITHDRAWN)

        assert set(await values_of(store, conversation.id)) == {"facts", "view:summary"}

    async def test_views_go_when_a_run_is_rolled_back(self, store: Store) -> None:
        conversation = await a_talk_with_states(store)
        holder = await a_claimed_run(store, a_submission(conversation, "U2"))
        await store.runs.accept(a_submission(conversation, "U3", multitask="rollback"), a_claimant())
        assert set(await values_of(store, conversation.id)) == {"facts", "view:summary"}

        await store.runs.commit(holder.lease, Commit(ending=CANCELLED), None)

        assert set(await values_of(store, conversation.id)) == {"facts"}

    async def test_turn_leaves_them(self, store: Store) -> None:
        conversation = await a_talk_with_states(store)

        claim = await a_claimed_run(store, a_submission(conversation))
        await store.runs.commit(claim.lease, a_finish("answer"), None)

        assert set(await values_of(store, conversation.id)) == {"facts", "view:summary"}


async def a_talk_with_states(store: Store, *, name: str = "Chef") -> Conversation:
    """Return a conversation of two messages, of which two providers keep something."""
    conversation = await a_conversation(store, await an_agent(store, name=name))
    await an_exchange(store, conversation)
    await a_state(store, conversation.id, "facts", "[1]")
    await a_state(store, conversation.id, "view:summary", "[2]")
    return await store.conversations.get(TENANT, conversation.id)
