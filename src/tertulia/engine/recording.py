"""Stores what runs tell while they tell it: one write now and then for all runs of this process."""

import asyncio
import logging
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from typing import Final

from tertulia.conversations import Frame, Lease
from tertulia.engine.live import SEQ, LiveRun
from tertulia.engine.probe import Probe, unobserved
from tertulia.engine.telling import encode
from tertulia.errors import StoreError
from tertulia.events import Event, Numbered, ReasoningDelta, TextDelta, ToolFinished
from tertulia.stores.base import RunStore

_LOG: Final = logging.getLogger(__name__)

SOON_SECONDS: Final = 0.05
"""How old an event of a run that somebody follows may become before it is stored."""
LATER_SECONDS: Final = 1.0
"""The same for a run that nobody is known to follow."""
FULL_CHARACTERS: Final = 4096
"""So much text is stored without waiting any longer."""


class Tape:
    """What one run has told and the store is not known to have."""

    def __init__(self, lease: Lease, live: LiveRun, *, is_followed: bool) -> None:
        self.lease, self.is_followed = lease, is_followed
        self.was_stored = False
        """Whether anything of it was stored before its end."""
        self._live = live
        self._events: list[Numbered] = []
        self._size = 0

    @property
    def is_full(self) -> bool:
        """Whether there is enough of it to be stored at once."""
        return self._size >= FULL_CHARACTERS

    def add(self, numbered: Numbered) -> None:
        """Take in an event."""
        self._events.append(numbered)
        if isinstance(numbered.event, TextDelta | ReasoningDelta | ToolFinished):
            self._size += len(numbered.event.text)

    def frame(self, *foretold: Event) -> Frame | None:
        """Return all of it, and what is about to be told, as one frame; None for nothing."""
        coming = [Numbered(seq, event) for seq, event in enumerate(foretold, start=self._live.next_seq)]
        told = [*self._events, *coming]
        return encode(told) if told else None

    def confirm(self, upto: int) -> None:
        """Let go of what is stored: everything up to this number."""
        del self._events[: bisect_right(self._events, upto, key=SEQ)]
        self._size = 0
        self._live.trim(upto)

    def erase(self) -> None:
        """Let go of all of it, because it cannot be stored."""
        self._events.clear()
        self._size = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to store."""
        return not self._events


class Recorder:
    """Writes the tapes of all runs of this process, together.

    What an event's own transaction has stored (a turn, an end) need not pass through here: a tape
    gives everything it has to whoever asks first, and the store keeps the longer of two frames.
    """

    def __init__(
        self,
        runs: RunStore,
        *,
        told: Callable[[Collection[str]], None],
        probe: Probe = unobserved,
    ) -> None:
        self._runs, self._told, self._probe = runs, told, probe
        self._tapes: dict[str, Tape] = {}
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._is_in_trouble = False

    def add(self, tape: Tape) -> None:
        """Have a tape written before long."""
        self._tapes[tape.lease.run_id] = tape
        seconds = SOON_SECONDS if tape.is_followed else LATER_SECONDS
        self._wake(0 if tape.is_full else seconds)

    def drop(self, tape: Tape) -> None:
        """Write this tape no more."""
        if self._tapes.get(tape.lease.run_id) is tape:
            del self._tapes[tape.lease.run_id]

    async def stop(self) -> None:
        """Write what there is a last time; may be called twice."""
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            await asyncio.wait([self._writing])
        await self._write()

    def _wake(self, seconds: float) -> None:
        """See to it that everything is written in so many seconds at the latest."""
        loop = asyncio.get_running_loop()
        due = loop.time() + (max(seconds, LATER_SECONDS) if self._is_in_trouble else seconds)
        if self._writing is not None or (self._due is not None and self._due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due, self._timer = due, loop.call_at(due, self._begin)

    def _begin(self) -> None:
        self._due = self._timer = None
        self._writing = asyncio.create_task(self._write(), name="tertulia-recorder")
        self._writing.add_done_callback(self._go_on)

    def _go_on(self, writing: asyncio.Task[None]) -> None:
        """Write what has come meanwhile."""
        self._writing = None
        if not writing.cancelled() and self._tapes:
            is_urgent = any(tape.is_followed for tape in self._tapes.values()) and not self._is_in_trouble
            self._wake(SOON_SECONDS if is_urgent else LATER_SECONDS)

    async def _write(self) -> None:
        frames = [(tape, frame) for tape in self._tapes.values() if (frame := tape.frame()) is not None]
        stored = await self._store(frames) if frames else set()
        for tape, frame in frames:
            if tape.lease.run_id in stored:
                tape.was_stored = True
                tape.confirm(frame.last_seq)
        for tape in [tape for tape in self._tapes.values() if tape.is_empty]:
            self.drop(tape)
        if stored:
            self._told(stored)

    async def _store(self, frames: Sequence[tuple[Tape, Frame]]) -> set[str]:
        """Store frames; return the runs whose frames are stored."""
        self._probe("frames.before")
        try:
            stored = await self._runs.record([(tape.lease, frame) for tape, frame in frames])
        except StoreError as error:
            if not self._is_in_trouble:
                _LOG.warning("events could not be stored yet: %s", error)
            self._is_in_trouble = True
            return set()
        except Exception:  # noqa: BLE001  # what one run has told must not keep the others' from being stored
            if len(frames) > 1:
                return {run_id for each in frames for run_id in await self._store([each])}
            _LOG.exception("events of run %s cannot be stored", frames[0][0].lease.run_id)
            frames[0][0].erase()
            return set()
        self._is_in_trouble = False
        self._probe("frames.after")
        return stored
