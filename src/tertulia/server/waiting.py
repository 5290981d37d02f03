"""How a request waits for the end of its run."""

import asyncio
from typing import Final

from tertulia.conversations import Run, RunStatus
from tertulia.engine import Ticket
from tertulia.engine.holding import holder_of
from tertulia.events import RunFinished
from tertulia.stores import Store

LOOK_SECONDS: Final = 1.0
"""How often who stands in line looks whether the run that holds the conversation still works."""


async def finished(ticket: Ticket, store: Store) -> RunFinished | Run | None:
    """Return the end of the run, or ``None`` when the server has to stop before it has come.

    The run goes on elsewhere then. Nothing but the server's stop cancels a request: a client that
    hangs up does not. When the run stands in line behind one that waits for somebody's decision,
    which may take days, that one is returned. Raises as :meth:`Ticket.finished` does.
    """
    try:
        if ticket.run.status is not RunStatus.QUEUED:
            return await ticket.finished()
        return await _in_line(ticket, store)
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None:
            task.uncancel()
        return None


async def _in_line(ticket: Ticket, store: Store) -> RunFinished | Run:
    ended = asyncio.create_task(ticket.finished())
    try:
        holder: Run | None = None
        while not ended.done():
            holder = await _holder(ticket.run, store, last=holder)
            if holder is not None and holder.id == ticket.run.id:
                break
            if holder is not None and holder.status is RunStatus.WAITING:
                return holder
            await asyncio.wait({ended}, timeout=LOOK_SECONDS)
        return await ended
    finally:
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)


async def _holder(run: Run, store: Store, *, last: Run | None) -> Run | None:
    """Return the run that holds a conversation as it stands; the ``last`` one, as long as it does."""
    if last is not None:
        last = await store.runs.get(run.tenant, last.id)
        if not last.status.is_terminal:
            return last
    return await holder_of(store, await store.conversations.get(run.tenant, run.conversation_id))
