import asyncio

from tertulia.hints import EVERYTHING
from tertulia.hints.gathering import Gathering
from tertulia.testing.hints_contract import Ear


async def test_what_comes_in_one_turn_of_the_loop_is_told_together() -> None:
    ear = Ear()
    gathering = Gathering(ear)

    gathering.add({"a"})
    gathering.add(["b", "a"])
    told_at_once = list(ear.heard)
    await ear.until("a", "b")

    assert told_at_once == []
    assert ear.heard == [{"a", "b"}]


async def test_everything_takes_the_place_of_all_else() -> None:
    ear = Ear()
    gathering = Gathering(ear)

    gathering.add({"a"})
    gathering.add({EVERYTHING})
    await ear.until(EVERYTHING)

    assert ear.heard == [{EVERYTHING}]


async def test_many_threads_lose_nothing() -> None:
    ear = Ear()
    gathering = Gathering(ear)
    topics = [str(n) for n in range(2000)]

    def add_each(part: list[str]) -> None:
        for topic in part:
            gathering.add({topic})

    await asyncio.gather(*(asyncio.to_thread(add_each, topics[at::4]) for at in range(4)))

    await ear.until(*topics)


async def test_closed_one_tells_nothing_of_what_it_had() -> None:
    ear, other = Ear(), Ear()
    gathering, witness = Gathering(ear), Gathering(other)

    gathering.add({"a"})
    gathering.close()
    gathering.add({"b"})
    witness.add({"c"})
    await other.until("c")

    assert ear.heard == []


def test_nobody_is_told_in_a_loop_that_has_ended() -> None:
    ear = Ear()

    async def make() -> Gathering:
        return Gathering(ear)

    gathering = asyncio.run(make())
    gathering.add({"a"})
    gathering.tell()

    assert ear.heard == []
