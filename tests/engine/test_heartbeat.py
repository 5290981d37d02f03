"""The heartbeat renews what is held, tells what is lost, and lets go of what hangs."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from typing_extensions import override

from tertulia import ids
from tertulia.conversations import Lease
from tertulia.engine.heartbeat import Heartbeat
from tertulia.errors import StoreUnavailable
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.in_memory.runs import InMemoryRuns
from tertulia.stores.in_memory.state import State
from tests.engine.kit import Seconds

_LEASE_SECONDS = 0.06
_LONG = 3600.0


class Watched(InMemoryRuns):
    """Notes what is renewed; can be told to fail, and that a run is another's."""

    def __init__(self) -> None:
        super().__init__(State(now=lambda: 0))
        self.renewed: list[Lease] = []
        self.threads: set[str] = set()
        self.failures: list[Exception] = []
        self.lost: set[str] = set()
        self.was_asked = threading.Semaphore(0)

    @override
    async def renew(self, leases: Sequence[Lease], *, lease_us: int) -> set[str]:
        assert lease_us == int(_LEASE_SECONDS * 1_000_000)
        self.threads.add(threading.current_thread().name)
        self.was_asked.release()
        if self.failures:
            raise self.failures.pop()
        self.renewed += leases
        return {lease.run_id for lease in leases} - self.lost

    async def beaten(self, times: int = 1) -> None:
        """Wait until leases were renewed so many times more."""
        for _ in range(times):
            assert await asyncio.to_thread(self.was_asked.acquire, timeout=30)


def a_lease(*, epoch: int = 1, run_id: str | None = None) -> Lease:
    return Lease(
        tenant=0,
        run_id=run_id or ids.new_id(ids.RUN),
        conversation_id=ids.new_id(ids.CONVERSATION),
        epoch=epoch,
        owner=ids.new_id(ids.OWNER),
    )


@asynccontextmanager
async def a_heartbeat(runs: Watched, lost: list[Lease] | None = None) -> AsyncIterator[Heartbeat]:
    found: list[Lease] = [] if lost is None else lost
    heartbeat = Heartbeat(runs, lease_seconds=_LEASE_SECONDS, on_lost=found.extend)
    heartbeat.start()
    try:
        yield heartbeat
    finally:
        await heartbeat.stop()


async def test_held_lease_is_renewed_again_and_again_in_a_thread_of_its_own() -> None:
    runs, lease = Watched(), a_lease()

    async with a_heartbeat(runs) as heartbeat:
        heartbeat.hold(lease, for_seconds=_LONG)
        await runs.beaten(3)

    assert set(runs.renewed) == {lease}
    assert runs.threads == {"tertulia-heartbeat"}


async def test_dropped_lease_is_not_renewed() -> None:
    runs, kept, dropped = Watched(), a_lease(), a_lease()

    async with a_heartbeat(runs) as heartbeat:
        heartbeat.hold(dropped, for_seconds=_LONG)
        heartbeat.drop(dropped)
        heartbeat.hold(kept, for_seconds=_LONG)
        await runs.beaten(2)

    assert dropped not in runs.renewed


async def test_dropping_an_earlier_lease_leaves_a_later_one_of_the_same_run() -> None:
    runs, early = Watched(), a_lease()
    late = a_lease(epoch=2, run_id=early.run_id)

    async with a_heartbeat(runs) as heartbeat:
        heartbeat.hold(early, for_seconds=_LONG)
        heartbeat.hold(late, for_seconds=_LONG)
        heartbeat.drop(early)
        await runs.beaten(2)

    assert runs.renewed[-1] == late


async def test_holder_that_hangs_is_told_once_and_renewed_no_more() -> None:
    runs, lost, hanging, alive = Watched(), list[Lease](), a_lease(), a_lease()

    async with a_heartbeat(runs, lost) as heartbeat:
        heartbeat.hold(hanging, for_seconds=0)
        heartbeat.hold(alive, for_seconds=_LONG)
        await runs.beaten(3)

    assert hanging not in runs.renewed
    assert lost == [hanging]


async def test_holder_that_was_heard_of_in_time_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, runs, lost, lease = Seconds(), Watched(), list[Lease](), a_lease()
    monkeypatch.setattr("tertulia.engine.heartbeat.time", seconds)

    async with a_heartbeat(runs, lost) as heartbeat:
        heartbeat.hold(lease, for_seconds=_LONG)
        seconds.passed += _LONG - 1
        heartbeat.hold(lease, for_seconds=_LONG)
        seconds.passed += _LONG - 1
        await runs.beaten(3)

    assert lost == []


async def test_lost_lease_is_told() -> None:
    runs, lost, mine, theirs = Watched(), list[Lease](), a_lease(), a_lease()
    runs.lost = {theirs.run_id}

    async with a_heartbeat(runs, lost) as heartbeat:
        for lease in (mine, theirs):
            heartbeat.hold(lease, for_seconds=_LONG)
        await runs.beaten(2)

    assert set(lost) == {theirs}


@pytest.mark.parametrize("failure", [StoreUnavailable(), RuntimeError("a fault")], ids=["away", "broken"])
async def test_store_that_fails_for_a_while_is_asked_again(failure: Exception) -> None:
    runs, lease, lost = Watched(), a_lease(), list[Lease]()
    runs.failures = [failure, failure]

    async with a_heartbeat(runs, lost) as heartbeat:
        heartbeat.hold(lease, for_seconds=_LONG)
        await runs.beaten(3)

    assert lease in runs.renewed
    assert lost == []


async def test_listener_that_fails_stops_no_heart() -> None:
    runs, alive, hanging = Watched(), a_lease(), a_lease()

    def fail(_: Sequence[Lease]) -> None:
        raise RuntimeError

    heartbeat = Heartbeat(runs, lease_seconds=_LEASE_SECONDS, on_lost=fail)
    heartbeat.start()
    heartbeat.hold(hanging, for_seconds=0)
    heartbeat.hold(alive, for_seconds=_LONG)
    await runs.beaten(2)
    await heartbeat.stop()

    assert set(runs.renewed) == {alive}


async def test_heartbeat_may_be_stopped_twice_and_without_a_start() -> None:
    heartbeat = Heartbeat(InMemoryStore().runs, lease_seconds=_LEASE_SECONDS, on_lost=lambda _: None)

    await heartbeat.stop()
    heartbeat.start()
    await heartbeat.stop()
    await heartbeat.stop()
