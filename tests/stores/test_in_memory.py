"""What the contract cannot ask of the in-memory store: its clock and its threads."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from tertulia.conversations import DEFAULT_TENANT, Accepted
from tertulia.stores import STORES, StoreOptions, open_store
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.rules import KEY_LIFE_US
from tertulia.testing.builders import (
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_finish,
    a_new_conversation,
    a_submission,
    all_texts,
    an_agent,
)

TENANT = DEFAULT_TENANT
START = 1_700_000_000_000_000


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> int:
        return self.time


def test_store_is_found_by_its_url() -> None:
    assert isinstance(open_store("memory://"), InMemoryStore)
    assert STORES.get("memory") is InMemoryStore


async def test_stores_share_nothing() -> None:
    one, other = (InMemoryStore.from_url("memory://", StoreOptions()) for _ in range(2))

    await an_agent(one)

    assert await other.agents.page(TENANT) == []


async def test_run_is_taken_over_when_its_lease_runs_out_and_not_before() -> None:
    clock = Clock()
    store = InMemoryStore(now=clock)
    claim = await a_claimed_run(
        store, a_submission(await a_conversation(store)), claimant=a_claimant(lease_us=100)
    )

    clock.time += 99
    early = await store.runs.claim(a_claimant(), limit=9)
    clock.time += 1
    [late] = await store.runs.claim(a_claimant(), limit=9)

    assert early == []
    assert (late.run.id, late.run.epoch) == (claim.run.id, 2)
    assert (late.run.created_at, late.run.started_at) == (START, START)


async def test_renewed_lease_counts_from_now() -> None:
    clock = Clock()
    store = InMemoryStore(now=clock)
    claim = await a_claimed_run(
        store, a_submission(await a_conversation(store)), claimant=a_claimant(lease_us=100)
    )

    clock.time += 90
    await store.runs.renew([claim.lease], lease_us=100)
    clock.time += 99

    assert await store.runs.claim(a_claimant(), limit=9) == []
    clock.time += 1
    assert len(await store.runs.claim(a_claimant(), limit=9)) == 1


async def test_key_is_known_for_a_day() -> None:
    clock = Clock()
    store = InMemoryStore(now=clock)
    agent = await an_agent(store)

    async def sent() -> Accepted:
        return await store.runs.accept(a_submission(a_new_conversation(agent), key="k"), a_claimant())

    first = await sent()
    clock.time += KEY_LIFE_US - 1
    again = await sent()
    clock.time += 1
    next_day = await sent()
    joined = await sent()

    assert (again.run.id, again.is_new) == (first.run.id, False)
    assert next_day.is_new
    assert next_day.conversation.id != first.conversation.id
    assert (joined.run.id, joined.is_new) == (next_day.run.id, False)


async def test_times_are_those_of_the_clock() -> None:
    clock = Clock()
    store = InMemoryStore(now=clock)
    claim = await a_claimed_run(store, a_submission(await a_conversation(store)))

    clock.time += 5
    await store.runs.commit(claim.lease, a_finish("answer"), None)

    run = await store.runs.get(TENANT, claim.run.id)
    assert (run.created_at, run.started_at, run.ended_at) == (START, START, START + 5)
    assert claim.input.created_at == claim.conversation.created_at == START


async def test_lease_is_renewed_from_another_threads_loop() -> None:
    store = InMemoryStore()
    claim = await a_claimed_run(store, a_submission(await a_conversation(store)))

    held = await asyncio.to_thread(lambda: asyncio.run(store.runs.renew([claim.lease], lease_us=1_000_000)))

    assert held == {claim.run.id}


async def test_threads_lose_and_double_nothing() -> None:
    store = InMemoryStore()
    conversation = await a_conversation(store)
    threads, each = 4, 50

    async def talk() -> int:
        claimant, finished = a_claimant(), 0
        for _ in range(each):
            claim = (await store.runs.accept(a_submission(conversation), claimant)).claim
            while claim is not None:
                claim = (await store.runs.commit(claim.lease, a_finish("answer"), claimant)).next
                finished += 1
        return finished

    with ThreadPoolExecutor(threads) as pool:
        finished = sum(pool.map(lambda _: asyncio.run(talk()), range(threads)))

    assert finished == threads * each
    assert await all_texts(store, conversation) == ["hello", "answer"] * finished
