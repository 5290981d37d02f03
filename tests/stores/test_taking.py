"""Conversations are taken out of memory and put in whole."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from tertulia.conversations import DEFAULT_TENANT, Conversation, Submission
from tertulia.errors import ConversationBusy, InvalidInput, NotFound, SessionMismatch
from tertulia.ids import AGENT, CONVERSATION, MESSAGE, new_id
from tertulia.memory.views.log import LogView
from tertulia.messages import Flag, Message
from tertulia.parts import text_content
from tertulia.stores import STORES, Store
from tertulia.stores.base import KeptState, SupportsTaking, Taken
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import (
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_finish,
    a_fork,
    a_new_conversation,
    a_once,
    a_queued_run,
    a_submission,
    a_waiting_run,
    all_kept,
    all_texts,
    an_agent,
    an_exchange,
)

TENANT = DEFAULT_TENANT


def a_message(text: str = "hello") -> Message:
    return Message(id=new_id(MESSAGE), role="user", content=text_content(text))


async def a_talk(store: InMemoryStore, *, alias: str | None = None) -> Conversation:
    """Return a conversation in which two messages were said and of which something is kept."""
    conversation = await a_conversation(store, alias=alias)
    await an_exchange(store, conversation, "U1", "A1")
    await store.states.put(TENANT, conversation.id, "facts", '{"a":1}', expected_version=0)
    return await store.conversations.get(TENANT, conversation.id)


async def texts_in(store: InMemoryStore, conversation_id: str) -> list[str]:
    return await all_texts(store, await store.conversations.get(TENANT, conversation_id))


async def test_only_a_store_in_memory_can_do_this() -> None:
    can = {scheme: issubclass(STORES.get(scheme), SupportsTaking) for scheme in STORES}

    assert can == {"memory": True, "sqlite": False, "postgresql": False}


async def test_conversation_is_taken_with_everything_that_is_kept_of_it() -> None:
    store = InMemoryStore()
    conversation = await a_talk(store)
    branch = await a_fork(store, conversation, at=1)

    taken = store.take(TENANT, conversation.id)
    of_branch = store.take(TENANT, branch.id)

    assert taken.conversation == conversation
    assert [(message.number, message.text) for message in taken.messages] == [(1, "U1"), (2, "A1")]
    assert taken.states == {"facts": '{"a":1}'}
    assert (of_branch.messages, of_branch.states) == (taken.messages[:1], {})


@pytest.mark.parametrize("name", ["mine", f"{CONVERSATION}_{7:032x}", ""])
async def test_what_is_not_there_cannot_be_taken(name: str) -> None:
    store = InMemoryStore()
    conversation = await a_talk(store, alias="mine")

    with pytest.raises(NotFound):
        store.take(TENANT, name)
    with pytest.raises(NotFound):
        store.take(7, conversation.id)


async def test_what_was_taken_goes_on_in_another_process() -> None:
    here, there = InMemoryStore(), InMemoryStore()
    conversation = await a_talk(here, alias="mine")
    taken = here.take(TENANT, conversation.id)
    agent = await here.agents.get(TENANT, conversation.agent_id)
    await there.agents.create(TENANT, agent.id, agent.definition)

    put = there.put_in(taken)

    assert put == conversation == await there.conversations.get(TENANT, "mine")
    assert await there.conversations.messages(TENANT, put.id) == list(taken.messages)
    assert await there.states.get(TENANT, put.id, "facts") == KeptState(value='{"a":1}', version=1)
    assert await there.conversations.page(TENANT, agent.id) == [put]
    assert await there.runs.page(TENANT, put.id) == []
    claim = await a_claimed_run(there, a_submission(put, "U2"))
    await there.runs.commit(claim.lease, a_finish("A2"), None)
    assert (claim.run.n, claim.input.number) == (1, 3)
    assert await all_texts(there, put) == ["U1", "A1", "U2", "A2"]


async def test_branch_that_was_taken_shares_nothing_any_more() -> None:
    store = InMemoryStore()
    source = await a_talk(store)
    branch = await a_fork(store, source, at=2)
    await an_exchange(store, branch, "U2", "A2")

    put = store.put_in(store.take(TENANT, branch.id))
    await store.conversations.mark(TENANT, source.id, [1], Flag.WITHDRAWN)

    assert (put.base, put.head, put.parent_id) == (0, 4, source.id)
    kept = await store.conversations.messages(TENANT, branch.id)
    assert [(m.number, m.text, m.flags) for m in kept] == [
        (1, "U1", Flag.NONE),
        (2, "A1", Flag.NONE),
        (3, "U2", Flag.NONE),
        (4, "A2", Flag.NONE),
    ]


async def test_messages_are_numbered_in_their_order_and_keep_their_ids() -> None:
    store = InMemoryStore()
    conversation = await a_talk(store)
    taken = store.take(TENANT, conversation.id)
    new = replace(a_message("new"), number=9, stands_for=("somebody",))
    messages = (taken.messages[1], new, taken.messages[0])
    row = replace(conversation, head=17, tokens=30)

    put = store.put_in(Taken(conversation=row, messages=messages))

    kept = await store.conversations.messages(TENANT, conversation.id)
    assert [(m.number, m.id) for m in kept] == [(i, m.id) for i, m in enumerate(messages, start=1)]
    assert (put.head, put.tokens) == (3, 30)
    assert kept[1].stands_for == ()
    assert kept[1].created_at > 0
    assert await store.states.all_of(TENANT, conversation.id) == {}


async def test_what_it_replaces_is_gone_with_its_runs_and_keys() -> None:
    store = InMemoryStore()
    conversation = await a_talk(store, alias="old")
    accepted = await store.runs.accept(a_submission(conversation, "U2", key="k"), a_claimant())
    assert accepted.claim is not None
    await store.runs.commit(accepted.claim.lease, a_finish("A2"), None)
    row = replace(store.take(TENANT, conversation.id).conversation, alias="new")

    put = store.put_in(Taken(conversation=row, messages=(a_message("M1"),)))
    again = await store.runs.accept(a_submission(put, "U2", key="k"), None)

    assert again.is_new
    with pytest.raises(NotFound):
        await store.runs.get(TENANT, accepted.run.id)
    with pytest.raises(NotFound):
        await store.conversations.get(TENANT, "old")
    assert await store.conversations.page(TENANT, conversation.agent_id) == [put]
    assert [run.id for run in await store.runs.page(TENANT, put.id)] == [again.run.id]


async def test_who_has_read_a_state_before_it_was_replaced_writes_nothing() -> None:
    store = InMemoryStore()
    conversation = await a_talk(store)

    store.put_in(replace(store.take(TENANT, conversation.id), states={"facts": "[2]"}))

    assert await store.states.get(TENANT, conversation.id, "facts") == KeptState(value="[2]", version=2)


async def test_version_is_above_that_of_whatever_had_the_id() -> None:
    store = InMemoryStore()
    conversation = await a_talk(store)
    await store.conversations.mark(TENANT, conversation.id, [1], Flag.WITHDRAWN)
    taken = store.take(TENANT, conversation.id)
    old = replace(taken, conversation=replace(taken.conversation, version=1))

    replaced = store.put_in(old)
    store.drop(TENANT, conversation.id)
    again = store.put_in(old)
    high = store.put_in(replace(taken, conversation=replace(taken.conversation, version=50)))

    assert taken.conversation.version == 2
    assert [row.version for row in (replaced, again, high)] == [3, 4, 50]


async def test_what_a_process_has_kept_of_the_one_before_is_not_shown() -> None:
    store = InMemoryStore()
    conversation = await a_talk(store)
    view = LogView(store.conversations)
    await view.show(conversation, newest=(), budget=1_000)
    said = (a_message("M1"), a_message("M2"))

    put = store.put_in(Taken(conversation=conversation, messages=said))
    passage = await view.show(put, newest=(), budget=1_000)

    assert [shown.text for shown in passage] == ["M1", "M2"]


async def test_branches_keep_what_they_share_with_what_is_replaced() -> None:
    store = InMemoryStore()
    source = await a_talk(store)
    branch = await a_fork(store, source, at=2)
    messages = await store.conversations.messages(TENANT, branch.id)

    put = store.put_in(Taken(conversation=source, messages=(messages[0], a_message("M2"), a_message("M3"))))
    row = await store.conversations.append(TENANT, branch.id, [*messages, a_message("B3")], tokens=[1] * 3)
    await store.conversations.mark(TENANT, branch.id, [1], Flag.WITHDRAWN)

    assert row.head == 3
    assert await texts_in(store, branch.id) == ["U1", "A1", "B3"]
    assert await texts_in(store, source.id) == ["U1", "M2", "M3"]
    assert (await store.conversations.messages(TENANT, put.id))[0].flags is Flag.NONE


async def test_two_messages_of_one_id_are_refused() -> None:
    store = InMemoryStore()
    conversation = await a_talk(store)
    before = await all_kept(store, conversation)
    said = a_message()

    with pytest.raises(InvalidInput):
        store.put_in(Taken(conversation=conversation, messages=(said, said)))

    assert await all_kept(store, conversation) == before


async def test_conversation_of_an_unknown_agent_is_refused() -> None:
    store = InMemoryStore()
    conversation = await a_talk(store)
    taken = store.take(TENANT, conversation.id)

    for wrong in (
        replace(conversation, agent_id=new_id(AGENT)),
        replace(conversation, agent_version=2),
        replace(conversation, tenant=7),
    ):
        with pytest.raises(NotFound):
            store.put_in(replace(taken, conversation=wrong))

    assert store.take(TENANT, conversation.id) == taken


async def test_alias_of_another_conversation_is_refused() -> None:
    store = InMemoryStore()
    agent = await an_agent(store)
    await a_conversation(store, agent, alias="taken")
    other = await a_conversation(store, agent, alias="mine")

    with pytest.raises(SessionMismatch):
        store.put_in(Taken(conversation=replace(other, alias="taken"), messages=()))

    assert await store.conversations.get(TENANT, "mine") == other


@pytest.mark.parametrize("begin", [a_claimed_run, a_waiting_run, a_queued_run])
async def test_conversation_with_a_run_is_neither_replaced_nor_dropped(
    begin: Callable[[Store, Submission], Awaitable[object]],
) -> None:
    store = InMemoryStore()
    conversation = await a_talk(store)
    taken = store.take(TENANT, conversation.id)
    await begin(store, a_submission(conversation))
    before = await all_kept(store, conversation)

    with pytest.raises(ConversationBusy):
        store.put_in(taken)
    with pytest.raises(ConversationBusy):
        store.drop(TENANT, conversation.id)

    assert await all_kept(store, conversation) == before


async def test_what_is_dropped_is_gone_with_all_that_is_kept_of_it() -> None:
    store = InMemoryStore()
    conversation = await a_talk(store, alias="mine")
    claim = await an_exchange(store, conversation, "U2", "A2")
    other = await a_conversation(store, await store.agents.get(TENANT, conversation.agent_id))
    said = await store.conversations.messages(TENANT, conversation.id)

    store.drop(TENANT, conversation.id)
    store.drop(TENANT, conversation.id)

    for name in (conversation.id, "mine"):
        with pytest.raises(NotFound):
            await store.conversations.get(TENANT, name)
    with pytest.raises(NotFound):
        await store.runs.get(TENANT, claim.run.id)
    assert await store.conversations.messages(TENANT, conversation.id) == []
    assert await store.states.all_of(TENANT, conversation.id) == {}
    assert await store.conversations.page(TENANT, conversation.agent_id) == [other]
    row = await store.conversations.append(TENANT, other.id, said, tokens=[1] * 4)
    assert row.head == 4


async def test_keys_that_led_to_what_is_dropped_are_free_again() -> None:
    store = InMemoryStore()
    agent = await an_agent(store)
    first = await store.conversations.create(TENANT, a_new_conversation(agent), once=a_once("a"))
    accepted = await store.runs.accept(a_submission(a_new_conversation(agent), key="b"), a_claimant())
    assert accepted.claim is not None
    await store.runs.commit(accepted.claim.lease, a_finish("A"), None)
    kept = await store.conversations.create(TENANT, a_new_conversation(agent), once=a_once("c"))

    store.drop(TENANT, first.id)
    store.drop(TENANT, accepted.conversation.id)

    made = await store.conversations.create(TENANT, a_new_conversation(agent), once=a_once("a"))
    again = await store.runs.accept(a_submission(a_new_conversation(agent), key="b"), a_claimant())
    assert made.id != first.id
    assert again.is_new
    assert await store.conversations.create(TENANT, a_new_conversation(agent), once=a_once("c")) == kept


async def test_conversation_that_others_begin_with_is_not_dropped() -> None:
    store = InMemoryStore()
    source = await a_talk(store)
    branch = await a_fork(store, source, at=1)

    with pytest.raises(InvalidInput):
        store.drop(TENANT, source.id)
    store.drop(TENANT, branch.id)
    assert await texts_in(store, source.id) == ["U1", "A1"]
    store.drop(TENANT, source.id)

    assert await store.conversations.page(TENANT, source.agent_id) == []


async def test_hidden_conversations_are_put_in_and_dropped_too() -> None:
    store = InMemoryStore()
    source = await a_talk(store)
    hidden = await a_fork(store, source, at=0, is_hidden=True)

    put = store.put_in(store.take(TENANT, hidden.id))
    shown = await store.conversations.page(TENANT, source.agent_id)
    store.drop(TENANT, put.id)

    assert put.is_hidden
    assert shown == [source]
    with pytest.raises(NotFound):
        await store.conversations.get(TENANT, hidden.id)


async def test_store_that_supports_taking_is_a_whole_store() -> None:
    store: Store = InMemoryStore()

    assert isinstance(store, SupportsTaking)
