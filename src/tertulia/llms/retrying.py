"""Asking again when a model's failure is likely to pass."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Final, TypeAlias, TypeVar

from typing_extensions import override

from tertulia.errors import ModelBusy, ModelError, ModelMalformed, ModelTimeout, ModelUnreachable
from tertulia.llms.around import Around
from tertulia.llms.base import LLM, Begun, LLMEvent, Prompt

T = TypeVar("T")
Pause: TypeAlias = Callable[[float], Awaitable[None]]

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 8.0
_SPREAD: Final = 0.1

_TRIES: Final[dict[type[ModelError], int | None]] = {
    ModelBusy: None,
    ModelUnreachable: None,
    ModelTimeout: None,
    ModelMalformed: 2,
}


class Retrying(Around):
    """Ask again while the model is busy or out of reach, but never after the first word.

    At most ``attempts`` calls, none begun later than ``budget_seconds`` after the first, or than
    ``timeout`` in the prompt's settings, if that is less. A model that says when to come back is taken
    at its word, or, if that lies beyond the budget, its error is raised at once. Something that is no
    answer is asked for once more, and no more often. What the provider has begun by itself is taken up
    again rather than begun anew, unless it was taken up before and is no answer. Conversations at the
    provider are begun and forgotten with the same patience; one whose beginning was not heard of stays
    there, empty.
    """

    def __init__(
        self,
        inner: LLM,
        *,
        attempts: int = 3,
        budget_seconds: float = 60.0,
        pause: Pause = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(inner)
        self._attempts, self._budget = attempts, budget_seconds
        self._pause, self._jitter, self._clock = pause, jitter, clock

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        begun, budget = self._clock(), min(self._budget, prompt.settings.timeout or self._budget)
        attempt, spoken = 1, False
        while True:
            taken_up = prompt.resumes
            try:
                async with aclosing(self._inner.stream(prompt)) as events:
                    async for event in events:
                        if isinstance(event, Begun):
                            prompt = replace(prompt, resumes=event.external_id)
                        else:
                            spoken = True
                        yield event
            except ModelError as error:
                wait = None if spoken else self._wait(error, attempt)
                if wait is None or self._clock() - begun + wait > budget:
                    raise
                if taken_up and prompt.resumes == taken_up and isinstance(error, ModelMalformed):
                    prompt = await self._let_go(prompt, taken_up)
            else:
                return
            attempt += 1
            await self._pause(wait)

    @override
    async def begin_conversation(self) -> str:
        return await self._insist(self._inner.begin_conversation)

    @override
    async def forget_conversation(self, external_id: str) -> None:
        await self._insist(partial(self._inner.forget_conversation, external_id))

    async def _insist(self, act: Callable[[], Awaitable[T]]) -> T:
        """Return what comes of something that may be done twice."""
        begun, attempt = self._clock(), 1
        while True:
            try:
                return await act()
            except ModelError as error:
                wait = self._wait(error, attempt)
                if wait is None or self._clock() - begun + wait > self._budget:
                    raise
            attempt += 1
            await self._pause(wait)

    async def _let_go(self, prompt: Prompt, taken_up: str) -> Prompt:
        """Return the prompt as it is asked anew: what was taken up again would be no answer again."""
        await self._inner.abandon(taken_up)
        return replace(prompt, resumes=None)

    def _wait(self, error: ModelError, attempt: int) -> float | None:
        """Return the seconds to wait before asking again; ``None`` for not at all."""
        kind = type(error)
        if kind not in _TRIES or attempt >= min(self._attempts, _TRIES[kind] or self._attempts):
            return None
        if error.retry_after is not None:
            return error.retry_after * (1 + _SPREAD * self._jitter())
        return self._jitter() * min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (attempt - 1))
