"""A model of any other provider, asked through pydantic-ai."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar

from typing_extensions import override

from tertulia.errors import MissingExtra, UnknownModel
from tertulia.llms.aside import with_aside
from tertulia.llms.base import LLMEvent, Prompt
from tertulia.llms.by_pydantic_ai.manners import manners_of
from tertulia.llms.leaning import check_stands_alone
from tertulia.llms.options import LLMOptions, LLMPlug, ModelName, SupportsTrying
from tertulia.per_loop import PerLoop
from tertulia.registry import load

if TYPE_CHECKING:
    from tertulia.llms.by_pydantic_ai.asked import AskedModel

P = ParamSpec("P")
T = TypeVar("T")


class PydanticAILLM(LLMPlug, SupportsTrying):
    """A model of a provider that pydantic-ai speaks to, opened when it is first asked.

    Key and address are the provider's own variables, if no options are given. Nothing is retried
    and no time is limited here. ``docs/models.md`` says how conversations are converted.
    """

    def __init__(self, name: ModelName, options: LLMOptions | None = None) -> None:
        self._name, self._options = name, options or LLMOptions()
        self._window: int | None = None
        self._kept: PerLoop[_Kept] = PerLoop(_Kept)

    @override
    @classmethod
    def build(cls, name: ModelName, options: LLMOptions) -> Self:
        if not name.model:
            raise UnknownModel(f"say which model: {name.provider}:NAME")
        return cls(name, options)

    @override
    @classmethod
    async def list_models(cls, provider: str, options: LLMOptions) -> list[str]:
        return await _imported(provider, _known, provider)

    @property
    @override
    def name(self) -> str:
        return str(self._name)

    @property
    @override
    def window(self) -> int | None:
        return self._window

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        check_stands_alone(prompt)
        model = await self._opened()
        async with aclosing(model.stream(with_aside(prompt))) as events:
            async for event in events:
                yield event

    @override
    async def try_open(self) -> None:
        await self._opened()

    @override
    async def close(self) -> None:
        here = asyncio.get_running_loop()
        for loop, kept in self._kept.take_all():
            model, kept.model = kept.model, None
            if model and loop is here:
                await model.close()
            elif model and not loop.is_closed():
                # What belongs to another loop is closed there; if that is just ending, with it.
                with suppress(RuntimeError):
                    asyncio.run_coroutine_threadsafe(model.close(), loop)

    async def _opened(self) -> "AskedModel":
        kept = self._kept.get()
        async with kept.one_opens:
            if kept.model is None:
                model = await _imported(self._name.provider, _open, self._name, self._options)
                await model.enter()
                kept.model, self._window = model, model.window
            return kept.model


class _Kept:
    """The open model of one event loop."""

    def __init__(self) -> None:
        self.model: AskedModel | None = None
        self.one_opens = asyncio.Lock()


def _open(name: ModelName, options: LLMOptions) -> "AskedModel":
    opened: AskedModel = load("tertulia.llms.by_pydantic_ai.opening:open_model")(name, options)
    return opened


def _known(provider: str) -> list[str]:
    names: list[str] = load("tertulia.llms.by_pydantic_ai.opening:known_names")(provider)
    return names


async def _imported(provider: str, call: Callable[P, T], *given: P.args, **more: P.kwargs) -> T:
    """Call what imports packages, which takes a while; raises ``MissingExtra`` if one is not there."""
    try:
        return await asyncio.to_thread(call, *given, **more)
    except ImportError as error:
        if (error.name or "").startswith("tertulia"):
            raise
        raise MissingExtra(
            f"models of {provider} need a package: pip install tertulia[{manners_of(provider).extra}]"
        ) from error
