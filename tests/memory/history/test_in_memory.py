import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from tertulia.errors import InvalidInput, ModelBusy
from tertulia.memory.history import InMemoryHistoryProvider, SupportsLog
from tertulia.memory.history.in_memory import ReduceOn
from tertulia.memory.reducers.base import Reducer
from tertulia.messages import Message
from tertulia.testing.history_contract import a_message, a_session, some_messages


class Newest(Reducer):
    """Shows the newest messages only; what it shows of a shorter list does not matter for a longer one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.asked = 0

    @override
    async def reduce(self, messages: list[Message]) -> list[Message]:
        self.asked += 1
        return messages[-self._most :]


class Failing(Newest):
    """Fails the first time."""

    @override
    async def reduce(self, messages: list[Message]) -> list[Message]:
        reduced = await super().reduce(messages)
        if self.asked == 1:
            raise ModelBusy
        return reduced


class Held(Newest):
    """Ends its first work when it is told to."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.began, self.may_end = asyncio.Event(), asyncio.Event()

    @override
    async def reduce(self, messages: list[Message]) -> list[Message]:
        reduced = await super().reduce(messages)
        if not self.began.is_set():
            self.began.set()
            await self.may_end.wait()
        return reduced


@pytest.mark.parametrize("reduce_on", ["read", "write"])
async def test_reduced_history_is_not_a_lost_one(reduce_on: ReduceOn) -> None:
    history, said = InMemoryHistoryProvider(Newest(2), reduce_on), some_messages(6)

    for message in said:
        await history.append(a_session(), [message])

    assert await history.load(a_session()) == said[-2:]
    assert await history.all(a_session()) == said


@given(sizes=st.lists(st.integers(0, 4), max_size=8), most=st.integers(1, 6))
def test_it_does_not_matter_when_it_is_reduced(sizes: list[int], most: int) -> None:
    turns = [some_messages(size) for size in sizes]

    async def loaded(reduce_on: ReduceOn) -> list[list[Message]]:
        history, found = InMemoryHistoryProvider(Newest(most), reduce_on), []
        for turn in turns:
            await history.append(a_session(), turn)
            found.append(await history.load(a_session()))
        return found

    assert asyncio.run(loaded("read")) == asyncio.run(loaded("write"))


async def test_what_was_reduced_when_it_was_written_is_not_reduced_again() -> None:
    reducer = Newest(2)
    history = InMemoryHistoryProvider(reducer, "write")
    await history.append(a_session(), some_messages(6))

    for _ in range(3):
        await history.load(a_session())

    assert reducer.asked == 1


async def test_reducer_that_fails_costs_no_message() -> None:
    history, said = InMemoryHistoryProvider(Failing(2), "write"), some_messages(4)

    with pytest.raises(ModelBusy):
        await history.append(a_session(), said)

    assert await history.all(a_session()) == said
    assert await history.load(a_session()) == said[-2:]


async def test_what_comes_in_while_it_is_reduced_is_not_lost() -> None:
    reducer, said = Held(3), some_messages(6)
    history = InMemoryHistoryProvider(reducer, "write")
    first = asyncio.create_task(history.append(a_session(), said[:2]))
    await reducer.began.wait()

    await history.append(a_session(), said[2:])
    reducer.may_end.set()
    await first

    assert await history.all(a_session()) == said
    assert await history.load(a_session()) == said[-3:]
    assert reducer.asked == 2


async def test_agent_that_has_it_keeps_its_log_in_process() -> None:
    history = InMemoryHistoryProvider()

    assert isinstance(history, SupportsLog)
    assert history.store_url == "memory://"
    assert (history.reducer, history.reduce_on) == (None, "read")
    assert await history.all(a_session()) == []


def test_reducing_at_another_time_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'read' or 'write'"):
        InMemoryHistoryProvider(Newest(2), "never")  # type: ignore[arg-type]  # what is refused


async def test_two_objects_keep_two_histories() -> None:
    one, other = InMemoryHistoryProvider(), InMemoryHistoryProvider()

    await one.append(a_session(), [a_message()])

    assert await other.load(a_session()) == []


@pytest.mark.parametrize("reduce_on", ["read", "write"])
async def test_what_was_forgotten_is_reduced_no_more(reduce_on: ReduceOn) -> None:
    history, said = InMemoryHistoryProvider(Newest(3), reduce_on), some_messages(6)
    await history.append(a_session(), said)
    await history.load(a_session())

    await history.forget(a_session(), [said[4].id])

    assert await history.load(a_session()) == [said[2], said[3], said[5]]
    assert await history.all(a_session()) == [*said[:4], said[5]]


async def test_what_is_forgotten_while_it_is_reduced_is_not_kept_by_that() -> None:
    reducer, said = Held(3), some_messages(4)
    history = InMemoryHistoryProvider(reducer, "write")
    first = asyncio.create_task(history.append(a_session(), said))
    await reducer.began.wait()

    await history.forget(a_session(), [said[3].id])
    reducer.may_end.set()
    await first

    assert await history.load(a_session()) == said[:3]
    assert reducer.asked == 2


async def test_what_was_forgotten_before_it_came_does_not_come() -> None:
    history, said = InMemoryHistoryProvider(), some_messages(3)

    await history.forget(a_session(), [said[1].id])
    await history.append(a_session(), said)

    assert await history.load(a_session()) == [said[0], said[2]]
