"""Several models that stand in for one another."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Final

from typing_extensions import override

from tertulia.errors import (
    AnswerGone,
    MissingExtra,
    ModelBusy,
    ModelError,
    ModelMalformed,
    ModelRefused,
    ModelTimeout,
    ModelUnreachable,
)
from tertulia.llms.base import LLM, Begun, Finished, LLMEvent, Prompt
from tertulia.llms.limited import Limited

_NEXT: Final = (ModelRefused, ModelBusy, ModelTimeout, ModelUnreachable, ModelMalformed, MissingExtra)
_SHORTEST: Final = 0.001
_ABANDON_SECONDS: Final = 5.0


class Fallback(LLM):
    """Ask the first model, and each of the others if the one before it cannot answer.

    Laws beyond those of the port:

    * The next one is asked when a model refuses, is busy, too slow, out of reach, not installed, or
      answers what is no answer; never after the first word, be it said or thought.
    * Work that a provider has :class:`~tertulia.llms.base.Begun` by itself is no word: it is
      abandoned before the next model is asked.
    * A model that is too slow to begin to speak loses its turn when its share of the time that is
      left is over; who speaks has all the rest. So the chain takes no longer than one model may:
      ``timeout`` in a prompt's settings, else ``whole`` seconds.
    * :class:`~tertulia.errors.ContextTooLong` is raised: the others may not have more room, and a
      shorter prompt is better than another model.
    * Ids at a provider carry the name of their model. What one has begun (``resumes``) is taken up
      there, and the chain goes on behind it. What was answered (``follows``) is gone for all others:
      if that model cannot answer, :class:`~tertulia.errors.AnswerGone` is raised, so that the chain is
      asked again with everything.
    * When all have failed, the last one's error is raised, and its text says so.
    """

    def __init__(
        self,
        models: Sequence[LLM],
        *,
        whole: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models, self._whole, self._clock = tuple(models), whole, clock

    @property
    @override
    def name(self) -> str:
        return self._models[0].name

    @property
    @override
    def window(self) -> int | None:
        return min((llm.window for llm in self._models if llm.window is not None), default=None)

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        chain = self._chain(prompt)
        whole = prompt.settings.timeout or self._whole
        end = None if whole is None else self._clock() + whole
        for left, llm in zip(range(len(chain), 0, -1), chain, strict=True):
            call = _Call(llm, begun=_known_to(llm, prompt.resumes))
            try:
                async with aclosing(self._ask(call, prompt, end, left)) as events:
                    async for event in events:
                        yield call.heard(event)
            except _NEXT as error:
                if call.has_spoken:
                    raise
                if prompt.follows is not None:
                    raise AnswerGone(f"the model that gave the answer before failed: {error}") from error
                if left == 1:
                    raise self._all_failed(error) from error
            else:
                return
            await call.abandon()
            prompt = replace(prompt, resumes=None)

    @override
    async def abandon(self, external_id: str) -> None:
        name, known = _taken_apart(external_id)
        for llm in self._named(name):
            await llm.abandon(known)

    @override
    async def close(self) -> None:
        for llm in self._models:
            await llm.close()

    def _chain(self, prompt: Prompt) -> tuple[LLM, ...]:
        """Return those that may be asked, in order."""
        if prompt.follows is not None:
            named = self._named(_taken_apart(prompt.follows)[0])
            if not named:
                raise AnswerGone("the model that gave the answer before is none of these any more")
            return named
        if prompt.resumes is not None and (named := self._named(_taken_apart(prompt.resumes)[0])):
            return self._models[self._models.index(named[0]) :]
        return self._models

    def _named(self, name: str) -> tuple[LLM, ...]:
        """Return the model of this name, if it is one of these."""
        return tuple(llm for llm in self._models if llm.name == name)[:1]

    def _ask(
        self, call: "_Call", prompt: Prompt, end: float | None, left: int
    ) -> AsyncGenerator[LLMEvent, None]:
        own = replace(prompt, resumes=call.begun, follows=_known_to(call.llm, prompt.follows))
        if end is None:
            return call.llm.stream(own)
        seconds = max(end - self._clock(), _SHORTEST)
        own = replace(own, settings=replace(prompt.settings, timeout=seconds))
        return Limited(call.llm, first_token=seconds / left, whole=seconds).stream(own)

    def _all_failed(self, error: ModelError | MissingExtra) -> ModelError | MissingExtra:
        count = len(self._models)
        text = f"all {count} models failed; the last one: {error}" if count > 1 else str(error)
        return type(error)(text, retry_after=error.retry_after)


@dataclass(slots=True)
class _Call:
    """One model's attempt."""

    llm: LLM
    begun: str | None
    """Id of what its provider works on."""
    has_spoken: bool = False

    def heard(self, event: LLMEvent) -> LLMEvent:
        """Take note of an event, and return it with ids that name their model."""
        if isinstance(event, Begun):
            self.begun = event.external_id
            return Begun(f"{self.llm.name} {event.external_id}")
        self.has_spoken = True
        if isinstance(event, Finished) and event.external_id is not None:
            return replace(event, external_id=f"{self.llm.name} {event.external_id}")
        return event

    async def abandon(self) -> None:
        """Have what was begun stopped, if it is quick."""
        if self.begun is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ABANDON_SECONDS):
                    await self.llm.abandon(self.begun)


def _taken_apart(external_id: str) -> tuple[str, str]:
    """Return the model's name, empty if there is none, and the id that its provider knows."""
    name, _, known = external_id.rpartition(" ")
    return name, known


def _known_to(llm: LLM, external_id: str | None) -> str | None:
    """Return an id as the model's own provider knows it; ``None`` if it is another's."""
    if external_id is None:
        return None
    name, known = _taken_apart(external_id)
    return known if name == llm.name else None
