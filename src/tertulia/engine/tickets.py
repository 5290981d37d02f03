"""What a caller holds of an accepted run: it can wait for the end or follow, and hurries nothing."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from tertulia.conversations import Conversation, Run, RunStatus
from tertulia.engine.live import LiveRun
from tertulia.errors import Failure, LeaseLost, RunCancelled, TertuliaError
from tertulia.events import Numbered, RunFinished, first_seq
from tertulia.stores.base import Store

_PATIENCE: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between looks at a run that another process carries out; the last one goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """An accepted run: its message is kept, whatever becomes of the caller."""

    run: Run
    """As it was when it was accepted."""
    conversation: Conversation
    is_new: bool
    """False if the request had been accepted before."""
    live: LiveRun
    store: Store

    async def finished(self) -> RunFinished:
        """Wait for the end of the run.

        Raises the error that ended it when it did not complete. Cancelling the wait stops nothing.
        """
        end = await self._end()
        if end.status is RunStatus.COMPLETED:
            return end
        if end.status is RunStatus.CANCELLED:
            raise RunCancelled().in_run(end.run_id)
        raise TertuliaError.of(end.failure or Failure(code="run_failed", message=""), run_id=end.run_id)

    async def events(self) -> AsyncIterator[Numbered]:
        """Yield the run's events from the beginning; the last is its ``RunFinished``.

        Of a run that another process carries out only the last event is told, once it has ended.
        """
        last, looks = -1, 0
        while True:
            try:
                async for numbered in self.live.follow(after=last):
                    last = numbered.seq
                    yield numbered
            except LeaseLost:
                end = await self._look(looks)
                looks += 1
                if end is None:
                    continue
                yield Numbered(max(last + 1, first_seq(self.run.epoch + 1)), end)
            return

    async def _end(self) -> RunFinished:
        looks = 0
        while True:
            try:
                return await self.live.end()
            except LeaseLost:
                end = await self._look(looks)
                looks += 1
                if end is not None:
                    return end

    async def _look(self, looks: int) -> RunFinished | None:
        """Return the end of a run that is not this process's, or None after a while."""
        run = self.run if looks == 0 else await self.store.runs.get(self.run.tenant, self.run.id)
        if run.status.is_terminal:
            return await self._stored()
        with suppress(TimeoutError):
            await self.live.change(within=_PATIENCE[min(looks, len(_PATIENCE) - 1)])
        return None

    async def _stored(self) -> RunFinished:
        """Return the end of a run as the store tells it."""
        run = await self.store.runs.get(self.run.tenant, self.run.id)
        said = []
        if run.last_number:
            said = await self.store.conversations.messages(
                run.tenant,
                run.conversation_id,
                after=run.input_number,
                limit=run.last_number - run.input_number,
            )
        return RunFinished(
            run_id=run.id,
            conversation_id=run.conversation_id,
            status=run.status,
            messages=tuple(said),
            usage=run.usage,
            failure=run.failure,
        )
