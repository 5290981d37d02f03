"""What models cost: an installation's own table of prices, and behind it the public one."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import orjson

from tertulia.errors import InvalidInput
from tertulia.kinds import Kind, Number, checked_settings
from tertulia.llms.listed_prices import find_listed
from tertulia.llms.rates import Price, Rates

_MOST: Final = 1_000_000
_RATE: Final = Number(low=0, high=_MOST, description="US dollars per million tokens.")
_KINDS: Final[Mapping[str, Kind]] = {"input": _RATE, "cached_input": _RATE, "output": _RATE}
_ANY: Final = "*"


_FREE: Final = Rates(input=0, output=0)
OURS: Final[Mapping[str, Rates]] = {"local": _FREE, "scripted:*": _FREE}
"""Prices of what runs in our own processes."""


class Prices:
    """The prices that an installation knows."""

    def __init__(self, own: Mapping[str, Rates] | None = None) -> None:
        """Take prices by ``provider:model``; a name that ends in ``*`` stands for all that begin like it."""
        table = dict(OURS) | dict(own or {})
        self._exact = {name: rates for name, rates in table.items() if not name.endswith(_ANY)}
        begun = [(name.removesuffix(_ANY), rates) for name, rates in table.items() if name.endswith(_ANY)]
        # The longest first: it says most about the model.
        self._begun = sorted(begun, key=lambda pair: len(pair[0]), reverse=True)

    @classmethod
    def of_file(cls, path: Path | None) -> Self:
        """Return the prices of a file, if there is one: ``{"provider:model": {"input": 0.25, "output": 2}}``.

        Rates are dollars per million tokens; there may be a ``cached_input`` too. Raises
        :class:`~tertulia.errors.InvalidInput`, which names the file and the model.
        """
        if path is None:
            return cls()
        try:
            found = orjson.loads(path.read_bytes())
        except OSError as error:
            reason = (error.strerror or "it is no file").lower()
            raise InvalidInput(f"the price file {path} cannot be read: {reason}") from error
        except ValueError as error:
            raise InvalidInput(f"the price file {path} is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise InvalidInput(f"the price file {path} must be an object from provider:model to rates")
        return cls({name: _rates(path, name, raw) for name, raw in found.items()})

    async def find(self, provider: str, models: tuple[str, ...], *, address: str = "") -> Price | None:
        """Return the price of a model that may go by several names, the likeliest first; ``None`` if unknown.

        The first time this may take some tenths of a second, without keeping anybody else waiting.
        """
        names = [f"{provider}:{model}" if model else provider for model in models]
        if own := self._own(names):
            return own.cost
        return await asyncio.to_thread(find_listed, provider, models, address)

    def _own(self, names: list[str]) -> Rates | None:
        for name in names:
            if rates := self._exact.get(name):
                return rates
        for begin, rates in self._begun:
            if any(name.startswith(begin) for name in names):
                return rates
        return None


def _rates(path: Path, name: str, raw: object) -> Rates:
    try:
        if not name or _ANY in name[:-1]:
            raise InvalidInput("write provider:model, with one * at its end for all that begin like it")  # noqa: TRY301
        given = checked_settings(_KINDS, raw if raw is not None else "", what="the rates")
        if missing := [key for key in ("input", "output") if key not in given]:
            raise InvalidInput(f"the rates lack {missing[0]!r}")  # noqa: TRY301
    except InvalidInput as error:
        raise InvalidInput(f"the price file {path}, at {name!r}: {error}") from None
    return Rates(**given)
