"""A model that many share, which is closed as soon as it is not wanted any more and nobody uses it."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

from typing_extensions import override

from tertulia.llms.around import Around
from tertulia.llms.base import LLM, LLMEvent, Prompt
from tertulia.llms.owned import OwnedTasks


class Lent(Around):
    """A model that can be let go of while it answers.

    Once retired it is closed whenever its last answer has ended. Whoever still holds it may ask it
    nevertheless: it opens anew, as every model does, and is closed again.
    """

    def __init__(self, inner: LLM, *, owner: OwnedTasks) -> None:
        super().__init__(inner)
        self._owner = owner
        self._uses = 0
        self._is_retired = False

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        with self._in_use():
            async with aclosing(self._inner.stream(prompt)) as events:
                async for event in events:
                    yield event

    @override
    async def begin_conversation(self) -> str:
        with self._in_use():
            return await self._inner.begin_conversation()

    @override
    async def forget_conversation(self, external_id: str) -> None:
        with self._in_use():
            await self._inner.forget_conversation(external_id)

    @override
    async def abandon(self, external_id: str) -> None:
        with self._in_use():
            await self._inner.abandon(external_id)

    def retire(self) -> None:
        """Close it as soon as nobody uses it."""
        self._is_retired = True
        self._close_if_idle()

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        self._uses += 1
        try:
            yield
        finally:
            self._uses -= 1
            self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._is_retired and not self._uses and _is_in_loop():
            self._owner.start(self._close_unless_asked(), what=f"closing the model {self.name}")

    async def _close_unless_asked(self) -> None:
        """Close it, unless somebody has asked it since; it is closed when that has ended."""
        if not self._uses:
            await self._inner.close()


def _is_in_loop() -> bool:
    """Whether there is a loop to close it in; without one, nobody has asked it there."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
