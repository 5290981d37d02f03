"""Following a run of one's own: whoever stops listening stops the run."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from functools import partial
from typing import Final

from tertulia.agent.replies import AgentRunFinished, Reply, last_word, reply_of
from tertulia.agent.typed_shapes import TypedShape
from tertulia.conversations import DEFAULT_TENANT, RunStatus, Wait
from tertulia.engine import VERDICTS, Ticket
from tertulia.engine.holding import holder_of
from tertulia.errors import NeedsAttention, RunCancelled, RunFailed, RunTimedOut, StoreError, TertuliaError
from tertulia.events import Event, Numbered, ProviderFailed, RunFinished, RunWaiting
from tertulia.runtime import Runtime

LOOK_SECONDS: Final = 1.0
"""How often who stands in line looks whether the run before still works."""


async def reply_to(events: AsyncIterator[Event]) -> Reply:
    """Return the reply that the events of a run come to."""
    async for event in events:
        if isinstance(event, AgentRunFinished):
            return event.reply
    raise RunFailed("the run has ended without being told")


async def events_of(
    runtime: Runtime, ticket: Ticket, shape: TypedShape, *, within_seconds: float | None
) -> AsyncGenerator[Event, None]:
    """Yield the events of a run, its reply with the last; raises what has ended it otherwise.

    If it stands in line behind a run that waits for a decision, which may take days, that one's
    ``NeedsAttention`` is raised, and this one cancelled.

    Raises :class:`~tertulia.errors.RunTimedOut` after ``within_seconds``, and
    :class:`~tertulia.errors.NeedsAttention` when the run waits for a decision. A run that is not over
    when the generator is closed is cancelled; one that waits is not.
    """
    failures: list[ProviderFailed] = []
    is_left = True
    try:
        async with aclosing(ticket.events()) as events:
            look = partial(_look_ahead, runtime, ticket)
            async for event in _until(events, within_seconds, look):
                match event:
                    case RunFinished():
                        is_left = False
                        yield _ended(event, shape, tuple(failures))
                        return
                    case RunWaiting() if await _waits(runtime, event):
                        is_left = False
                        yield event
                        raise attention(event.run_id, event.wait)
                    case ProviderFailed():
                        failures.append(event)
                yield event
    except TimeoutError:
        late = RunTimedOut(f"the run has not ended within {within_seconds:g} seconds")
        raise late.in_run(ticket.run.id) from None
    finally:
        if is_left:
            await _to_its_end(runtime.cancel(ticket.run.id))


async def cancel_accepted(runtime: Runtime, submitting: asyncio.Future[Ticket]) -> None:
    """Cancel what is being accepted while its caller is gone; what was not accepted is none."""

    async def cancel() -> None:
        await asyncio.wait({submitting})
        if not submitting.cancelled() and submitting.exception() is None:
            await runtime.cancel(submitting.result().run.id)

    await _to_its_end(cancel())


def attention(run_id: str, wait: Wait) -> NeedsAttention:
    """Return what is raised where a run waits for a decision."""
    error = NeedsAttention(wait.message).in_run(run_id)
    return error.about(path=wait.path, subject=wait.subject, verdicts=VERDICTS[wait.kind])


async def _until(
    events: AsyncGenerator[Numbered, None],
    within_seconds: float | None,
    look: Callable[[], Awaitable[None]],
) -> AsyncGenerator[Event, None]:
    """Yield events; raises ``TimeoutError`` when the time is up, however many have come.

    As long as none has come, ``look`` is asked every second whether there is any use in waiting.
    """
    clock = asyncio.get_running_loop().time
    end = None if within_seconds is None else clock() + within_seconds
    first = asyncio.ensure_future(anext(events))
    try:
        while not first.done():
            left = LOOK_SECONDS if end is None else min(LOOK_SECONDS, max(end - clock(), 0))
            await asyncio.wait({first}, timeout=left)
            if not first.done():
                if end is not None and clock() >= end:
                    raise TimeoutError
                await look()
    finally:
        if not first.done():
            first.cancel()
            await asyncio.wait({first})
    yield first.result().event
    while True:
        try:
            async with asyncio.timeout_at(end):
                numbered = await anext(events)
        except StopAsyncIteration:
            return
        yield numbered.event


async def _look_ahead(runtime: Runtime, ticket: Ticket) -> None:
    """Raise what the run before this one needs, if that waits for somebody."""
    holder = None
    with suppress(StoreError):  # which may have passed by the next look
        conversation = await runtime.store.conversations.get(DEFAULT_TENANT, ticket.run.conversation_id)
        holder = await holder_of(runtime.store, conversation)
    if holder is not None and holder.id != ticket.run.id and holder.wait is not None:
        raise attention(holder.id, holder.wait)


def _ended(end: RunFinished, shape: TypedShape, failures: tuple[ProviderFailed, ...]) -> AgentRunFinished:
    if end.status is RunStatus.COMPLETED:
        return AgentRunFinished.of(end, reply_of(end, value=shape.value(last_word(end)), failures=failures))
    if end.failure is not None:
        raise TertuliaError.of(end.failure, run_id=end.run_id)
    if end.status is RunStatus.CANCELLED:
        raise RunCancelled().in_run(end.run_id)
    raise RunFailed().in_run(end.run_id)


async def _waits(runtime: Runtime, event: RunWaiting) -> bool:
    """Whether a run still waits as it has told: somebody may have decided since."""
    run = await runtime.store.runs.get(DEFAULT_TENANT, event.run_id)
    return run.wait is not None and run.status is RunStatus.WAITING and run.wait.path == event.wait.path


async def _to_its_end(work: Coroutine[object, object, object]) -> None:
    """Do something, whatever happens to us meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
