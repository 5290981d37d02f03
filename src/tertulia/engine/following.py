"""Following a run from anywhere: what the store has of it, then what happens, to the last event."""

from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from typing import Final

from typing_extensions import override

from tertulia.conversations import Run, RunStatus
from tertulia.engine.leaving import Leaving
from tertulia.engine.live import LiveRun
from tertulia.engine.telling import Recall, decode
from tertulia.errors import NeedsAttention, Stopping, TertuliaError, UnknownOutcome
from tertulia.events import Numbered, RunFinished, first_seq
from tertulia.messages import Message
from tertulia.stores.base import Store

_PATIENCE: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between looks at a run that another process carries out, where no hint comes; the last goes on."""
_OTHERS_SECONDS: Final = 5.0
"""The same for those who follow beside one who looks so often, and who are told when there is something."""


class Following:
    """One run as it is followed in this process, whoever carries it out."""

    def __init__(self, run: Run, live: LiveRun, store: Store, leaving: Leaving) -> None:
        self._run, self.live, self._store, self._leaving = run, live, store, leaving
        self._recall = _Recall(run, store)
        self._has_watched = False

    async def events(self, *, after: int = -1) -> AsyncGenerator[Numbered, None]:
        """Yield every event with a number above ``after``, to the last, which is a ``RunFinished``.

        Raises :class:`~tertulia.errors.Stopping` when this process is about to end: the run can be
        followed elsewhere, from the last number on. Cancelling it stops nothing.
        """
        looks = 0
        try:
            while True:
                seen = self.live.changes
                told = await self._more(after)
                if told is None:
                    return
                if told:
                    self._tell_others()
                for numbered in told:
                    after = numbered.seq
                    yield numbered
                    if isinstance(numbered.event, RunFinished):
                        return
                if told:
                    looks = 0
                    continue
                if self._leaving.sends_away(is_ours=self.live.is_ours):
                    raise Stopping
                await self._rest(looks, seen)
                looks += 1
        finally:
            self._tell_others()

    async def finished(self) -> RunFinished:
        """Wait for the last event, and return it.

        Raises :class:`~tertulia.errors.NeedsAttention` if the run waits for a decision.
        """
        looks = 0
        try:
            while self.live.finished is None:
                seen = self.live.changes
                if not self.live.is_ours:
                    run = await self._look(looks)
                    if run.status.is_terminal:
                        return await self._recall.ending()
                    if run.status is RunStatus.WAITING:
                        raise _waiting(run)
                await self._rest(looks, seen)
                looks += 1
        finally:
            self._tell_others()
        return self.live.finished

    async def is_told(self, after: int) -> bool:
        """Whether the run has ended, and its end was told under a number that is not above ``after``."""
        return not self.live.is_ours and await self._more(after) is None

    async def _more(self, after: int) -> list[Numbered] | None:
        """Return what comes next, as far as it is known; None if nothing more will come."""
        if self.live.is_ours and after + 1 >= self.live.first:
            return self.live.since(after)
        if after + 1 >= self.live.first and (told := self.live.since(after)):
            return told
        begun = self.live.begun if self.live.is_ours else None
        found = await self._stored(after)
        if found:
            return found
        if begun is None:
            return await self._end(after)
        # Nothing of earlier owners is left to be told: they can write nothing more.
        is_all_here = self.live.is_ours and begun == self.live.begun == self.live.first
        return self.live.since(begun - 1) if is_all_here else []

    async def _stored(self, after: int) -> list[Numbered]:
        run = self._run
        frames = await self._store.runs.frames(run.tenant, run.id, after=after)
        return [told for frame in frames for told in await decode(frame, run, self._recall, after=after)]

    async def _end(self, after: int) -> list[Numbered] | None:
        """Return the end of a run of which no more events are stored; nothing if it has not ended.

        Of a run that nobody carried out when it ended, and where no events are stored any more, the
        end gets the number that the next owner's first event would have had. None if the end was told
        under the number ``after``, or a lower one.
        """
        run = await self._store.runs.get(self._run.tenant, self._run.id)
        if not run.status.is_terminal:
            return []
        # It may have ended between our two looks.
        told = await self._stored(after)
        if told:
            return told
        place = first_seq(run.epoch + 1)
        if after >= place or await self._is_end_stored():
            return None
        return [Numbered(place, await self._recall.ending())]

    async def _is_end_stored(self) -> bool:
        """Whether the last of the stored events is the run's end."""
        run, last, seen = self._run, None, -1
        while frames := await self._store.runs.frames(run.tenant, run.id, after=seen):
            last = frames[-1]
            seen = last.last_seq
        if last is None:
            return False
        told = await decode(last, run, self._recall, after=last.last_seq - 1)
        return any(isinstance(each.event, RunFinished) for each in told)

    async def _look(self, looks: int) -> Run:
        """Return the run as it stands; at first it is what the caller has just been told."""
        if not looks and self._run.status.is_terminal:
            return self._run
        return await self._store.runs.get(self._run.tenant, self._run.id)

    async def _rest(self, looks: int, seen: int) -> None:
        """Wait until something happens; what another process carries out is looked at now and then.

        Of many who follow one run, one does so for all.
        """
        if self.live.is_ours or self.live.is_watched:
            seconds = None if self.live.is_ours else _OTHERS_SECONDS
            with suppress(TimeoutError):
                await self.live.change(within=seconds, seen=seen)
            return
        self.live.is_watched = self._has_watched = True
        try:
            await self.live.change(within=_PATIENCE[min(looks, len(_PATIENCE) - 1)], seen=seen)
        except TimeoutError:
            pass
        finally:
            self.live.is_watched = False

    def _tell_others(self) -> None:
        """Have those look who have relied on us: there is something, or we look no more."""
        if self._has_watched:
            self._has_watched = False
            self.live.wake()


class _Recall(Recall):
    """Looks things up in a store."""

    def __init__(self, run: Run, store: Store) -> None:
        self._run, self._store = run, store

    @override
    async def message(self, number: int) -> Message | None:
        found = await self._messages(after=number - 1, upto=number)
        return found[0] if found else None

    @override
    async def end(self) -> RunFinished:
        run = await self._store.runs.get(self._run.tenant, self._run.id)
        said = await self._messages(after=run.input_number, upto=run.last_number) if run.last_number else []
        return RunFinished(
            run_id=run.id,
            conversation_id=run.conversation_id,
            status=run.status,
            messages=tuple(message for message in said if message.run_id == run.id),
            usage=run.usage,
            failure=run.failure,
        )

    async def ending(self) -> RunFinished:
        """Return how the run has ended where no event tells it.

        It has closed its conversation if that is closed and has not moved on since.
        """
        end = await self.end()
        conversation = await self._store.conversations.get(self._run.tenant, end.conversation_id)
        is_last = bool(end.messages) and end.messages[-1].number == conversation.head
        return replace(end, closed=conversation.closed) if is_last else end

    async def _messages(self, *, after: int, upto: int) -> list[Message]:
        run = self._run
        return await self._store.conversations.messages(
            run.tenant, run.conversation_id, after=after, limit=upto - after
        )


def _waiting(run: Run) -> TertuliaError:
    """Return the error that tells what a run waits for."""
    told = "" if run.wait is None else run.wait.message
    is_unknown = run.wait is not None and run.wait.kind == "unknown_outcome"
    error = UnknownOutcome(told) if is_unknown else NeedsAttention(told)
    return error.in_run(run.id)
