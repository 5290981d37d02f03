"""What the contract cannot ask of the in-memory store: its clock and its threads."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from tertulia.conversations import (
    DEFAULT_TENANT,
    Accepted,
    Branch,
    Commit,
    Conversation,
    Frame,
    Job,
    Once,
    RunStatus,
    StoredJob,
    Wait,
)
from tertulia.errors import ConversationMovedOn, DuplicateName, IdempotencyMismatch, StopRequested
from tertulia.ids import AGENT, CONVERSATION, JOB, OWNER, RUN, new_id
from tertulia.messages import Flag
from tertulia.stores import STORES, StoreOptions, open_store
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.rules import KEY_LIFE_US, STOPPED
from tertulia.testing.builders import (
    CANCELLED,
    OVER_AT_ONCE,
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_definition,
    a_digest,
    a_failed_run,
    a_finish,
    a_new_conversation,
    a_queued_run,
    a_submission,
    all_texts,
    an_agent,
    an_answer,
    an_exchange,
)

TENANT = DEFAULT_TENANT
START = 1_700_000_000_000_000


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> int:
        return self.time


async def a_fork(store: InMemoryStore, source: Conversation, *, at: int) -> Conversation:
    branch = Branch(source=source.id, at=at, tokens=10 * at, id=new_id(CONVERSATION))
    return await store.conversations.fork(TENANT, branch)


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


async def test_key_of_any_write_is_known_for_a_day() -> None:
    clock = Clock()
    store = InMemoryStore(now=clock)
    agent = await an_agent(store)
    source = await a_conversation(store, agent)
    failed = await a_failed_run(store, a_submission(source))
    once = Once(key="k", request_hash=a_digest("x"))

    async def ids() -> list[str]:
        made = await store.conversations.create(TENANT, a_new_conversation(agent), once=once)
        branch = Branch(source=source.id, at=1, tokens=10, id=new_id(CONVERSATION))
        forked = await store.conversations.fork(TENANT, branch, once=once)
        created = await store.agents.create(TENANT, new_id(AGENT), a_definition(name="Waiter"), once=once)
        retried = await store.runs.retry(TENANT, failed.run.id, new_id(RUN), a_claimant(), once=once)
        return [made.id, forked.id, created.id, retried.run.id]

    first = await ids()
    clock.time += KEY_LIFE_US - 1
    again = await ids()
    clock.time += 1

    assert again == first
    with pytest.raises(DuplicateName):
        await store.agents.create(TENANT, new_id(AGENT), a_definition(name="Waiter"), once=once)
    with pytest.raises(ConversationMovedOn):
        await store.runs.retry(TENANT, failed.run.id, new_id(RUN), a_claimant(), once=once)
    assert (await store.conversations.create(TENANT, a_new_conversation(agent), once=once)).id != first[0]


async def test_key_of_one_kind_of_write_is_refused_to_another() -> None:
    store = InMemoryStore()
    source = await a_conversation(store)
    request = a_submission(source, key="k")
    once = Once(key="k", request_hash=request.request_hash)
    branch = Branch(source=source.id, at=0, tokens=0, id=new_id(CONVERSATION))

    await store.conversations.fork(TENANT, branch, once=once)

    with pytest.raises(IdempotencyMismatch):
        await store.runs.accept(request, a_claimant())


async def test_waiting_run_is_taken_over_when_its_time_is_over_and_not_before() -> None:
    clock = Clock()
    store = InMemoryStore(now=clock)
    claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
    wait = Wait(kind="approval", path="turn/1/tool/1", message="May it?", until=START + 100)
    await store.runs.commit(claim.lease, Commit(wait=wait), None)

    clock.time += 99
    early = await store.runs.claim(a_claimant(), limit=9)
    waiting = await store.runs.waiting(TENANT)
    clock.time += 1
    [late] = await store.runs.claim(a_claimant(), limit=9)

    assert early == []
    assert [run.wait for run in waiting] == [wait]
    assert (late.run.status, late.run.wait, late.run.epoch) == (RunStatus.RUNNING, wait, 2)
    assert await store.runs.waiting(TENANT) == []


async def test_job_is_begun_when_it_is_due_and_again_when_its_lease_runs_out() -> None:
    clock = Clock()
    store = InMemoryStore(now=clock)
    claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
    job = Job(id=new_id(JOB), kind="index", payload="{}")
    await store.runs.commit(claim.lease, Commit(jobs=(job,)), None)

    async def begun() -> list[StoredJob]:
        return await store.jobs.claim(new_id(OWNER), ["index"], limit=9, lease_us=100)

    [first] = await begun()
    clock.time += 99
    assert await begun() == []
    clock.time += 1
    [second] = await begun()
    await store.jobs.finish(first)
    await store.jobs.postpone(second, due_at=clock.time + 10, error="away")
    clock.time += 9
    assert await begun() == []
    clock.time += 1
    [third] = await begun()

    assert [each.attempt for each in (first, second, third)] == [1, 2, 3]
    assert (third.error, third.due_at, third.created_at) == ("away", clock.time, START)


async def test_job_that_was_revived_is_not_its_old_owners() -> None:
    store = InMemoryStore()
    claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
    job = Job(id=new_id(JOB), kind="index", payload="{}")
    await store.runs.commit(claim.lease, Commit(jobs=(job,)), None)

    [lost] = await store.jobs.claim(new_id(OWNER), ["index"], limit=9, lease_us=OVER_AT_ONCE)
    [held] = await store.jobs.claim(new_id(OWNER), ["index"], limit=9, lease_us=OVER_AT_ONCE)
    await store.jobs.bury(held, error="for good")
    await store.jobs.revive(TENANT, job.id)
    [anew] = await store.jobs.claim(new_id(OWNER), ["index"], limit=9, lease_us=OVER_AT_ONCE)
    await store.jobs.finish(lost)

    assert anew.attempt == lost.attempt
    assert await store.jobs.get(TENANT, job.id) == anew


async def test_events_are_let_go_of_by_the_time_their_run_has_ended_at() -> None:
    clock = Clock()
    store = InMemoryStore(now=clock)
    claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
    told = [Frame(first_seq=i, last_seq=i, data="[]") for i in range(4)]

    await store.runs.record([(claim.lease, frame) for frame in told])
    clock.time += 1
    await store.runs.commit(claim.lease, a_finish("an answer"), None)
    too_early = await store.runs.prune(before=START + 1, limit=9)
    at_most_one = await store.runs.prune(before=START + 2, limit=1)
    the_rest = await store.runs.prune(before=START + 2, limit=9)

    assert (too_early, at_most_one, the_rest) == (0, 1, 3)
    assert await store.runs.frames(TENANT, claim.run.id) == []


async def test_of_the_keys_that_are_over_no_more_are_let_go_of_than_asked() -> None:
    clock = Clock()
    store = InMemoryStore(now=clock)
    conversation = await a_conversation(store)
    for key in ("a", "b", "c"):
        await store.runs.accept(a_submission(conversation, key=key), None)

    clock.time += KEY_LIFE_US

    assert [await store.runs.prune(before=START, limit=2) for _ in range(3)] == [2, 1, 0]


async def test_branch_of_a_branch_shares_the_very_messages() -> None:
    store = InMemoryStore()
    source = await a_conversation(store)
    await an_exchange(store, source)

    fork = await a_fork(store, source, at=2)
    await an_exchange(store, fork)
    deeper = await a_fork(store, fork, at=3)

    shown = [await store.conversations.messages(TENANT, each.id) for each in (source, fork, deeper)]
    assert [len(messages) for messages in shown] == [2, 4, 3]
    assert all(one is other for one, other in zip(shown[0], shown[2], strict=False))
    assert shown[1][2] is shown[2][2]


async def test_only_those_who_share_a_marked_message_get_a_new_version() -> None:
    store = InMemoryStore()
    source = await a_conversation(store)
    await an_exchange(store, source)
    short, long = await a_fork(store, source, at=1), await a_fork(store, source, at=2)
    deeper = await a_fork(store, long, at=2)

    for _ in range(2):
        await store.conversations.mark(TENANT, deeper.id, [2, 2], Flag.DELETED)

    rows = [await store.conversations.get(TENANT, each.id) for each in (source, short, long, deeper)]
    assert [row.version for row in rows] == [2, 1, 2, 2]
    [tombstone] = await store.conversations.messages(TENANT, source.id, after=1)
    assert (tombstone.text, tombstone.author, tombstone.flags) == ("", None, Flag.DELETED)


async def test_run_that_rolls_another_back_is_asked_with_all_of_it_withdrawn() -> None:
    store = InMemoryStore()
    conversation = await a_conversation(store)
    held = await a_claimed_run(store, a_submission(conversation, "first"))
    await store.runs.commit(held.lease, Commit(messages=(an_answer("half"),), tokens=10), None)

    accepted = await store.runs.accept(
        a_submission(conversation, "instead", multitask="rollback"), a_claimant()
    )
    with pytest.raises(StopRequested):
        await store.runs.commit(held.lease, a_finish("late"), None)
    committed = await store.runs.commit(held.lease, a_finish("partial", ending=CANCELLED), a_claimant())

    assert accepted.stops == held.run.id
    assert committed.next is not None
    assert (committed.next.run.id, committed.next.conversation.version) == (accepted.run.id, 2)
    messages = await store.conversations.messages(TENANT, conversation.id)
    assert [(message.text, bool(message.flags & Flag.WITHDRAWN)) for message in messages] == [
        ("first", True),
        ("half", True),
        ("partial", True),
        ("instead", False),
    ]


async def test_waiting_run_makes_way_at_once() -> None:
    store = InMemoryStore()
    conversation = await a_conversation(store)
    held = await a_claimed_run(store, a_submission(conversation, "first"))
    wait = Wait(kind="approval", path="turn/1/tool/1", message="May it?", until=START)
    await store.runs.commit(held.lease, Commit(wait=wait), None)
    queued = await a_queued_run(store, a_submission(conversation, "second"))

    accepted = await store.runs.accept(
        a_submission(conversation, "third", multitask="interrupt"), a_claimant()
    )

    assert accepted.claim is not None
    assert (accepted.claim.run.id, accepted.run.status, accepted.stops) == (
        queued.run.id,
        RunStatus.QUEUED,
        None,
    )
    ended = await store.runs.get(TENANT, held.run.id)
    assert (ended.status, ended.failure, ended.wait) == (RunStatus.CANCELLED, STOPPED, None)


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
