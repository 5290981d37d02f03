"""Several models that stand in for one another."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from typing_extensions import override

from tertulia.errors import (
    AnswerGone,
    ContextTooLong,
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
from tertulia.llms.owned import OwnedTasks

_Error: TypeAlias = ModelError | MissingExtra

_HOPE: Final = (
    *(ModelBusy, ModelTimeout, ModelUnreachable, ModelMalformed),
    *(ModelRefused, MissingExtra, ContextTooLong),
)
"""What lets the next model stand in, first what is the likeliest to pass."""
_PASSING: Final = (ModelBusy, ModelTimeout)
_MOST_TOLD: Final = 8
_LONGEST_NAME: Final = 60
_SHORTEST: Final = 0.001
_ABANDON_SECONDS: Final = 1.0


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
    * The window is that of the first, whose conversations these are. If it finds a prompt too long
      for itself, :class:`~tertulia.errors.ContextTooLong` is raised: a shorter prompt is better than
      another model. One that stands in and has less room is passed over while others follow.
    * Ids at a provider carry the name of their model. What one has begun (``resumes``) is taken up
      there, and the chain goes on behind it. What was answered (``follows``), and conversations
      (``within``), are gone for all others: if that model cannot answer,
      :class:`~tertulia.errors.AnswerGone` is raised, so that the chain is asked again with everything.
    * Answers are kept if the first model's are, and conversations are begun there.
    * When all have failed, the error that gives the most hope is raised: that a model was busy or too
      slow goes before that it could not be reached, and this before a refusal. It names each model with
      its error's code, and the shortest wait that any of them asks for.
    """

    def __init__(
        self,
        models: Sequence[LLM],
        *,
        whole: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models, self._whole, self._clock = tuple(models), whole, clock
        self._tasks = OwnedTasks()

    @property
    @override
    def name(self) -> str:
        return self._models[0].name

    @property
    @override
    def window(self) -> int | None:
        return self._models[0].window

    @property
    @override
    def keeps_answers(self) -> bool:
        return self._models[0].keeps_answers

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        chain = self._chain(prompt)
        whole = prompt.settings.timeout or self._whole
        end = None if whole is None else self._clock() + whole
        failures: list[tuple[str, _Error]] = []
        for left, llm in zip(range(len(chain), 0, -1), chain, strict=True):
            call = _Call(llm, begun=_known_to(llm, prompt.resumes))
            try:
                async with aclosing(self._ask(call, prompt, end, left)) as events:
                    async for event in events:
                        yield call.heard(event)
            except _HOPE as error:
                if call.has_spoken or self._wants_less(llm, error, left):
                    raise
                if prompt.leans_on is not None:
                    raise AnswerGone(f"the model that gave the answer before failed: {error}") from error
                failures.append((llm.name, error))
                if left == 1:
                    raise self._all_failed(failures) from error
            else:
                return
            await self._abandon(call)
            prompt = replace(prompt, resumes=None)

    @override
    async def begin_conversation(self) -> str:
        first = self._models[0]
        return _named_for(first, await first.begin_conversation())

    @override
    async def forget_conversation(self, external_id: str) -> None:
        name, known = _taken_apart(external_id)
        named = self._named(name)
        if not named:
            raise ModelRefused("the model that the conversation is kept by is none of these any more")
        await named[0].forget_conversation(known)

    @override
    async def abandon(self, external_id: str) -> None:
        name, known = _taken_apart(external_id)
        for llm in self._named(name):
            await llm.abandon(known)

    @override
    async def close(self) -> None:
        await self._tasks.finish(within_seconds=_ABANDON_SECONDS)
        for llm in self._models:
            await llm.close()

    def _wants_less(self, llm: LLM, error: Exception, left: int) -> bool:
        """Whether the same had better be asked again in a shorter prompt than of another model."""
        return isinstance(error, ContextTooLong) and (llm is self._models[0] or left == 1)

    def _chain(self, prompt: Prompt) -> tuple[LLM, ...]:
        """Return those that may be asked, in order."""
        if prompt.leans_on is not None:
            named = self._named(_taken_apart(prompt.leans_on)[0])
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
        own = replace(
            prompt,
            resumes=call.begun,
            follows=_known_to(call.llm, prompt.follows),
            within=_known_to(call.llm, prompt.within),
        )
        if end is None:
            return call.llm.stream(own)
        seconds = max(end - self._clock(), _SHORTEST)
        own = replace(own, settings=replace(prompt.settings, timeout=seconds))
        share = seconds / left if left > 1 else None
        return Limited(call.llm, first_token=share, whole=seconds).stream(own)

    async def _abandon(self, call: "_Call") -> None:
        """Have what was begun stopped; if that is not quick, it goes on beside the next model."""
        if call.begun is not None:
            task = self._tasks.start(call.llm.abandon(call.begun), what="abandoning an answer")
            await asyncio.wait((task,), timeout=_ABANDON_SECONDS)

    def _all_failed(self, failures: Sequence[tuple[str, _Error]]) -> _Error:
        """Return the error that a caller can make the most of."""
        error = min((error for _, error in failures), key=_hopelessness)
        waits = [each.retry_after for _, each in failures if isinstance(each, _PASSING)]
        wait = min((each for each in waits if each is not None), default=error.retry_after)
        is_chain = len(self._models) > 1
        text = f"no model answered ({_told(failures)}): {error}" if is_chain else str(error)
        return type(error)(text, retry_after=wait)


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
            return Begun(_named_for(self.llm, event.external_id))
        self.has_spoken = True
        if isinstance(event, Finished) and event.external_id is not None:
            return replace(event, external_id=_named_for(self.llm, event.external_id))
        return event


def _hopelessness(error: _Error) -> tuple[int, float]:
    """Return what is the less, the sooner asking again may help."""
    kind = next(place for place, leaf in enumerate(_HOPE) if isinstance(error, leaf))
    return kind, math.inf if error.retry_after is None else error.retry_after


def _told(failures: Sequence[tuple[str, _Error]]) -> str:
    """Return who failed and how, without anything that a provider has said."""
    told = [f"{name[:_LONGEST_NAME]}: {error.code}" for name, error in failures[:_MOST_TOLD]]
    return ", ".join((*told, "…") if len(failures) > _MOST_TOLD else told)


def _named_for(llm: LLM, known: str) -> str:
    """Return an id of a model's provider with the model's name."""
    return f"{llm.name} {known}"


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
