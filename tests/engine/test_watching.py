"""Of many who follow a run that is carried out elsewhere, one asks the store for all."""

import asyncio

import pytest
from typing_extensions import override

from tertulia.conversations import Frame
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.in_memory.runs import InMemoryRuns
from tertulia.stores.in_memory.state import State
from tertulia.testing.builders import a_claimed_run, a_conversation, a_finish, a_submission
from tests.engine.kit import an_engine, answering, followed, with_runs

_MANY = 50
_LOOKS = 200


class Counting(InMemoryRuns):
    """A ledger that counts how often it is asked for events, and by whom."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.looks = 0
        self.askers = set[object]()
        self._enough = asyncio.Event()
        self._limit = 0

    @override
    async def frames(self, tenant: int, run_id: str, *, after: int = -1, limit: int = 100) -> list[Frame]:
        self.looks += 1
        self.askers.add(asyncio.current_task())
        if self.looks == self._limit:
            self._enough.set()
        return await super().frames(tenant, run_id, after=after, limit=limit)

    async def until(self, asked: int) -> None:
        """Wait until it was asked so often in all."""
        self._limit = asked
        await asyncio.wait_for(self._enough.wait(), 20)
        self._enough.clear()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("first_leaves", [False, True])
async def test_many_who_follow_ask_no_more_than_one(
    first_leaves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tertulia.engine.following._OTHERS_SECONDS", 60.0)
    store = InMemoryStore()
    runs = with_runs(store, Counting(store.runs._state))
    claim = await a_claimed_run(store, a_submission(await a_conversation(store)))

    async with an_engine(store, answering()) as engine:
        following = [asyncio.create_task(followed(engine, claim.run.id)) for _ in range(_MANY)]
        await runs.until(_MANY)
        if first_leaves:
            following.pop(0).cancel()
        await runs.until(4 * _MANY)
        runs.askers.clear()
        await runs.until(4 * _MANY + _LOOKS)
        askers = len(runs.askers)
        await store.runs.commit(claim.lease, a_finish("A"), None)
        told = await asyncio.wait_for(asyncio.gather(*following), 20)

    assert askers == 1
    assert all(each == told[0] for each in told)
