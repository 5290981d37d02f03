"""Of a run that has ended nothing is kept alive here: whoever asks later is told by the store."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeAlias
from weakref import ref

import pytest
from typing_extensions import override

from tertulia.conversations import Conversation, RunStatus
from tertulia.engine import ActiveRun, Engine, Performer, Turn
from tertulia.errors import ModelBusy
from tertulia.events import RunFinished, TurnFinished
from tertulia.messages import Flag
from tertulia.stores import Store, open_store
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import a_conversation, a_submission
from tests.engine.kit import (
    Doing,
    Gate,
    Tally,
    a_turn,
    an_engine,
    followed,
    kinds,
    say,
    settled,
    step,
    submit,
)

pytestmark = pytest.mark.usefixtures("quick")

WORD = "xyzzy"
Performing: TypeAlias = Callable[[ActiveRun], Awaitable[Turn | None]]


class Forgetful(Performer):
    """Does what it is made of, and holds none of its runs."""

    def __init__(self, perform: Performing) -> None:
        self._perform = perform

    @override
    async def perform(self, run: ActiveRun) -> Turn | None:
        return await self._perform(run)


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Have nothing collected that lives by a cycle alone."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def _answer(run: ActiveRun) -> Turn:
    run.when_kept(lambda _: run.pass_point("kept"))
    run.when_stopped(lambda: a_turn(run.input.text))
    await step(run, "turn/1/model/1", Tally())
    return a_turn()


async def _fail(run: ActiveRun) -> Turn:
    run.when_stopped(lambda: a_turn(run.input.text))
    await step(run, "turn/1/model/1", Tally())
    raise ModelBusy


async def _erase(store: Store, conversation: Conversation) -> None:
    """Erase everything that was said in a conversation."""
    head = (await store.conversations.get(0, conversation.id)).head
    await store.conversations.mark(0, conversation.id, range(1, head + 1), Flag.DELETED)


async def _keyed(engine: Engine, conversation: Conversation) -> RunFinished:
    """Have the same thing said under the same key, once and again; return how it ended."""
    ticket = await engine.submit(a_submission(conversation, "U", key="k"))
    return await ticket.finished()


def telling_a_word() -> Doing:
    """Return a performer that says what is to be erased later, in pieces and as a whole."""

    async def perform(run: ActiveRun) -> Turn:
        say(run, WORD)
        say(run, f" {WORD}")
        return a_turn(f"{WORD} {WORD}")

    return Doing(perform)


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("perform", [_answer, _fail])
async def test_run_that_has_ended_leaves_nothing_behind(perform: Performing) -> None:
    store = InMemoryStore()

    async with an_engine(store, Forgetful(perform)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        live = ref(ticket.live)
        await asyncio.wait([asyncio.ensure_future(ticket.following.finished())])
        await settled(engine)
        known = list(engine._carrier._live)
        del ticket
        await asyncio.sleep(0)

        assert (known, live()) == ([], None)


@pytest.mark.usefixtures("uncollected")
async def test_run_that_was_cancelled_leaves_nothing_behind() -> None:
    store, gate = InMemoryStore(), Gate()

    async def perform(run: ActiveRun) -> Turn:
        await step(run, "turn/1/model/1", gate)
        return a_turn()

    async with an_engine(store, Forgetful(perform)) as engine:
        ticket = await submit(engine, await a_conversation(store))
        live = ref(ticket.live)
        await gate.reached()
        run = await engine.cancel(0, ticket.run.id)
        await settled(engine)
        known = list(engine._carrier._live)
        del ticket
        await asyncio.sleep(0)

        assert (run.status, known, live()) == (RunStatus.CANCELLED, [], None)


@pytest.mark.parametrize("url", ["memory://", "sqlite"])
async def test_what_was_erased_after_a_run_is_told_nobody_any_more(url: str, sqlite_url: str) -> None:
    store = open_store(sqlite_url if url == "sqlite" else url)
    await store.open()
    conversation = await a_conversation(store)

    async with an_engine(store, telling_a_word()) as engine:
        ticket = await engine.submit(a_submission(conversation, "U", key="k"))
        first = await ticket.finished()
        await settled(engine)
        await _erase(store, conversation)
        seen = await followed(engine, ticket.run.id)
        again = await _keyed(engine, conversation)
    await store.close()

    assert first.messages[0].text == f"{WORD} {WORD}"
    assert WORD not in repr(seen) + repr(again)
    assert kinds(seen)[-1] == RunFinished.kind
    assert again.run_id == first.run_id


async def test_who_comes_while_somebody_still_holds_an_ended_run_is_told_by_the_store() -> None:
    store = InMemoryStore()
    conversation = await a_conversation(store)

    async with an_engine(store, telling_a_word()) as engine:
        holder = await submit(engine, conversation)
        await holder.finished()
        await settled(engine)
        later = engine._carrier.live(holder.run.id)
        seen = await followed(engine, holder.run.id)

    assert later is not holder.live
    assert [each.seq for each in seen] == list(range(len(seen)))
    assert kinds(seen)[-2:] == [TurnFinished.kind, RunFinished.kind]
