"""How every store lets conversations branch."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from tertulia.conversations import DEFAULT_TENANT, Conversation
from tertulia.errors import InvalidInput, NotFound, SessionMismatch
from tertulia.ids import CONVERSATION, new_id
from tertulia.messages import Message
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    a_branch,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_finish,
    a_fork,
    a_new_conversation,
    a_queued_run,
    a_submission,
    all_kept,
    all_texts,
    an_agent,
    an_exchange,
)

TENANT = DEFAULT_TENANT


async def a_talk(store: Store, conversation: Conversation, *, upto: int, name: str = "m") -> Conversation:
    """Have texts said, ``<name>1`` and so on, until this number; return how the conversation stands then."""
    row = await store.conversations.get(TENANT, conversation.id)
    for number in range(row.head + 1, upto, 2):
        await an_exchange(store, conversation, f"{name}{number}", f"{name}{number + 1}")
    return await store.conversations.get(TENANT, conversation.id)


async def a_family(store: Store) -> list[Conversation]:
    """Return a conversation, a fork of it, a fork of that and one of that, all of which have gone on.

    What each has said itself: a1…a4, then b3…b6, then c5…c8, then d7…d10.
    """
    row = await a_talk(store, await a_conversation(store), upto=4, name="a")
    family = [row]
    for name, at in (("b", 2), ("c", 4), ("d", 6)):
        row = await a_fork(store, row, at=at)
        row = await a_talk(store, row, upto=at + 4, name=name)
        family.append(row)
    return family


LAST_OF_FAMILY = ["a1", "a2", "b3", "b4", "c5", "c6", "d7", "d8", "d9", "d10"]


@pytest.mark.asyncio
class ForkContract:
    """A branch begins with what its source has said, and goes on by itself."""

    @pytest.mark.parametrize("at", [0, 1, 2, 3])
    async def test_branch_is_like_its_source_up_to_there(self, store: Store, at: int) -> None:
        agent = await an_agent(store, first_message="Welcome!")
        new = replace(a_new_conversation(agent, agent_version=1), user_id="somebody")
        source = await a_talk(store, await store.conversations.create(TENANT, new), upto=4)
        branch = a_branch(source, at=at, alias="mine")

        made = await store.conversations.fork(TENANT, branch)

        assert made == Conversation(
            tenant=TENANT,
            id=branch.id,
            agent_id=agent.id,
            agent_version=1,
            alias="mine",
            user_id="somebody",
            parent_id=source.id,
            base=at,
            head=at,
            tokens=10 * at,
            lineage_id=source.lineage_id,
            first_message="Welcome!",
            created_at=made.created_at,
        )
        assert made.created_at > 0
        for name in (made.id, "mine"):
            assert await store.conversations.get(TENANT, name) == made
        assert await _read(store, made) == (await _read(store, source))[:at]
        assert await store.runs.page(TENANT, made.id) == []

    async def test_source_stays_as_it_is(self, store: Store) -> None:
        source = await a_talk(store, await a_conversation(store), upto=4)
        before = await all_kept(store, source)

        for at in (0, 3, 4):
            await a_fork(store, source, at=at)

        assert await all_kept(store, source) == before

    async def test_state_is_known_at_the_head_only(self, store: Store) -> None:
        source = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(source))
        await store.runs.commit(claim.lease, replace(a_finish("answer"), state='{"turn":1}'), None)

        states = [(await a_fork(store, source, at=at)).state for at in (0, 1, 2)]

        assert states == [None, None, '{"turn":1}']

    async def test_conversation_in_which_nothing_was_said_has_branches_too(self, store: Store) -> None:
        source = await a_conversation(store, await an_agent(store, first_message="Welcome!"))

        made = await a_fork(store, source, at=0)
        claim = await a_claimed_run(store, a_submission(made))

        assert (made.parent_id, made.first_message, made.head) == (source.id, None, 0)
        assert claim.conversation.first_message == "Welcome!"
        assert (await store.conversations.get(TENANT, source.id)).head == 0

    async def test_source_is_named_by_alias_too(self, store: Store) -> None:
        source = await a_conversation(store, alias="theirs")

        made = await store.conversations.fork(TENANT, replace(a_branch(source, at=0), source="theirs"))

        assert made.parent_id == source.id

    async def test_both_sides_go_on_by_themselves(self, store: Store) -> None:
        source = await a_talk(store, await a_conversation(store), upto=4, name="a")
        branch = await a_fork(store, source, at=2)

        branch = await a_talk(store, branch, upto=6, name="b")
        source = await a_talk(store, source, upto=6, name="a")

        assert await all_texts(store, source) == ["a1", "a2", "a3", "a4", "a5", "a6"]
        assert await all_texts(store, branch) == ["a1", "a2", "b3", "b4", "b5", "b6"]
        assert (branch.head, branch.base, branch.tokens, branch.version) == (6, 2, 60, 1)
        assert [run.n for run in await store.runs.page(TENANT, branch.id)] == [1, 2]
        assert [run.n for run in await store.runs.page(TENANT, source.id)] == [1, 2, 3]

    async def test_both_sides_are_held_by_themselves(self, store: Store) -> None:
        source = await a_talk(store, await a_conversation(store), upto=2)
        branch = await a_fork(store, source, at=2)

        held = [await a_claimed_run(store, a_submission(c)) for c in (source, branch)]
        await a_queued_run(store, a_submission(source, "waits"))

        assert [claim.input.number for claim in held] == [3, 3]
        assert await store.conversations.pending(TENANT, branch.id) == []
        assert len(await store.conversations.pending(TENANT, source.id)) == 1

    async def test_busy_source_is_branched_where_it_stands(self, store: Store) -> None:
        source = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(source, "U1"))
        await a_queued_run(store, a_submission(source, "U2"))

        branch = await a_fork(store, source, at=1)
        await store.runs.commit(claim.lease, a_finish("A1"), None)

        assert await _read(store, branch) == [claim.input]
        assert await store.conversations.pending(TENANT, branch.id) == []
        await an_exchange(store, branch, "B1", "B2")
        assert await all_texts(store, branch) == ["U1", "B1", "B2"]
        assert await all_texts(store, source) == ["U1", "A1"]

    async def test_branches_branch_like_any_conversation(self, store: Store) -> None:
        family = await a_family(store)

        last = family[-1]
        assert [row.parent_id for row in family] == [None] + [row.id for row in family[:-1]]
        assert {row.lineage_id for row in family} == {family[0].lineage_id}
        assert [row.base for row in family] == [0, 2, 4, 6]
        assert await all_texts(store, last) == LAST_OF_FAMILY
        for parent, child in pairwise(family):
            shared = (await _read(store, parent))[: child.base]
            assert (await _read(store, child))[: child.base] == shared

    @pytest.mark.parametrize("at", range(11))
    async def test_branch_may_end_anywhere_before_its_parent_began(self, store: Store, at: int) -> None:
        last = (await a_family(store))[-1]

        made = await a_fork(store, last, at=at)
        row = await a_talk(store, made, upto=at + 2, name="e")

        assert (made.parent_id, made.base) == (last.id, at)
        assert await all_texts(store, row) == [*LAST_OF_FAMILY[:at], f"e{at + 1}", f"e{at + 2}"]
        assert await all_texts(store, last) == LAST_OF_FAMILY

    async def test_pages_run_across_borders_in_both_directions(self, store: Store) -> None:
        last = (await a_family(store))[-1]
        kept = store.conversations
        whole = await kept.messages(TENANT, last.id)

        assert [(m.number, m.text) for m in whole] == list(enumerate(LAST_OF_FAMILY, start=1))
        for place in range(12):
            for limit in (1, 3, 100):
                page = await kept.messages(TENANT, last.id, after=place, limit=limit)
                assert page == whole[place:][:limit]
                page = await kept.recent(TENANT, last.id, upto=place, limit=limit)
                assert page == whole[:place][::-1][:limit]

    @pytest.mark.parametrize("at", [-1, 3, 2**40])
    async def test_place_that_the_source_has_not_reached_is_refused(self, store: Store, at: int) -> None:
        source = await a_talk(store, await a_conversation(store), upto=2)
        branch = replace(a_branch(source, at=2), at=at, alias="nowhere")

        with pytest.raises(InvalidInput):
            await store.conversations.fork(TENANT, branch)

        for name in (branch.id, "nowhere"):
            with pytest.raises(NotFound):
                await store.conversations.get(TENANT, name)

    async def test_message_without_number_cannot_be_shared(self, store: Store) -> None:
        source = await a_conversation(store)
        await a_queued_run(store, a_submission(source))

        with pytest.raises(InvalidInput):
            await a_fork(store, source, at=1)

    @pytest.mark.parametrize("name", [f"{CONVERSATION}_{7:032x}", "nobody's", ""])
    async def test_unknown_source_is_not_found(self, store: Store, name: str) -> None:
        branch = replace(a_branch(await a_conversation(store), at=0), source=name)

        with pytest.raises(NotFound):
            await store.conversations.fork(TENANT, branch)

    async def test_branching_again_returns_the_branch_as_it_is(self, store: Store) -> None:
        source = await a_talk(store, await a_conversation(store), upto=4)
        branch = a_branch(source, at=2, alias="mine")
        await store.conversations.fork(TENANT, branch)
        row = await a_talk(store, await store.conversations.get(TENANT, "mine"), upto=4, name="b")
        await a_talk(store, source, upto=6)

        for again in (
            branch,
            replace(branch, id=new_id(CONVERSATION)),
            replace(branch, alias=None),
            replace(branch, alias="late"),
        ):
            assert await store.conversations.fork(TENANT, again) == row

        with pytest.raises(NotFound):
            await store.conversations.get(TENANT, "late")
        assert len(await store.conversations.page(TENANT, source.agent_id)) == 2

    async def test_name_of_something_else_is_refused(self, store: Store) -> None:
        agent = await an_agent(store)
        source, other = [await a_talk(store, await a_conversation(store, agent), upto=4) for _ in range(2)]
        await a_conversation(store, agent, alias="plain")
        await a_fork(store, source, at=3, alias="elsewhere")
        await a_fork(store, other, at=2, alias="of another")
        before = await store.conversations.page(TENANT, agent.id)

        for alias in ("plain", "elsewhere", "of another"):
            with pytest.raises(SessionMismatch):
                await a_fork(store, source, at=2, alias=alias)
        for taken in before:
            with pytest.raises(SessionMismatch):
                await store.conversations.fork(TENANT, replace(a_branch(source, at=2), id=taken.id))

        assert await store.conversations.page(TENANT, agent.id) == before

    async def test_what_is_wrong_with_the_source_is_said_first(self, store: Store) -> None:
        source = await a_conversation(store)
        await a_conversation(store, await an_agent(store, name="B"), alias="taken")

        with pytest.raises(NotFound):
            await store.conversations.fork(
                TENANT, replace(a_branch(source, at=9, alias="taken"), source="nobody's")
            )
        with pytest.raises(InvalidInput):
            await a_fork(store, source, at=9, alias="taken")

    async def test_of_many_who_branch_at_once_under_one_alias_all_get_the_same(self, store: Store) -> None:
        source = await a_talk(store, await a_conversation(store), upto=2)

        made = await asyncio.gather(*[a_fork(store, source, at=1, alias="one") for _ in range(8)])

        assert made == [made[0]] * 8
        assert len(await store.conversations.page(TENANT, source.agent_id)) == 2

    async def test_conversation_made_under_a_branchs_name_is_the_branch(self, store: Store) -> None:
        agent = await an_agent(store)
        branch = await a_fork(store, await a_conversation(store, agent), at=0, alias="mine")

        assert await a_conversation(store, agent, alias="mine") == branch

    async def test_hidden_branches_are_left_out_of_lists(self, store: Store) -> None:
        source = await a_conversation(store)
        shown = [await a_fork(store, source, at=0) for _ in range(2)]
        hidden = await a_fork(store, source, at=0, is_hidden=True)
        agent_id, kept = source.agent_id, store.conversations

        assert hidden.is_hidden
        assert await kept.get(TENANT, hidden.id) == hidden
        assert await kept.page(TENANT, agent_id) == [source, *shown]
        assert await kept.newest(TENANT, [agent_id], each=9) == {agent_id: [source, *shown]}
        assert await kept.newest(TENANT, [agent_id], each=2) == {agent_id: shown}

    async def test_branch_of_a_hidden_one_need_not_be_hidden(self, store: Store) -> None:
        source = await a_conversation(store)
        hidden = await a_fork(store, source, at=0, is_hidden=True)
        await a_claimed_run(store, a_submission(hidden), claimant=a_claimant())

        shown = await a_fork(store, hidden, at=1)

        assert await store.conversations.page(TENANT, source.agent_id) == [source, shown]


async def _read(store: Store, conversation: Conversation) -> list[Message]:
    return await store.conversations.messages(TENANT, conversation.id)
