"""The prices that providers ask in public, as ``genai-prices`` lists them.

Its table takes a tenth of a second to load and its own sums some 60 µs each. So it is only loaded when
a price is first asked for, and a price that is the same at any time and for any length is taken out of it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from tertulia.llms.rates import Price, Rates
from tertulia.registry import load
from tertulia.usage import Usage

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice, Provider

_SNAPSHOT: Final = "genai_prices.data_snapshot:get_snapshot"
_USAGE: Final = "genai_prices:Usage"
_PER_TOKEN: Final = ("input_mtok", "output_mtok", "cache_read_mtok")
_COUNTED: Final = frozenset({*_PER_TOKEN, "output_reasoning_mtok", "requests_kcount"})
"""Prices of what we count; others are for what calls of ours do not use, or not tell of."""


def find_listed(provider: str, models: Sequence[str], address: str = "") -> Price | None:
    """Return the listed price of a model under the first of its names that has one.

    Where ``address`` leads to a provider that is not listed, the name will do if all that sell a
    model of this name ask the same.
    """
    table: DataSnapshot = load(_SNAPSHOT)()
    sellers = _sellers(table, provider, address)
    for name in filter(None, models):
        offers = [
            (model, seller)
            for seller in sellers
            if (model := seller.find_model(name, all_providers=table.providers))
        ]
        prices = [_standing(model) for model, _ in offers]
        if prices and all(_rates(price) == _rates(prices[0]) for price in prices):
            return _price(*offers[0])
    return None


def _sellers(table: "DataSnapshot", provider: str, address: str) -> list["Provider"]:
    """Return the provider that is asked, or all that may be if only an address is known that nobody lists."""
    try:
        return [table.find_provider(None, None if address else provider, address or None)]
    except LookupError:
        return list(table.providers) if address else []


def _price(model: "ModelInfo", seller: "Provider") -> Price | None:
    standing = _standing(model)
    found = _rates(standing)
    if found["input_mtok"] is None or found["output_mtok"] is None:
        return None
    changes = isinstance(model.prices, list) or any(hasattr(rate, "tiers") for rate in found.values())
    if changes or any(rate is not None for key, rate in found.items() if key not in _PER_TOKEN):
        return partial(_calculated, model, seller)
    into, out, cached = (None if found[key] is None else float(str(found[key])) for key in _PER_TOKEN)
    return Rates(input=into or 0.0, output=out or 0.0, cached_input=cached).cost


def _standing(model: "ModelInfo") -> "ModelPrice":
    return model.get_prices(datetime.now(UTC))


def _rates(price: "ModelPrice") -> dict[str, object]:
    return {key: getattr(price, key) for key in _COUNTED}


def _calculated(model: "ModelInfo", seller: "Provider", usage: Usage) -> float | None:
    if not (usage.input_tokens or usage.output_tokens):
        return None
    used = load(_USAGE)(
        input_tokens=usage.input_tokens,
        cache_read_tokens=min(usage.cached_tokens, usage.input_tokens),
        output_tokens=usage.output_tokens,
        output_reasoning_tokens=min(usage.reasoning_tokens, usage.output_tokens),
    )
    try:
        return float(model.calc_price(used, seller).total_price)
    except (ArithmeticError, LookupError, ValueError):
        return None
