"""Time limits around any language model."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from typing_extensions import override

from tertulia.errors import ModelTimeout
from tertulia.llms.around import Around
from tertulia.llms.base import LLM, LLMEvent, Prompt, ReasoningDelta, TextDelta


class Limited(Around):
    """Give up on a model that takes too long.

    ``first_token`` is the longest wait for the first word, ``whole`` the longest for everything;
    ``timeout`` in a prompt's settings takes the place of ``whole``, if there is one. ``None`` is no
    limit. Put around :class:`~tertulia.llms.retrying.Retrying`, ``whole`` spans all attempts.
    """

    def __init__(self, inner: LLM, *, first_token: float | None = None, whole: float | None = None) -> None:
        super().__init__(inner)
        self._first_token, self._whole = first_token, whole

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        now = asyncio.get_running_loop().time
        end = _after(now(), self._whole and (prompt.settings.timeout or self._whole))
        limit = _earlier(end, _after(now(), self._first_token))
        async with aclosing(self._inner.stream(prompt)) as events:
            # The limit is set around each wait and never across a yield, where it would strike the caller.
            while (event := await _next(events, limit)) is not None:
                if isinstance(event, TextDelta | ReasoningDelta):
                    limit = end
                yield event


async def _next(events: AsyncGenerator[LLMEvent, None], limit: float | None) -> LLMEvent | None:
    try:
        async with asyncio.timeout_at(limit):
            return await anext(events, None)
    except TimeoutError:
        raise ModelTimeout("the model took too long to answer") from None


def _after(now: float, seconds: float | None) -> float | None:
    return None if seconds is None else now + seconds


def _earlier(one: float | None, other: float | None) -> float | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)
