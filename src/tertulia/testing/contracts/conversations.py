"""What every store does with conversations and their messages, apart from how they grow."""

import asyncio
from dataclasses import replace

import pytest

from tertulia.conversations import DEFAULT_TENANT, Conversation, NewConversation
from tertulia.definitions import StoredAgent
from tertulia.errors import NotFound, SessionMismatch
from tertulia.ids import AGENT, CONVERSATION, new_id
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    a_claimant,
    a_conversation,
    a_new_conversation,
    a_queued_run,
    a_submission,
    an_agent,
    an_exchange,
)

TENANT = DEFAULT_TENANT


@pytest.mark.asyncio
class ConversationContract:
    """Conversations: made, found, listed and read."""

    async def test_new_conversation_is_empty(self, store: Store) -> None:
        agent = await an_agent(store)
        new = a_new_conversation(agent)

        made = await store.conversations.create(TENANT, new)

        assert made == Conversation(
            tenant=TENANT,
            id=new.id,
            agent_id=agent.id,
            lineage_id=made.lineage_id,
            created_at=made.created_at,
        )
        assert made.created_at > 0
        assert made.shown_id == new.id
        assert await store.conversations.get(TENANT, new.id) == made
        assert await store.conversations.messages(TENANT, new.id) == []
        assert await store.conversations.pending(TENANT, new.id) == []

    async def test_what_its_creator_chose_is_kept(self, store: Store) -> None:
        agent = await an_agent(store)
        new = a_new_conversation(agent, alias="chat/ü 1", agent_version=1)

        made = await store.conversations.create(TENANT, new)

        assert (made.alias, made.agent_version) == ("chat/ü 1", 1)
        assert made.shown_id == "chat/ü 1"
        assert await store.conversations.get(TENANT, made.id) == made

    async def test_conversation_answers_to_its_alias(self, store: Store) -> None:
        made = await a_conversation(store, alias="support-7")

        assert await store.conversations.get(TENANT, "support-7") == made
        assert await store.conversations.get(TENANT, made.id) == made

    async def test_creating_again_returns_the_one_that_is_there(self, store: Store) -> None:
        agent = await an_agent(store)
        by_id = a_new_conversation(agent)
        made = await store.conversations.create(TENANT, by_id)
        named = await a_conversation(store, agent, alias="mine")

        assert await store.conversations.create(TENANT, by_id) == made
        assert await a_conversation(store, agent, alias="mine") == named
        assert await store.conversations.page(TENANT, agent.id) == [made, named]

    async def test_conversation_that_is_there_gets_no_other_name(self, store: Store) -> None:
        agent = await an_agent(store)
        made = await a_conversation(store, agent)
        renamed = replace(a_new_conversation(agent, alias="late", agent_version=9), id=made.id)

        assert await store.conversations.create(TENANT, renamed) == made
        with pytest.raises(NotFound):
            await store.conversations.get(TENANT, "late")

    async def test_of_many_who_create_an_alias_at_once_all_get_the_same(self, store: Store) -> None:
        agent = await an_agent(store)

        made = await asyncio.gather(*[a_conversation(store, agent, alias="one") for _ in range(8)])

        assert made == [made[0]] * 8
        assert await store.conversations.page(TENANT, agent.id) == [made[0]]

    async def test_another_agents_conversation_is_refused(self, store: Store) -> None:
        chef, baker = await an_agent(store, name="Chef"), await an_agent(store, name="Baker")
        made = await a_conversation(store, chef, alias="taken")

        with pytest.raises(SessionMismatch):
            await store.conversations.create(TENANT, a_new_conversation(baker, alias="taken"))

        assert await store.conversations.page(TENANT, baker.id) == []
        assert await store.conversations.get(TENANT, "taken") == made

    async def test_another_users_conversation_is_refused_and_so_is_nobodys(self, store: Store) -> None:
        agent = await an_agent(store)
        anns = await store.conversations.create(TENANT, _of("ann", agent, alias="anns"))
        nobodys = await a_conversation(store, agent, alias="nobodys")

        for new in (
            _of("bob", agent, alias="anns"),
            replace(_of("bob", agent), id=anns.id),
            _of("bob", agent, alias="nobodys"),
        ):
            with pytest.raises(SessionMismatch):
                await store.conversations.create(TENANT, new)

        assert await store.conversations.page(TENANT, agent.id) == [anns, nobodys]
        assert (anns.user_id, nobodys.user_id) == ("ann", None)

    async def test_conversation_is_found_by_its_user_and_by_who_names_none(self, store: Store) -> None:
        agent = await an_agent(store)
        made = await store.conversations.create(TENANT, _of("ann", agent, alias="anns"))

        again = await store.conversations.create(TENANT, _of("ann", agent, alias="anns"))
        unsaid = await a_conversation(store, agent, alias="anns")

        assert [again, unsaid] == [made, made]

    async def test_of_two_users_who_create_an_alias_at_once_one_gets_it(self, store: Store) -> None:
        agent = await an_agent(store)
        news = [_of(user, agent, alias="one") for user in ("ann", "bob") * 4]

        ends = await asyncio.gather(
            *[store.conversations.create(TENANT, new) for new in news], return_exceptions=True
        )

        [made] = await store.conversations.page(TENANT, agent.id)
        for new, end in zip(news, ends, strict=True):
            assert end == made if new.user_id == made.user_id else isinstance(end, SessionMismatch)

    async def test_conversation_needs_an_agent_at_a_version_that_there_is(self, store: Store) -> None:
        agent = await an_agent(store)
        pinned = a_new_conversation(agent, alias="pinned", agent_version=2)

        with pytest.raises(NotFound):
            await store.conversations.create(TENANT, pinned)

        with pytest.raises(NotFound):
            await store.conversations.get(TENANT, "pinned")
        assert await store.conversations.page(TENANT, agent.id) == []

    async def test_conversation_with_an_unknown_agent_is_not_made(self, store: Store) -> None:
        orphan = NewConversation(id=new_id(CONVERSATION), agent_id=new_id(AGENT))

        with pytest.raises(NotFound):
            await store.conversations.create(TENANT, orphan)

        with pytest.raises(NotFound):
            await store.conversations.get(TENANT, orphan.id)

    async def test_unknown_conversations_are_not_found_and_hold_nothing(self, store: Store) -> None:
        unknown = new_id(CONVERSATION)

        for name in (unknown, "nobody's", ""):
            with pytest.raises(NotFound):
                await store.conversations.get(TENANT, name)
        assert await store.conversations.messages(TENANT, unknown) == []
        assert await store.conversations.recent(TENANT, unknown, upto=9, limit=9) == []
        assert await store.conversations.pending(TENANT, unknown) == []

    async def test_conversations_are_listed_in_order_of_creation(self, store: Store) -> None:
        chef, baker = await an_agent(store, name="Chef"), await an_agent(store, name="Baker")
        made = []
        for alias in (None, "z", "a", None):
            made.append(await a_conversation(store, chef, alias=alias))
            await a_conversation(store, baker)

        kept = store.conversations
        assert await kept.page(TENANT, chef.id) == made
        assert await kept.page(TENANT, chef.id, limit=3) == made[:3]
        assert await kept.page(TENANT, chef.id, after=made[0].id, limit=2) == made[1:3]
        assert await kept.page(TENANT, chef.id, after=made[3].id) == []
        assert await kept.page(TENANT, new_id(AGENT)) == []

    async def test_newest_conversations_come_for_every_agent(self, store: Store) -> None:
        chef, baker = await an_agent(store, name="Chef"), await an_agent(store, name="Baker")
        idle, unknown = await an_agent(store, name="Idle"), new_id(AGENT)
        chefs = [await a_conversation(store, chef) for _ in range(4)]
        bakers = [await a_conversation(store, baker)]

        found = await store.conversations.newest(TENANT, [chef.id, baker.id, idle.id, unknown], each=2)

        assert found == {chef.id: chefs[2:], baker.id: bakers, idle.id: [], unknown: []}
        assert await store.conversations.newest(TENANT, [], each=2) == {}

    async def test_lists_show_how_far_a_conversation_has_come(self, store: Store) -> None:
        conversation = await a_conversation(store)
        await an_exchange(store, conversation)

        row = await store.conversations.get(TENANT, conversation.id)

        assert row.head == 2
        assert await store.conversations.page(TENANT, conversation.agent_id) == [row]
        found = await store.conversations.newest(TENANT, [conversation.agent_id], each=1)
        assert found == {conversation.agent_id: [row]}

    async def test_messages_are_read_in_pages_from_the_front(self, store: Store) -> None:
        conversation = await a_conversation(store)
        for i in (1, 3, 5):
            await an_exchange(store, conversation, f"text {i}", f"text {i + 1}")

        async def numbers(**page: int) -> list[int]:
            messages = await store.conversations.messages(TENANT, conversation.id, **page)
            assert [m.text for m in messages] == [f"text {m.number}" for m in messages]
            return [m.number for m in messages]

        assert await numbers() == [1, 2, 3, 4, 5, 6]
        assert await numbers(limit=2) == [1, 2]
        assert await numbers(after=2, limit=3) == [3, 4, 5]
        assert await numbers(after=5) == [6]
        assert await numbers(after=6) == []

    async def test_messages_are_read_in_pages_from_the_end(self, store: Store) -> None:
        conversation = await a_conversation(store)
        for i in (1, 3, 5):
            await an_exchange(store, conversation, f"text {i}", f"text {i + 1}")

        async def numbers(*, upto: int, limit: int) -> list[int]:
            messages = await store.conversations.recent(TENANT, conversation.id, upto=upto, limit=limit)
            assert [m.text for m in messages] == [f"text {m.number}" for m in messages]
            return [m.number for m in messages]

        assert await numbers(upto=6, limit=2) == [6, 5]
        assert await numbers(upto=4, limit=3) == [4, 3, 2]
        assert await numbers(upto=2, limit=9) == [2, 1]
        assert await numbers(upto=99, limit=1) == [6]
        assert await numbers(upto=0, limit=9) == []

    async def test_pending_messages_come_in_order_and_without_number(self, store: Store) -> None:
        conversation = await a_conversation(store)
        await store.runs.accept(a_submission(conversation, "held"), a_claimant())
        waiting = [await a_queued_run(store, a_submission(conversation, f"{i}")) for i in range(3)]

        pending = await store.conversations.pending(TENANT, conversation.id)

        assert [m.text for m in pending] == ["0", "1", "2"]
        assert [(m.number, m.role, m.turn) for m in pending] == [(0, "user", 0)] * 3
        assert [m.run_id for m in pending] == [accepted.run.id for accepted in waiting]
        assert [m.id for m in pending] == [accepted.run.input_message_id for accepted in waiting]
        assert all(m.created_at > 0 for m in pending)

    async def test_what_is_no_id_names_nothing(self, store: Store) -> None:
        agent = await an_agent(store)

        for name in ("nope", "conv_", "run_zz", "", "conv_" + "x" * 32):
            assert await store.conversations.messages(TENANT, name) == []
            assert await store.conversations.recent(TENANT, name, upto=9, limit=9) == []
            assert await store.conversations.pending(TENANT, name) == []
            assert await store.conversations.page(TENANT, name) == []
            assert await store.runs.steps(TENANT, name) == []
            for asked in (
                store.runs.get(TENANT, name),
                store.conversations.get(TENANT, name),
                store.agents.update(TENANT, name, agent.definition),
            ):
                with pytest.raises(NotFound):
                    await asked


def _of(user: str, agent: StoredAgent, *, alias: str | None = None) -> NewConversation:
    """Return a user's conversation, to be made."""
    return replace(a_new_conversation(agent, alias=alias), user_id=user)
