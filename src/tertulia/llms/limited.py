"""Time limits around any language model."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from typing import Final

from typing_extensions import override

from tertulia.errors import ModelTimeout
from tertulia.llms.around import Around
from tertulia.llms.base import LLM, LLMEvent, Prompt, ReasoningDelta, TextDelta

_ABANDON_SECONDS: Final = 1.0
_TOO_LONG: Final = "the model took too long to answer"


class Limited(Around):
    """Give up on a model that takes too long.

    ``first_token`` is the longest wait for the first word, ``whole`` the longest for everything;
    ``timeout`` in a prompt's settings takes the place of ``whole``, if there is one. ``None`` is no
    limit. Put around :class:`~tertulia.llms.retrying.Retrying`, ``whole`` spans all attempts. Where the
    first word is waited for, the answer is asked for in pieces even if nobody reads along: in one
    piece its first word would come with its last.

    A conversation at the provider is begun, and forgotten, within the shorter of both.

    What a provider has begun by itself it goes on with meanwhile. But if it was taken up again
    (``resumes``) and nothing is heard of it in the ``whole`` time, it is abandoned, so that whoever asks
    next begins anew: some answers stay in a queue for ever.
    """

    def __init__(self, inner: LLM, *, first_token: float | None = None, whole: float | None = None) -> None:
        super().__init__(inner)
        self._first_token, self._whole = first_token, whole

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        now = asyncio.get_running_loop().time
        end = _after(now(), self._whole and (prompt.settings.timeout or self._whole))
        limit = _earlier(end, _after(now(), self._first_token))
        if self._first_token is not None and not prompt.wants_deltas:
            prompt = replace(prompt, wants_deltas=True)
        is_silent = True
        try:
            async with aclosing(self._inner.stream(prompt)) as events:
                # The limit is set around each wait, never across a yield, where it would strike the caller.
                while (event := await _next(events, limit)) is not None:
                    is_silent = False
                    if isinstance(event, TextDelta | ReasoningDelta):
                        limit = end
                    yield event
        except ModelTimeout:
            if self._whole and is_silent and prompt.resumes:
                await self._give_up_on(prompt.resumes)
            raise

    @override
    async def begin_conversation(self) -> str:
        async with self._limit():
            return await self._inner.begin_conversation()

    @override
    async def forget_conversation(self, external_id: str) -> None:
        async with self._limit():
            await self._inner.forget_conversation(external_id)

    @asynccontextmanager
    async def _limit(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_earlier(self._first_token, self._whole)):
                yield
        except TimeoutError:
            raise ModelTimeout(_TOO_LONG) from None

    async def _give_up_on(self, external_id: str) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_ABANDON_SECONDS):
                await self._inner.abandon(external_id)


async def _next(events: AsyncGenerator[LLMEvent, None], limit: float | None) -> LLMEvent | None:
    try:
        async with asyncio.timeout_at(limit):
            return await anext(events, None)
    except TimeoutError:
        raise ModelTimeout(_TOO_LONG) from None


def _after(now: float, seconds: float | None) -> float | None:
    return None if seconds is None else now + seconds


def _earlier(one: float | None, other: float | None) -> float | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)
