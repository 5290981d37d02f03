"""How a request waits for the end of its run."""

import asyncio

from tertulia.engine import Ticket
from tertulia.events import RunFinished


async def finished(ticket: Ticket) -> RunFinished | None:
    """Return the end of the run, or ``None`` when the server has to stop before it has come.

    The run goes on elsewhere then. Nothing but the server's stop cancels a request: a client that
    hangs up does not.
    """
    try:
        return await ticket.finished()
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None:
            task.uncancel()
        return None
