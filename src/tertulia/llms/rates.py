"""What tokens cost."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from tertulia.usage import Usage

Price: TypeAlias = Callable[[Usage], float | None]
"""Returns the US dollars that a call costs, ``None`` if what it used is not known."""

PER: Final = 1_000_000
"""Tokens that a rate is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """A price that is the same at any time and for any length: US dollars per million tokens."""

    input: float
    output: float
    cached_input: float | None = None
    """For input that the provider took from its cache; ``None`` if that is no cheaper."""

    def cost(self, usage: Usage) -> float | None:
        """Return the dollars for these tokens; ``None`` if none were counted and they are not free."""
        if not (usage.input_tokens or usage.output_tokens):
            return None if self.input or self.output else 0.0
        cached = min(usage.cached_tokens, usage.input_tokens)
        rate = self.input if self.cached_input is None else self.cached_input
        asked = (usage.input_tokens - cached) * self.input + cached * rate
        return (asked + usage.output_tokens * self.output) / PER
