"""What the providers of models offer, asked of all of them at once."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tertulia.errors import ModelTimeout, TertuliaError
from tertulia.llms import LLMS, LLMOptions
from tertulia.llms.options import ModelName, SupportsTrying

LIST_SECONDS: Final = 20.0
"""Long enough for the libraries of all providers to be imported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What one provider offers, and what keeps it from telling or from being asked."""

    provider: str
    models: tuple[str, ...] = ()
    """Whole names, as agents name them; none if the provider has no list."""
    trouble: TertuliaError | None = None


async def offers(
    providers: Iterable[str], options: LLMOptions, *, seconds: float = LIST_SECONDS
) -> list[Offer]:
    """Return what these providers offer, in their order; each has so many seconds to tell."""
    return await asyncio.gather(*(_offer(provider, options, seconds) for provider in providers))


def silence_libraries() -> None:
    """Have nothing logged, by us or by libraries that were left half open: what is wrong is told anyway."""
    for name in ("tertulia", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


async def try_model(name: ModelName, options: LLMOptions) -> None:
    """Raise what would keep this model from being asked, as far as that can be known without asking it."""
    model = LLMS.get(name.provider).build(name, options)
    if isinstance(model, SupportsTrying):
        try:
            await model.try_open()
        finally:
            await model.close()


async def _offer(provider: str, options: LLMOptions, seconds: float) -> Offer:
    names: list[ModelName] = []
    trouble: TertuliaError | None = None
    try:
        async with asyncio.timeout(seconds):
            names += [ModelName(provider, model) for model in await _listed(provider, options)]
            for name in names[:1]:
                await try_model(name, options)
    except TimeoutError:
        trouble = ModelTimeout(f"no answer within {seconds:g} s")
    except TertuliaError as error:
        trouble = error
    return Offer(provider=provider, models=tuple(map(str, names)), trouble=trouble)


async def _listed(provider: str, options: LLMOptions) -> list[str]:
    return await LLMS.get(provider).list_models(provider, options)
