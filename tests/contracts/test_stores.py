"""Every store of ours against the contract."""

from collections import Counter

from tertulia.conversations import DEFAULT_TENANT, Commit
from tertulia.ids import AGENT, OWNER, new_id
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.rules import KEY_LIFE_US
from tertulia.testing.builders import (
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_decision,
    a_definition,
    a_job,
    a_once,
    a_submission,
    a_wait,
    a_waiting_run,
)
from tertulia.testing.store_contract import StoreContract

TENANT = DEFAULT_TENANT


class TestStores(StoreContract):
    """The fixture ``store`` is there once for every kind of store."""


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.time = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.time


def test_no_room_of_the_contract_hides_a_test_of_another() -> None:
    rooms = StoreContract.__mro__[1:]

    tests = Counter(name for room in rooms for name in vars(room) if name.startswith("test_"))

    assert len(tests) > 200
    assert [name for name, count in tests.items() if count > 1] == []


async def test_write_happens_once_within_a_day() -> None:
    clock = Clock()
    store = InMemoryStore(now=clock)

    async def made(name: str) -> str:
        agent = await store.agents.create(TENANT, new_id(AGENT), a_definition(name=name), once=a_once())
        return agent.definition.name

    names = []
    for later, name in ((0, "first"), (KEY_LIFE_US - 1, "second"), (1, "third"), (KEY_LIFE_US - 1, "fourth")):
        clock.time += later
        names.append(await made(name))

    assert names == ["first", "first", "third", "third"]


async def test_wait_is_over_at_its_time_and_not_before() -> None:
    clock = Clock()
    store = InMemoryStore(now=clock)
    submission = a_submission(await a_conversation(store))
    claim = await a_waiting_run(store, submission, wait=a_wait(until=clock.time + 100))

    clock.time += 99
    early = await store.runs.claim(a_claimant(), limit=9)
    clock.time += 1
    [late] = await store.runs.claim(a_claimant(), limit=9)

    assert early == []
    assert late.run.id == claim.run.id


async def test_lease_of_a_decided_run_begins_when_it_is_decided() -> None:
    clock = Clock()
    store = InMemoryStore(now=clock)
    claim = await a_waiting_run(store, a_submission(await a_conversation(store)))

    clock.time += 1_000
    await store.runs.decide(TENANT, claim.run.id, a_decision(), a_claimant(lease_us=100))
    clock.time += 99
    early = await store.runs.claim(a_claimant(), limit=9)
    clock.time += 1

    assert early == []
    assert len(await store.runs.claim(a_claimant(), limit=9)) == 1


async def test_job_is_taken_when_it_is_due_or_its_lease_runs_out_and_not_before() -> None:
    clock = Clock()
    store = InMemoryStore(now=clock)
    claim = await a_claimed_run(store, a_submission(await a_conversation(store)))
    await store.runs.commit(claim.lease, Commit(jobs=(a_job(),)), None)

    async def attempts(later: int) -> list[int]:
        clock.time += later
        taken = await store.jobs.claim(new_id(OWNER), ["index"], limit=9, lease_us=100)
        return [job.attempt for job in taken]

    by_lease = [await attempts(later) for later in (0, 99, 1)]
    [job] = await store.jobs.page(TENANT)
    await store.jobs.postpone(job, due_at=clock.time + 50, error="busy")
    by_time = [await attempts(later) for later in (49, 1)]

    assert by_lease == [[1], [], [2]]
    assert by_time == [[], [3]]
