"""What a program says, branches and repeats: a request has one effect, and a branch counts as what it is."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from typing_extensions import override

from tertulia.conversations import Branch, Conversation
from tertulia.engine import ActiveRun, Performer, Turn
from tertulia.errors import Conflict, IdempotencyMismatch
from tertulia.memory.tokens import tokens_of
from tertulia.messages import Message
from tertulia.parts import text_content
from tertulia.runtime import RunOptions, Runtime
from tertulia.stores import Store, open_store
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.in_memory.conversations import InMemoryConversations
from tertulia.stores.in_memory.state import State
from tertulia.testing.builders import PERFORMER, a_conversation, all_texts, an_agent, an_answer

WORDS = ["hi", "What is there for dinner, and who has cooked it?", "é" * 70, "and dessert?", "x"]


class Echo(Performer):
    """Says everything once more, and twice."""

    def __init__(self) -> None:
        self.count = 0

    @override
    async def perform(self, run: ActiveRun) -> Turn:
        self.count += 1
        said = f"{run.input.text}! {run.input.text}!"
        return Turn(author="Echo", messages=(an_answer(said),), tokens=tokens_of(text_content(said)))


class Counting(InMemoryConversations):
    """A ledger that counts how many messages are read."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.read = 0

    @override
    async def messages(
        self, tenant: int, conversation_id: str, *, after: int = 0, limit: int = 100
    ) -> list[Message]:
        found = await super().messages(tenant, conversation_id, after=after, limit=limit)
        self.read += len(found)
        return found


@asynccontextmanager
async def a_runtime(store: Store, performer: Performer | None = None) -> AsyncIterator[Runtime]:
    """A started runtime whose performer echoes; it is stopped, with its store, at the end."""
    runtime = Runtime(store, {PERFORMER: performer or Echo()})
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop()


async def two_conversations(store: Store, *, alias: str | None = None) -> tuple[Conversation, Conversation]:
    """Store two conversations with one agent; the second may have a name."""
    agent = await an_agent(store)
    return await a_conversation(store, agent), await a_conversation(store, agent, alias=alias)


async def talk(runtime: Runtime, conversation: Conversation, texts: Sequence[str] = WORDS) -> None:
    """Have these texts said, and answered, one after the other."""
    for text in texts:
        await (await runtime.submit(text, conversation=conversation.id)).finished()


@pytest.mark.parametrize("url", ["memory://", "sqlite"])
async def test_branch_counts_the_tokens_of_a_conversation_that_grew_so_far(url: str, sqlite_url: str) -> None:
    store = open_store(sqlite_url if url == "sqlite" else url)
    async with a_runtime(store) as runtime:
        source, grown = await two_conversations(store)
        await talk(runtime, source)

        counted, expected = [], [0]
        for at in range(0, 2 * len(WORDS) + 1, 2):
            counted.append((await runtime.branch(source.id, at)).tokens)
        for text in WORDS:
            await talk(runtime, grown, [text])
            expected.append((await store.conversations.get(0, grown.id)).tokens)

    assert counted == expected


async def test_branch_of_a_branch_counts_what_it_shares_as_well() -> None:
    store = InMemoryStore()
    async with a_runtime(store) as runtime:
        source, grown = await two_conversations(store)
        await talk(runtime, source)
        branch = await runtime.fork(source.id, at=4)
        await talk(runtime, branch, ["other"])

        counted = [(await runtime.branch(branch.id, at)).tokens for at in (2, 4, 6)]
        expected = []
        for text in (*WORDS[:2], "other"):
            await talk(runtime, grown, [text])
            expected.append((await store.conversations.get(0, grown.id)).tokens)

    assert counted == expected


@pytest.mark.parametrize(("at", "read"), [(0, 0), (2, 2), (8, 2), (10, 0)])
async def test_only_the_shorter_side_is_read_to_count(at: int, read: int) -> None:
    store = InMemoryStore()
    async with a_runtime(store) as runtime:
        source = await a_conversation(store)
        await talk(runtime, source)
        counting = store._conversations = Counting(store.conversations._state)

        await runtime.branch(source.id, at)

    assert counting.read == read


async def test_fork_of_all_there_is_is_made_once_although_its_source_grows() -> None:
    store = InMemoryStore()
    async with a_runtime(store) as runtime:
        source = await a_conversation(store)
        await talk(runtime, source, WORDS[:1])

        first = await runtime.fork(source.id, alias="dinner")
        await talk(runtime, source, WORDS[1:])
        again = await runtime.fork(source.id, alias="dinner")

    assert (again.id, again.base) == (first.id, 2)


async def test_fork_under_a_name_that_something_else_has_is_refused() -> None:
    store = InMemoryStore()
    async with a_runtime(store) as runtime:
        source, other = await two_conversations(store, alias="taken")
        await talk(runtime, source, WORDS[:1])
        await talk(runtime, other, WORDS[:1])
        await runtime.fork(other.id, alias="theirs")

        for alias in "taken", "theirs":
            with pytest.raises(Conflict):
                await runtime.fork(source.id, alias=alias)


async def test_fork_at_a_place_is_refused_under_the_name_of_one_that_begins_elsewhere() -> None:
    store = InMemoryStore()
    async with a_runtime(store) as runtime:
        source = await a_conversation(store)
        await talk(runtime, source)
        await runtime.fork(source.id, at=2, alias="dinner")

        with pytest.raises(Conflict):
            await runtime.fork(source.id, at=4, alias="dinner")


@pytest.mark.parametrize("is_followed_first", [False, True])
async def test_same_key_is_one_run_whether_its_answer_is_followed_or_not(is_followed_first: bool) -> None:
    store, performer = InMemoryStore(), Echo()
    async with a_runtime(store, performer) as runtime:
        conversation = await a_conversation(store)
        options = RunOptions(idempotency_key="k", deltas=is_followed_first)
        other = replace(options, deltas=not is_followed_first)

        first = await runtime.submit("hi", conversation=conversation.id, options=options)
        again = await runtime.submit("hi", conversation=conversation.id, options=other)
        ends = [await first.finished(), await again.finished()]
        log = await all_texts(store, conversation)

    assert (first.run.id, first.is_new, again.is_new) == (again.run.id, True, False)
    assert ends[0].messages == ends[1].messages
    assert (performer.count, log) == (1, ["hi", "hi! hi!"])


@pytest.mark.parametrize("place", [0, 4])
async def test_same_key_at_another_place_is_another_request(place: int) -> None:
    store, performer = InMemoryStore(), Echo()
    async with a_runtime(store, performer) as runtime:
        source = await a_conversation(store)
        await talk(runtime, source, WORDS[:2])
        options = RunOptions(idempotency_key="k")

        async def say_at(at: int) -> str:
            branch: Branch = await runtime.branch(source.id, at)
            return (await runtime.submit("other", conversation=branch, options=options)).run.id

        first, again = await say_at(2), await say_at(2)
        with pytest.raises(IdempotencyMismatch):
            await say_at(place)

    assert (first, performer.count) == (again, 3)
