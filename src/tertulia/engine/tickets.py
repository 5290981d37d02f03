"""What a caller holds of an accepted run: it can wait for the end or follow, and hurries nothing."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from tertulia.conversations import Conversation, Run, RunStatus
from tertulia.engine.following import Following
from tertulia.engine.live import LiveRun
from tertulia.errors import Failure, RunCancelled, TertuliaError
from tertulia.events import Numbered, RunFinished


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """An accepted run: its message is kept, whatever becomes of the caller."""

    run: Run
    """As it was when it was accepted."""
    conversation: Conversation
    is_new: bool
    """False if the request had been accepted before."""
    following: Following

    @property
    def live(self) -> LiveRun:
        """The run's events as they happen in this process."""
        return self.following.live

    async def finished(self) -> RunFinished:
        """Wait for the end of the run.

        Raises the error that ended it when it did not complete, and
        :class:`~tertulia.errors.NeedsAttention` when it waits for a decision. Cancelling the wait
        stops nothing.
        """
        end = await self.following.finished()
        if end.status is RunStatus.COMPLETED:
            return end
        if end.failure is not None:
            raise TertuliaError.of(end.failure, run_id=end.run_id)
        if end.status is RunStatus.CANCELLED:
            raise RunCancelled().in_run(end.run_id)
        raise TertuliaError.of(Failure(code="run_failed", message=""), run_id=end.run_id)

    def events(self, *, after: int = -1) -> AsyncGenerator[Numbered, None]:
        """Yield the run's events with numbers above ``after``; the last is its ``RunFinished``.

        Raises :class:`~tertulia.errors.Stopping` when this process is about to end: the run can be
        followed elsewhere, from the last number on.
        """
        return self.following.events(after=after)
