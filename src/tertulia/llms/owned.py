"""Tasks that outlive whoever began them, and their owner."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Final

_LOG: Final = logging.getLogger(__name__)
_LAST_SECONDS: Final = 0.1


class OwnedTasks:
    """Holds tasks until they are done; what goes wrong in them is logged, and told to nobody else."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[object, object, None], *, what: str) -> asyncio.Task[None]:
        """Return a task that does the work; ``what`` names it in the log."""
        task = asyncio.get_running_loop().create_task(work)
        self.own(task, what=what)
        return task

    def own(self, task: asyncio.Task[None], *, what: str) -> None:
        """Hold a task that somebody else has begun."""
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._let_go(done, what))

    async def finish(self, *, within_seconds: float) -> None:
        """Wait for those of this loop that are not done; what takes longer is cancelled."""
        here = asyncio.get_running_loop()
        tasks = [task for task in self._tasks if task.get_loop() is here]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=within_seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=_LAST_SECONDS)

    def _let_go(self, task: asyncio.Task[None], what: str) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _LOG.warning("%s failed: %s", what, type(error).__name__)
