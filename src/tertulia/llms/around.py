"""What all wrappers of language models have in common: they are what is inside, but for one thing."""

from typing_extensions import override

from tertulia.llms.base import LLM


class Around(LLM):
    """A language model that passes everything on to another one; wrappers override ``stream``."""

    def __init__(self, inner: LLM) -> None:
        self._inner = inner

    @property
    @override
    def name(self) -> str:
        return self._inner.name

    @property
    @override
    def window(self) -> int | None:
        return self._inner.window

    @property
    @override
    def keeps_answers(self) -> bool:
        return self._inner.keeps_answers

    @override
    async def begin_conversation(self) -> str:
        return await self._inner.begin_conversation()

    @override
    async def forget_conversation(self, external_id: str) -> None:
        await self._inner.forget_conversation(external_id)

    @override
    async def abandon(self, external_id: str) -> None:
        await self._inner.abandon(external_id)

    @override
    async def close(self) -> None:
        await self._inner.close()
