"""What an answer has cost, told with it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from typing_extensions import override

from tertulia.llms.around import Around
from tertulia.llms.base import LLM, Finished, LLMEvent, Prompt
from tertulia.llms.prices import Prices
from tertulia.llms.rates import Price
from tertulia.usage import Usage

_KEPT: Final = 256


class Priced(Around):
    """Tell with each answer what it has cost, or that this is not known.

    The price is that of the model which answered, as far as that is known, else of the one that was
    asked. A plug that tells the cost itself is believed.
    """

    def __init__(self, inner: LLM, prices: Prices, *, address: str = "") -> None:
        """``address`` is where the model is asked, if that may be another than its provider's."""
        super().__init__(inner)
        self._prices, self._address = prices, address
        self._provider, _, self._model = inner.name.partition(":")
        self._known: dict[str, Price | None] = {}

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        async with aclosing(self._inner.stream(prompt)) as events:
            async for event in events:
                yield await self._priced(event) if isinstance(event, Finished) else event

    async def _priced(self, finished: Finished) -> Finished:
        usage = finished.usage
        if usage.cost or usage.unpriced_calls:
            return finished
        price = await self._price(finished.model)
        return replace(finished, usage=_with_cost(usage, price and price(usage)))

    async def _price(self, answered: str) -> Price | None:
        if answered in self._known:
            return self._known[answered]
        names = (answered, self._model) if answered != self._model else (answered,)
        price = await self._prices.find(self._provider, names, address=self._address)
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[answered] = price
        return price


def _with_cost(usage: Usage, cost: float | None) -> Usage:
    if cost is None:
        return replace(usage, unpriced_calls=max(usage.model_calls, 1))
    return replace(usage, cost=cost)
