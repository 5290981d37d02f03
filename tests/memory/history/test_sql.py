import asyncio
import gc
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tertulia.conversations import DEFAULT_TENANT as TENANT
from tertulia.errors import InvalidInput, ProviderError
from tertulia.ids import CONVERSATION, new_id
from tertulia.memory.history import SQLHistoryProvider
from tertulia.memory.tokens import tokens_of
from tertulia.messages import Flag
from tertulia.stores import open_store
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    a_claimed_run,
    a_conversation,
    a_new_conversation,
    a_submission,
    all_texts,
    an_agent,
    an_exchange,
)
from tertulia.testing.history_contract import a_message, a_session, some_messages, what_counts


def threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if not each.name.startswith("asyncio_")}


async def test_session_is_a_conversation_of_the_server(store: Store) -> None:
    history, said = SQLHistoryProvider(store), some_messages(3)

    await history.append(a_session(user="ada"), said)

    agent = await store.agents.get(TENANT, "Chef")
    conversation = await store.conversations.get(TENANT, "s1")
    assert conversation.agent_id == agent.id
    assert conversation.user_id == "ada"
    assert (conversation.head, conversation.tokens) == (3, sum(tokens_of(each.content) for each in said))
    assert await all_texts(store, conversation) == ["0", "1", "2"]


async def test_conversation_of_the_server_is_a_session(store: Store) -> None:
    agent = await an_agent(store, name="Chef")
    made = a_new_conversation(agent, alias="s1")
    conversation = await store.conversations.create(TENANT, made)
    await an_exchange(store, conversation, "hi", "hello")
    history = SQLHistoryProvider(store)

    by_alias = await history.load(a_session("s1"))
    by_id = await history.load(a_session(conversation.id))

    assert [message.text for message in by_alias] == ["hi", "hello"]
    assert by_id == by_alias


async def test_session_may_have_an_id_of_our_own_form(store: Store) -> None:
    history, said, name = SQLHistoryProvider(store), some_messages(2), new_id(CONVERSATION)

    await history.append(a_session(name), said)

    assert (await store.conversations.get(TENANT, name)).id == name
    assert what_counts(await history.load(a_session(name))) == said


async def test_reading_makes_nothing(store: Store) -> None:
    history = SQLHistoryProvider(store)

    await history.load(a_session())
    await history.recent(a_session(), limit=3)

    assert await store.agents.page(TENANT) == []


async def test_agent_that_is_there_stays_as_it_is(store: Store) -> None:
    agent = await an_agent(store, name="Chef")

    await SQLHistoryProvider(store).append(a_session(), [a_message()])

    assert await store.agents.page(TENANT) == [agent]


async def test_conversation_that_a_run_holds_takes_nothing(store: Store) -> None:
    conversation = await a_conversation(store, await an_agent(store, name="Chef"))
    await a_claimed_run(store, a_submission(conversation))
    history = SQLHistoryProvider(store)

    with pytest.raises(ProviderError, match="run") as raised:
        await history.append(a_session(conversation.id), [a_message("secret")])

    assert "secret" not in str(raised.value)


async def test_ids_of_another_form_are_refused(store: Store) -> None:
    history = SQLHistoryProvider(store)

    with pytest.raises(InvalidInput, match="another form"):
        await history.append(a_session(), [a_message(), replace(a_message(), id="mine")])

    assert await history.load(a_session()) == []


async def test_session_may_begin_with_messages_of_another_one(store: Store) -> None:
    history, shared, left, right = SQLHistoryProvider(store), *(some_messages(n) for n in (4, 2, 3))
    await history.append(a_session("one"), shared)

    await history.append(a_session("two"), shared[:2])
    for _ in range(2):
        await history.append(a_session("two"), [*shared[1:3], *right])
    await history.append(a_session("one"), left)

    assert what_counts(await history.load(a_session("one"))) == [*shared, *left]
    assert what_counts(await history.load(a_session("two"))) == [*shared[:3], *right]
    assert what_counts(await history.recent(a_session("two"), limit=4)) == [shared[2], *right]


async def test_branch_forgets_for_itself(store: Store) -> None:
    history, said = SQLHistoryProvider(store), some_messages(4)
    for name in ("one", "two", "three"):
        await history.append(a_session(name), said)

    await history.forget(a_session("two"), [said[1].id])
    await history.append(a_session("two"), said)

    assert what_counts(await history.load(a_session("one"))) == said
    assert what_counts(await history.load(a_session("two"))) == [said[0], *said[2:]]
    assert what_counts(await history.load(a_session("three"))) == said


async def test_branch_that_two_write_at_once_is_there_once(store: Store) -> None:
    said = some_messages(4)
    await SQLHistoryProvider(store).append(a_session("one"), said)

    await asyncio.gather(*(SQLHistoryProvider(store).append(a_session("two"), said) for _ in range(6)))

    assert what_counts(await SQLHistoryProvider(store).load(a_session("two"))) == said


async def test_session_that_has_begun_takes_nothing_of_another_one(store: Store) -> None:
    history, said, own = SQLHistoryProvider(store), some_messages(2), a_message()
    await history.append(a_session("one"), said)
    await history.append(a_session("two"), [own])

    with pytest.raises(InvalidInput):
        await history.append(a_session("two"), [a_message(), said[1]])

    assert what_counts(await history.load(a_session("two"))) == [own]


@pytest.mark.parametrize("user", [None, "ada"])
async def test_conversation_of_another_user_stays_as_it_is(store: Store, user: str | None) -> None:
    agent = await an_agent(store, name="Chef")
    made = replace(a_new_conversation(agent, alias="s1"), user_id="bob")
    conversation = await store.conversations.create(TENANT, made)
    await an_exchange(store, conversation, "hi", "hello")
    history, said = SQLHistoryProvider(store), some_messages(2)

    before = await history.load(a_session(user=user))
    await history.append(a_session(user=user), said)

    assert before == []
    assert what_counts(await history.load(a_session(user=user))) == said
    assert [message.text for message in await history.load(a_session(user="bob"))] == ["hi", "hello"]


async def test_session_that_is_named_as_another_ones_place_is_refused(store: Store) -> None:
    history = SQLHistoryProvider(store)
    for user in ("ada", "bob"):
        await history.append(a_session(user=user), [a_message(user)])
    agent = await store.agents.get(TENANT, "Chef")
    names = [each.alias for each in await store.conversations.page(TENANT, agent.id)]

    loaded = [await history.load(a_session(f"{name}", user="eve")) for name in names]

    assert loaded == [[], []]


async def test_store_that_nobody_holds_any_more_is_closed(sqlite_url: str) -> None:
    history = SQLHistoryProvider(sqlite_url)
    before = threads()
    await history.append(a_session(), [a_message()])
    opened = threads() - before

    del history
    gc.collect()
    for thread in opened:
        await asyncio.to_thread(thread.join)

    assert opened


def test_store_is_closed_with_its_event_loop(sqlite_url: str) -> None:
    history, before = SQLHistoryProvider(sqlite_url), threads()
    said = [a_message("one"), a_message("two")]

    for message in said:
        asyncio.run(history.append(a_session(), [message]))
        left = threads() - before

    assert not any(thread.is_alive() for thread in left)
    assert what_counts(asyncio.run(history.load(a_session()))) == said


async def test_store_that_was_lent_is_not_closed(store: Store) -> None:
    history = SQLHistoryProvider(store)
    await history.append(a_session(), [a_message()])

    await history.close()

    assert (await store.health()).ready
    assert history.store_url == ""


async def test_store_url_is_the_one_given(sqlite_url: str) -> None:
    assert SQLHistoryProvider(sqlite_url).store_url == sqlite_url


async def test_many_may_ask_before_it_is_open(sqlite_url: str) -> None:
    history, turns = SQLHistoryProvider(sqlite_url), [some_messages(2) for _ in range(8)]

    await asyncio.gather(*(history.append(a_session(f"{n}"), turn) for n, turn in enumerate(turns)))
    kept = [what_counts(await history.load(a_session(f"{n}"))) for n in range(8)]
    await history.close()

    assert kept == turns


async def test_database_that_cannot_be_reached_is_a_failure(tmp_path: Path) -> None:
    history = SQLHistoryProvider(f"sqlite:///{tmp_path}")  # a directory

    for _ in range(2):
        with pytest.raises(ProviderError, match="the store of the history"):
            await history.load(a_session())
        with pytest.raises(ProviderError, match="the store of the history"):
            await history.append(a_session(), [a_message()])
    await history.close()


def test_url_that_names_no_database_is_refused() -> None:
    for url in ("ftp://somewhere", "memory://", ""):
        with pytest.raises(InvalidInput):
            SQLHistoryProvider(url)


async def test_what_it_keeps_is_there_for_the_server(sqlite_url: str) -> None:
    history, said = SQLHistoryProvider(sqlite_url), some_messages(2)
    await history.append(a_session(), said)
    await history.close()

    store = open_store(sqlite_url)
    await store.open()
    kept = await store.conversations.messages(TENANT, (await store.conversations.get(TENANT, "s1")).id)
    await store.close()

    assert what_counts(kept) == said
    assert [message.number for message in kept] == [1, 2]


async def test_what_is_forgotten_is_erased_in_the_store(store: Store) -> None:
    history, said = SQLHistoryProvider(store), some_messages(3)
    await history.append(a_session(), said)

    await history.forget(a_session(), [said[1].id])

    conversation = await store.conversations.get(TENANT, "s1")
    kept = await store.conversations.messages(TENANT, conversation.id)
    assert [message.number for message in kept] == [1, 2, 3]
    assert [Flag.DELETED in message.flags for message in kept] == [False, True, False]
    assert kept[1].content == ()
    assert what_counts(await history.load(a_session())) == [said[0], said[2]]
    assert what_counts(await history.recent(a_session(), limit=2)) == [said[0], said[2]]


async def test_what_was_only_withdrawn_in_the_store_is_loaded_as_such(store: Store) -> None:
    history, said = SQLHistoryProvider(store), some_messages(2)
    await history.append(a_session(), said)
    conversation = await store.conversations.get(TENANT, "s1")
    await store.conversations.mark(TENANT, conversation.id, [1], Flag.WITHDRAWN)

    kept = await history.load(a_session())

    assert what_counts(kept) == [replace(said[0], flags=Flag.WITHDRAWN), said[1]]


async def test_forgetting_makes_no_session(store: Store) -> None:
    await SQLHistoryProvider(store).forget(a_session(), [a_message().id])

    assert await store.agents.page(TENANT) == []


async def test_what_a_run_answers_is_not_forgotten_meanwhile(store: Store) -> None:
    conversation = await a_conversation(store, await an_agent(store, name="Chef"))
    await a_claimed_run(store, a_submission(conversation))
    history = SQLHistoryProvider(store)
    [asked] = await history.load(a_session(conversation.id))

    with pytest.raises(ProviderError, match="run"):
        await history.forget(a_session(conversation.id), [asked.id])

    assert await history.load(a_session(conversation.id)) == [asked]
