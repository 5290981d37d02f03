"""Asking context providers: order, state, and that nothing one of them does touches anything else."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest
from typing_extensions import override

from tertulia import ToolError
from tertulia.errors import InvalidInput, ModelRefused, ProviderError, StoreUnavailable
from tertulia.memory.context.apart import apart
from tertulia.memory.context.asking import Company, RunFacts, check_names, source_of
from tertulia.memory.context.base import ContextProvider, RunContext
from tertulia.memory.history.opened import SOURCE as HISTORY_SOURCE
from tertulia.memory.sessions import Outcome, ProviderRun
from tertulia.memory.states import COPIED_SOURCE, States, user_scope
from tertulia.messages import Message
from tertulia.stores.base import KeptState
from tertulia.stores.states import VIEW_SOURCE
from tertulia.testing.context_contract import StatesInMemory, a_message, answered
from tertulia.tools.base import Tool

RUN = RunFacts(
    id="run_1",
    input=a_message("hello"),
    conversation_id="conv_1",
    shown_id="mine",
    agent="Parrot",
    user="ana",
)
OUTCOME = answered(RUN, "hello to you")


@dataclass
class Scripted(ContextProvider):
    """Does what it is told to."""

    called: str = "Scripted"
    before: Callable[[ProviderRun], Awaitable[Any]] | None = None
    after: Callable[[ProviderRun], Awaitable[None]] | None = None
    log: list[str] = field(default_factory=list)

    @property
    @override
    def name(self) -> str:
        return self.called

    @override
    async def before_run(self, run: ProviderRun) -> RunContext | None:
        self.log.append(f"before {self.called}")
        return await self.before(run) if self.before else RunContext(instructions=self.called)

    @override
    async def after_run(self, run: ProviderRun, outcome: Outcome) -> None:
        self.log.append(f"after {self.called}")
        if self.after:
            await self.after(run)


def company(*providers: Any, states: StatesInMemory | None = None, within_seconds: float = 30.0) -> Company:
    return Company(providers, States(states or StatesInMemory()), within_seconds=within_seconds)


async def fail(run: ProviderRun) -> None:
    raise LookupError("the vault's number is 4711")


async def hang(run: ProviderRun) -> None:
    await asyncio.Event().wait()


async def test_all_are_asked_in_order_and_told_in_reverse() -> None:
    log: list[str] = []
    here = company(*(Scripted(name, log=log) for name in "abc"))

    contexts, failures = await here.before(RUN)
    failures += await here.after(RUN, OUTCOME)

    assert failures == []
    assert [(name, context.instructions) for name, context in contexts] == [
        ("a", "a"),
        ("b", "b"),
        ("c", "c"),
    ]
    assert log == ["before a", "before b", "before c", "after c", "after b", "after a"]


async def test_a_failing_one_is_reported_and_the_others_are_asked() -> None:
    here = company(Scripted("a"), Scripted("b", before=fail, after=fail), Scripted("c"))

    contexts, before = await here.before(RUN)
    after = await here.after(RUN, OUTCOME)

    assert [name for name, _ in contexts] == ["a", "c"]
    assert [(f.provider, f.stage, f.message) for f in before + after] == [
        ("b", "before_run", "it failed (LookupError)"),
        ("b", "after_run", "it failed (LookupError)"),
    ]


async def test_our_own_errors_are_reported_with_their_text() -> None:
    async def refuse(run: ProviderRun) -> None:
        raise ProviderError("the memory is full")

    _, failures = await company(Scripted(before=refuse)).before(RUN)

    assert failures[0].message == "the memory is full"


async def test_one_that_takes_too_long_is_ended_and_reported() -> None:
    ended = asyncio.Event()

    async def hang_on(run: ProviderRun) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    contexts, failures = await company(
        Scripted("a", before=hang_on), Scripted("b"), within_seconds=0.01
    ).before(RUN)

    assert ended.is_set()
    assert [name for name, _ in contexts] == ["b"]
    assert failures[0].message == "it took longer than 0.01 seconds"


async def test_one_that_will_not_be_ended_is_left_behind() -> None:
    may_end, has_ended = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue
        has_ended.set()
        raise LookupError

    with pytest.raises(ProviderError, match="longer than"):
        await apart(stubborn(), within_seconds=0.01, grace_seconds=0.01)
    was_left = not has_ended.is_set()
    gc.collect()
    may_end.set()
    await has_ended.wait()

    assert was_left


async def test_cancelling_the_caller_ends_the_one_at_work() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def hang_on(run: ProviderRun) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    asking = asyncio.create_task(company(Scripted(before=hang_on)).before(RUN))
    await started.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert ended.is_set()


@pytest.mark.parametrize(
    "raised",
    [SystemExit(3), asyncio.CancelledError(), TimeoutError(), ExceptionGroup("x", [KeyError("4711")])],
)
async def test_strange_ends_are_reported_too(raised: BaseException) -> None:
    async def end(run: ProviderRun) -> None:
        raise raised

    _, failures = await company(Scripted(before=end)).before(RUN)

    assert len(failures) == 1
    assert "4711" not in failures[0].message


@pytest.mark.parametrize(
    "returned",
    [
        "some text",
        {"instructions": "x"},
        RunContext(instructions=7),  # type: ignore[arg-type]  # the point
        RunContext(messages="one text"),
        RunContext(messages=None),  # type: ignore[arg-type]  # the point
        RunContext(messages=[7]),  # type: ignore[list-item]  # the point
        RunContext(tools=[lambda x: x]),
    ],
)
async def test_what_is_no_context_is_reported(returned: object) -> None:
    async def give(run: ProviderRun) -> object:
        return returned

    contexts, failures = await company(Scripted(before=give)).before(RUN)

    assert contexts == []
    assert len(failures) == 1


async def test_functions_among_the_tools_are_made_tools() -> None:
    def roll(sides: int) -> int:
        """Roll a die."""
        return sides

    async def give(run: ProviderRun) -> RunContext:
        return RunContext(tools=[roll])

    [(_, context)], _ = await company(Scripted(before=give)).before(RUN)

    [tool] = context.tools
    assert Tool in type(tool).__mro__
    assert tool.spec.name == "roll"  # type: ignore[union-attr]  # a tool by now


async def test_state_is_kept_for_the_session_and_for_the_user() -> None:
    states = StatesInMemory()

    async def count(run: ProviderRun) -> None:
        run.state["runs"] = run.state.get("runs", 0) + 1
        run.user_state["runs"] = run.user_state.get("runs", 0) + 1

    here = company(Scripted("counter", before=count, after=count), states=states)
    for run in (
        RUN,
        replace(RUN, conversation_id="conv_2"),
        replace(RUN, conversation_id="conv_3", user="ben"),
    ):
        await here.before(run)
        await here.after(run, OUTCOME)

    assert {key[1:]: orjson.loads(kept.value)["runs"] for key, kept in states.kept.items()} == {
        ("conv_1", "counter"): 2,
        ("conv_2", "counter"): 2,
        ("conv_3", "counter"): 2,
        ("user:Parrot:ana", "counter"): 4,
        ("user:Parrot:ben", "counter"): 2,
    }


async def test_what_a_provider_sees_of_its_run() -> None:
    seen: list[ProviderRun] = []

    async def look(run: ProviderRun) -> None:
        seen.append(run)

    await company(Scripted(before=look)).before(replace(RUN, tenant=3))

    [run] = seen
    assert (run.id, run.input, run.agent, run.user) == ("run_1", RUN.input, "Parrot", "ana")
    assert (run.session.id, run.session.tenant) == ("mine", 3)


async def test_nothing_is_kept_of_a_user_where_there_is_none() -> None:
    states = StatesInMemory()

    async def note(run: ProviderRun) -> None:
        run.user_state["note"] = 1

    await company(Scripted(after=note), states=states).after(replace(RUN, user=None), OUTCOME)

    assert states.kept == {}


async def test_what_a_failing_one_has_noted_is_not_kept() -> None:
    states = StatesInMemory()

    async def note_and_fail(run: ProviderRun) -> None:
        run.state["note"] = 1
        raise LookupError

    await company(Scripted(after=note_and_fail), states=states).after(RUN, OUTCOME)

    assert states.kept == {}


async def test_state_that_is_no_json_is_reported_and_nothing_of_it_is_kept() -> None:
    states = StatesInMemory()

    async def note(run: ProviderRun) -> None:
        run.user_state["fine"] = 1
        run.state["client"] = object()

    failures = await company(Scripted("keeper", after=note), states=states).after(RUN, OUTCOME)

    assert failures[0].provider == "keeper"
    assert "'keeper' cannot be kept" in failures[0].message
    assert states.kept == {}


async def test_one_whose_users_state_was_changed_meanwhile_is_called_again_with_it() -> None:
    states = StatesInMemory()
    scope = user_scope("Parrot", "ana")
    seen: list[object] = []

    async def note(run: ProviderRun) -> None:
        seen.append(run.user_state.get("by"))
        if len(seen) == 1:
            await states.put(0, scope, "Scripted", '{"by":"another"}', expected_version=0)
        run.user_state["noted"] = 1

    failures = await company(Scripted(after=note), states=states).after(RUN, OUTCOME)

    assert failures == []
    assert seen == [None, "another"]
    assert orjson.loads(states.kept[0, scope, "Scripted"].value) == {"by": "another", "noted": 1}


async def test_state_that_is_always_changed_by_others_is_given_up() -> None:
    states = StatesInMemory()
    scope = user_scope("Parrot", "ana")

    async def race(run: ProviderRun) -> None:
        found = await states.get(0, scope, "Scripted")
        version = found.version if found else 0
        await states.put(0, scope, "Scripted", '{"by":"another"}', expected_version=version)
        run.user_state["noted"] = 1

    time = [0.0]

    async def pause(seconds: float) -> None:
        time[0] += seconds

    here = Company(
        [Scripted(after=race)], States(states), within_seconds=200.0, pause=pause, clock=lambda: time[0]
    )
    failures = await here.after(RUN, OUTCOME)

    assert "changed by others" in failures[0].message
    assert time[0] > 180.0
    assert states.kept[0, scope, "Scripted"].value == '{"by":"another"}'


async def test_a_store_that_cannot_be_reached_is_reported() -> None:
    class Gone(StatesInMemory):
        @override
        async def get(self, tenant: int, scope: str, source: str) -> KeptState | None:
            raise StoreUnavailable

    contexts, failures = await company(Scripted(), states=Gone()).before(RUN)

    assert contexts == []
    assert [failed.stage for failed in failures] == ["before_run"]


async def test_failed_runs_are_told_of() -> None:
    told: list[Outcome] = []

    class Listener:
        async def after_run(self, run: ProviderRun, outcome: Outcome) -> None:
            told.append(outcome)

    failed = Outcome(request=(RUN.input,), error=ModelRefused())

    await company(Listener()).after(RUN, failed)

    assert told == [failed]


async def test_plain_classes_with_one_method_will_do() -> None:
    class Clock:
        def before_run(self, run: ProviderRun) -> RunContext:
            return RunContext(messages=["It is noon."])

    class Diary:
        def after_run(self, run: ProviderRun, outcome: Outcome) -> None:
            run.state["said"] = [message.text for message in outcome.response]

    states = StatesInMemory()
    here = company(Clock(), Diary(), states=states)

    contexts, failures = await here.before(RUN)
    failures += await here.after(RUN, OUTCOME)

    assert failures == []
    assert [(name, context.messages) for name, context in contexts] == [("Clock", ("It is noon.",))]
    assert [key[1:] for key in states.kept] == [("conv_1", "Diary")]


def test_users_of_agents_are_never_mistaken_for_others() -> None:
    pairs = [("a", "b:c"), ("a:b", "c"), ("a%3Ab", "c"), ("a", "b"), ("", "a:b"), ("a", ":b"), ("A", "b")]

    assert len({user_scope(agent, user) for agent, user in pairs}) == len(pairs)


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidInput, match="named 'x'"):
        check_names([Scripted("x"), Scripted("y"), Scripted("x")])


@pytest.mark.parametrize(
    "name",
    [f"{VIEW_SOURCE}log", f"{COPIED_SOURCE}log", f"{HISTORY_SOURCE}log", "copied:", "x" * 201, "a\nb"],
)
def test_names_that_cannot_be_used_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="name"):
        company(Scripted(name))


def test_one_without_a_name_has_that_of_its_class() -> None:
    class Diary:
        pass

    class Empty(ContextProvider):
        pass

    assert [source_of(Diary()), source_of(Empty()), source_of(Scripted("s"))] == ["Diary", "Empty", "s"]


async def test_messages_may_be_whole_ones() -> None:
    message = a_message("Quoted: hello", role="system")

    async def give(run: ProviderRun) -> RunContext:
        return RunContext(messages=(each for each in [message]))  # type: ignore[arg-type]  # it is read once

    [(_, context)], _ = await company(Scripted(before=give)).before(RUN)

    assert [each for each in context.messages if isinstance(each, Message)] == [message]


async def test_a_tools_error_is_told_as_it_is() -> None:
    async def refuse(run: ProviderRun) -> None:
        raise ToolError("no bananas today")

    failures = await company(Scripted(after=refuse)).after(RUN, OUTCOME)

    assert [failed.message for failed in failures] == ["no bananas today"]
