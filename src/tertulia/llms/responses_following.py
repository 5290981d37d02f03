"""Answers that their provider works on by itself, followed through cut connections."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from tertulia.errors import ModelBusy, ModelError, ModelTimeout, ModelUnreachable
from tertulia.llms.base import LLMEvent
from tertulia.llms.connection import Connection, Reply
from tertulia.llms.retrying import Pause
from tertulia.llms.wire.responses_answer import ResponsesAnswer
from tertulia.llms.wire.responses_frames import MAX_REPLY
from tertulia.llms.wire.sse import decode

_MAYBE_GONE: Final = (400, 404)
_GONE: Final = 404
_LOST: Final = frozenset({"failed", "cancelled"})
_PASSING: Final = (ModelBusy, ModelTimeout, ModelUnreachable)
_MOST_FAILURES: Final = 5
"""Times in a row that the provider is asked in vain."""
_MOST_LOOKS: Final = 2000
"""Times that is looked whether the answer has come: some hours."""
_FIRST_WAIT: Final = 0.25
_LONGEST_WAIT: Final = 5.0
_LONGEST_TOLD: Final = 60.0
_STALLS: Final = 2
"""Streams without anything new, after which no more are asked for."""


async def hear(reply: Reply, answer: ResponsesAnswer) -> AsyncGenerator[LLMEvent, None]:
    """Yield what a reply adds to an answer; where that goes on without it, being cut is no failure."""
    try:
        while chunk := await _next(reply, answer):
            for event in answer.feed(chunk):
                yield event
            if answer.is_done:
                await reply.hear_out()
                return
    finally:
        reply.release()
    for event in answer.end():
        yield event


class Following:
    """Goes on with answers, by their ids, without ever asking for another."""

    def __init__(self, connection: Connection, *, pause: Pause) -> None:
        self._connection, self._pause = connection, pause

    async def look_up(self, external_id: str) -> object | None:
        """Return the response as it stands; ``None`` if it is not there, or came to nothing.

        Raises an error of the ``ModelError`` family if that cannot be found out.
        """
        reply = await self._connection.get(path_of(external_id))
        if not reply.is_ok:
            failure = await reply.failure()
            if reply.status in _MAYBE_GONE:
                return None
            raise failure
        found = decode(await reply.read_all(most=MAX_REPLY))
        is_lost = isinstance(found, dict) and str(found.get("status")) in _LOST
        return None if is_lost else found

    async def rest(self, answer: ResponsesAnswer) -> AsyncGenerator[LLMEvent, None]:
        """Yield what is still to come of an answer that goes on, and nothing of any other."""
        course = _Course()
        while answer.goes_on:
            reply = await self._reply(answer, course)
            if reply is not None:
                before = answer.position
                answer.reopen()
                async with aclosing(hear(reply, answer)) as events:
                    async for event in events:
                        yield event
                course.note(answer, is_new=answer.position != before)
            if answer.goes_on:
                await self._pause(course.wait)

    async def _reply(self, answer: ResponsesAnswer, course: "_Course") -> Reply | None:
        """Return a reply to go on with; ``None`` if there was none, but may be one next time."""
        try:
            reply = await self._connection.get(_path_on(answer, course))
            if reply.is_ok:
                return reply
            failure = await reply.failure()
        except _PASSING as error:
            failure = error
        else:
            if reply.status == _GONE:
                raise ModelUnreachable("the model's provider has lost the answer that it worked on")
            if course.streams and not isinstance(failure, _PASSING):
                course.streams = False
                return None
        course.fail(failure)
        return None


@dataclass(slots=True)
class _Course:
    """How going on with an answer has gone so far."""

    streams: bool = True
    """Whether its events are asked for; otherwise it is looked whether it has come."""
    failures: int = 0
    stalls: int = 0
    looks: int = 0
    told: float = 0.0
    """Seconds that the provider asked to be left alone."""

    @property
    def wait(self) -> float:
        """Seconds after which to ask again."""
        growing = _FIRST_WAIT * 2.0 ** min(self.failures + self.stalls + self.looks, 10)
        return max(self.told, min(_LONGEST_WAIT, growing))

    def fail(self, failure: ModelError) -> None:
        """Count a failure; raises it if there were too many of them in a row."""
        self.failures += 1
        self.told = min(failure.retry_after or 0.0, _LONGEST_TOLD)
        if self.failures > _MOST_FAILURES or not isinstance(failure, _PASSING):
            raise failure

    def note(self, answer: ResponsesAnswer, *, is_new: bool) -> None:
        """Take note of a reply that is over."""
        self.failures, self.told = 0, 0.0
        if not self.streams or answer.is_looked_at:
            self.looks += 1
            self.streams = False
            if self.looks > _MOST_LOOKS:
                raise ModelTimeout("the model's provider never came to an end with its answer")
            return
        self.stalls = 0 if is_new else self.stalls + 1
        self.streams = self.stalls < _STALLS


def path_of(external_id: str) -> str:
    """Return the path of a response."""
    return f"/responses/{quote(external_id, safe='')}"


def _path_on(answer: ResponsesAnswer, course: _Course) -> str:
    path = path_of(answer.external_id or "")
    if not course.streams or not answer.can_stream_on:
        return path
    after = "" if answer.position is None else f"&starting_after={answer.position}"
    return f"{path}?stream=true{after}"


async def _next(reply: Reply, answer: ResponsesAnswer) -> bytes:
    try:
        return await reply.read()
    except _PASSING:
        if answer.goes_on:
            return b""
        raise
