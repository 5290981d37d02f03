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

    @override
    async def abandon(self, external_id: str) -> None:
        await self._inner.abandon(external_id)

    @override
    async def close(self) -> None:
        await self._inner.close()
