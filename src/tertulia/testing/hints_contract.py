"""What everything that carries hints does for those who ring and hear.

::

    class TestMyHints(HintsContract):
        @pytest.fixture
        def connected(self):
            return lambda: MyHints("here")

        @pytest.fixture
        def apart(self):
            return MyHints("elsewhere")
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterable
from weakref import ref

import pytest

from tertulia.hints.base import EVERYTHING, WORK, Hints
from tertulia.ids import RUN, new_id

LIMIT_SECONDS = 20.0


class Ear:
    """Hears, and can be waited for."""

    def __init__(self) -> None:
        self.heard: list[frozenset[str]] = []
        self._rang = asyncio.Event()

    def __call__(self, topics: frozenset[str]) -> None:
        self.heard.append(topics)
        self._rang.set()

    @property
    def topics(self) -> set[str]:
        """All that was heard so far."""
        return {topic for topics in self.heard for topic in topics}

    async def until(self, *topics: str) -> None:
        """Wait until each of these was heard."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while not self.topics.issuperset(topics):
                self._rang.clear()
                await self._rang.wait()

    async def until_all(self, topics: Iterable[str]) -> None:
        """Wait until each of these was heard, or everything."""
        wanted = set(topics)
        async with asyncio.timeout(LIMIT_SECONDS):
            while EVERYTHING not in self.topics and not self.topics >= wanted:
                self._rang.clear()
                await self._rang.wait()


class Pair:
    """Two who hear each other."""

    def __init__(self, one: Hints, other: Hints) -> None:
        self.one, self.other = one, other
        self.at_one, self.at_other = Ear(), Ear()


def a_run() -> str:
    """Return the id of a run."""
    return new_id(RUN)


@pytest.mark.asyncio
class HintsContract:
    """The laws of the port; a subclass gives the fixtures ``connected`` and ``apart``.

    Whatever ``connected`` returns hears the others that it returned, and rings for them, as if each
    were another process; ``apart`` is hints of something else. None of them is open.
    """

    @pytest.fixture
    async def pair(self, connected: Callable[[], Hints]) -> AsyncIterator[Pair]:
        two = Pair(connected(), connected())
        await two.one.open(two.at_one)
        await two.other.open(two.at_other)
        yield two
        await two.one.close()
        await two.other.close()

    async def test_what_one_rings_the_other_hears(self, pair: Pair) -> None:
        run = a_run()

        pair.one.ring({run})
        await pair.at_other.until(run)

        assert pair.at_other.topics == {run}

    async def test_they_hear_each_other_both_ways_and_again(self, pair: Pair) -> None:
        runs = [a_run() for _ in range(4)]

        for run in runs:
            pair.one.ring({run})
            await pair.at_other.until(run)
            pair.other.ring([run])
            await pair.at_one.until(run)

        assert pair.at_one.topics == pair.at_other.topics == set(runs)

    async def test_work_is_heard_beside_runs(self, pair: Pair) -> None:
        run = a_run()

        pair.one.ring((run, WORK))

        await pair.at_other.until(run, WORK)

    async def test_everything_is_heard_alone(self, pair: Pair) -> None:
        pair.one.ring({EVERYTHING, WORK, a_run()})

        await pair.at_other.until(EVERYTHING)

        assert frozenset({EVERYTHING}) in pair.at_other.heard

    async def test_nothing_that_is_rung_in_a_hurry_is_missed(self, pair: Pair) -> None:
        runs = [a_run() for _ in range(300)]

        for run in runs:
            pair.one.ring({run})
            pair.one.ring({runs[0]})

        await pair.at_other.until_all(runs)

    async def test_more_than_can_be_told_one_by_one_is_told_all_the_same(self, pair: Pair) -> None:
        runs = {a_run() for _ in range(5000)}

        pair.one.ring(runs)

        await pair.at_other.until_all(runs)

    async def test_topic_that_nobody_knows_does_no_harm(self, pair: Pair) -> None:
        run = a_run()

        pair.one.ring({"it's a ; strange\n\N{SNOWMAN} one"})
        pair.one.ring({run})

        await pair.at_other.until_all({run})

    async def test_topics_that_are_heard_are_never_none(self, pair: Pair) -> None:
        run = a_run()

        pair.one.ring(())
        pair.one.ring({run})
        await pair.at_other.until(run)

        assert frozenset() not in pair.at_other.heard

    async def test_ringing_is_allowed_from_any_thread(self, pair: Pair) -> None:
        run = a_run()

        await asyncio.to_thread(pair.one.ring, {run})

        await pair.at_other.until(run)

    async def test_hearing_is_in_the_event_loop_of_whoever_opened(
        self, connected: Callable[[], Hints]
    ) -> None:
        here, heard_in = asyncio.get_running_loop(), asyncio.Event()
        listener, ringer = connected(), connected()

        async def ring_elsewhere() -> None:
            await ringer.open(lambda _: None)
            ringer.ring({a_run()})
            await ringer.close()

        def hear(_: frozenset[str]) -> None:
            assert asyncio.get_running_loop() is here
            heard_in.set()

        await listener.open(hear)
        await asyncio.to_thread(asyncio.run, ring_elsewhere())
        async with asyncio.timeout(LIMIT_SECONDS):
            await heard_in.wait()
        await listener.close()

    async def test_what_is_rung_just_before_closing_is_told(self, connected: Callable[[], Hints]) -> None:
        run, ear = a_run(), Ear()
        listener, leaving = connected(), connected()
        await listener.open(ear)
        await leaving.open(lambda _: None)

        leaving.ring({run})
        await leaving.close()

        await ear.until(run)
        await listener.close()

    async def test_closed_ones_hear_and_ring_no_more(
        self, pair: Pair, connected: Callable[[], Hints]
    ) -> None:
        third, at_third = connected(), Ear()
        await third.open(at_third)
        late, run = a_run(), a_run()

        await pair.other.close()
        pair.other.ring({late})
        third.ring({run})
        await pair.at_one.until(run)
        await third.close()

        assert pair.at_other.heard == []
        assert late not in pair.at_one.topics | at_third.topics

    async def test_nothing_is_heard_once_it_is_closed(self, pair: Pair) -> None:
        run = a_run()

        pair.one.ring({run})
        await pair.other.close()
        heard_until_then = list(pair.at_other.heard)
        pair.one.ring({WORK})
        await pair.at_one.until(WORK)

        assert pair.at_other.heard == heard_until_then

    async def test_closed_ones_are_not_kept(self, connected: Callable[[], Hints]) -> None:
        hints, ear = connected(), Ear()
        known = ref(ear)

        await hints.open(ear)
        await hints.close()
        del hints, ear
        gc.collect()

        assert known() is None

    async def test_hints_of_something_else_are_not_heard(self, pair: Pair, apart: Hints) -> None:
        run, foreign, at_apart = a_run(), a_run(), Ear()
        await apart.open(at_apart)

        apart.ring({foreign})
        await apart.close()
        pair.one.ring({run})
        await pair.at_other.until(run)

        assert pair.at_other.topics == {run}
        assert run not in at_apart.topics

    async def test_ringing_before_opening_does_nothing(
        self, pair: Pair, connected: Callable[[], Hints]
    ) -> None:
        early, run = a_run(), a_run()

        connected().ring({early})
        pair.one.ring({run})
        await pair.at_other.until(run)

        assert early not in pair.at_other.topics

    async def test_closing_twice_is_closing_once(self, pair: Pair) -> None:
        await pair.one.close()
        await pair.one.close()

    async def test_what_was_never_open_may_be_closed(self, connected: Callable[[], Hints]) -> None:
        await connected().close()
