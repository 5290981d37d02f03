"""Models that are shared, and let go of when nobody wants them any more."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from typing_extensions import override

from tertulia.errors import ModelRefused
from tertulia.llms import models
from tertulia.llms.base import LLM, LLMEvent, Prompt
from tertulia.llms.lent import Lent
from tertulia.llms.models import Models
from tertulia.llms.owned import OwnedTasks
from tertulia.llms.scripted import ScriptedLLM
from tertulia.testing.llm_contract import LLMContract, a_prompt, heard


class Counted(ScriptedLLM):
    """Counts how often it was closed."""

    closed = 0

    def __init__(self) -> None:
        super().__init__(["one two"] * 10, chunk=4)

    @override
    async def close(self) -> None:
        self.closed += 1


class TestLentContract(LLMContract):
    @pytest.fixture
    def llm(self) -> LLM:
        return Lent(ScriptedLLM(["Hello, how are you?"] * 10, chunk=4), owner=OwnedTasks())

    @pytest.fixture
    def failing(self) -> LLM:
        return Lent(ScriptedLLM([]), owner=OwnedTasks())


async def test_an_idle_model_is_closed_when_it_is_retired() -> None:
    inner, tasks = Counted(), OwnedTasks()

    Lent(inner, owner=tasks).retire()
    await tasks.finish(within_seconds=5)

    assert inner.closed == 1


async def test_whoever_is_being_answered_hears_it_out() -> None:
    inner, tasks = Counted(), OwnedTasks()
    llm = Lent(inner, owner=tasks)

    async with aclosing(llm.stream(a_prompt())) as events:
        await anext(events)
        llm.retire()
        await tasks.finish(within_seconds=5)
        closed_before, rest = inner.closed, [event async for event in events]
    await tasks.finish(within_seconds=5)

    assert (closed_before, inner.closed) == (0, 1)
    assert rest


async def test_a_retired_model_that_is_asked_is_closed_again() -> None:
    inner, tasks = Counted(), OwnedTasks()
    llm = Lent(inner, owner=tasks)
    llm.retire()
    await tasks.finish(within_seconds=5)

    await heard(llm, a_prompt())
    await llm.abandon("r1")
    await tasks.finish(within_seconds=5)

    assert inner.closed == 3


async def test_a_retired_model_that_is_asked_for_a_conversation_is_closed_again() -> None:
    inner, tasks = Counted(), OwnedTasks()
    llm = Lent(inner, owner=tasks)
    llm.retire()
    await tasks.finish(within_seconds=5)

    with pytest.raises(ModelRefused):
        await llm.begin_conversation()
    await tasks.finish(within_seconds=5)
    await llm.forget_conversation("c1")
    await tasks.finish(within_seconds=5)

    assert inner.closed == 3


async def test_a_retired_model_is_not_closed_while_it_is_asked_again() -> None:
    inner, tasks = Counted(), OwnedTasks()
    llm = Lent(inner, owner=tasks)
    llm.retire()

    async with aclosing(llm.stream(a_prompt())) as events:
        await anext(events)
        await tasks.finish(within_seconds=5)
        closed_before, rest = inner.closed, [event async for event in events]
    await tasks.finish(within_seconds=5)

    assert (closed_before, inner.closed) == (0, 1)
    assert rest


async def test_a_model_may_be_asked_for_while_others_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Asking(Counted):
        @override
        async def close(self) -> None:
            await super().close()
            shared.get("b:2")

    first = Asking()
    built = {"a:1": first, "b:2": Counted()}
    monkeypatch.setattr(models, "bare_llm", lambda name, **_: built[name])
    shared = Models("a:1")
    shared.get(None)

    await shared.close()

    assert first.closed == 1


async def test_of_many_models_those_asked_for_least_lately_are_let_go_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: dict[str, Counted] = {}

    def built(name: str, **_: object) -> Counted:
        return opened.setdefault(name, Counted())

    monkeypatch.setattr(models, "MOST_OPEN", 2)
    monkeypatch.setattr(models, "bare_llm", built)
    shared = Models("scripted:default")

    default = shared.get(None)
    shared.get("a:1")
    assert shared.get(None) is default
    shared.get(("scripted:default", "b:2"))
    shared.get("c:3")
    await asyncio.sleep(0)

    assert {name: llm.closed for name, llm in opened.items()} == {
        "scripted:default": 0,
        "a:1": 1,
        "b:2": 0,
        "c:3": 0,
    }
    await shared.close()
    assert {name: llm.closed for name, llm in opened.items()} == dict.fromkeys(opened, 1)


async def test_a_model_may_be_let_go_of_where_no_loop_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "MOST_OPEN", 1)
    shared = Models("scripted:echo")

    await asyncio.to_thread(lambda: [shared.get(name) for name in ("scripted:echo", "scripted:text=a")])

    assert await heard(shared.get("scripted:text=a"), a_prompt())
    await shared.close()


async def test_what_fails_in_an_owned_task_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise LookupError("SECRET")

    tasks = OwnedTasks()
    tasks.start(fail(), what="saying goodbye")
    await tasks.finish(within_seconds=5)
    await asyncio.sleep(0)

    assert "saying goodbye failed: LookupError" in caplog.text
    assert "SECRET" not in caplog.text


async def test_what_takes_too_long_is_cancelled() -> None:
    tasks = OwnedTasks()
    task = tasks.start(asyncio.sleep(3600), what="sleeping")

    await tasks.finish(within_seconds=0.01)

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_giving_up_on_a_retired_model_closes_it() -> None:
    class Stuck(Counted):
        @override
        async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
            async for event in super().stream(prompt):
                yield event
                await asyncio.Event().wait()

    inner, tasks = Stuck(), OwnedTasks()
    llm = Lent(inner, owner=tasks)
    task = asyncio.create_task(heard(llm, a_prompt()))
    await asyncio.sleep(0)
    llm.retire()

    task.cancel()
    await asyncio.wait((task,))
    await tasks.finish(within_seconds=5)

    assert inner.closed == 1
