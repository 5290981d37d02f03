"""What asking models and using tools has cost, so that it can be added up."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a step or a run cost; sums are taken field by field."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    """Of the input tokens, those that the provider took from its prompt cache."""
    reasoning_tokens: int = 0
    """Of the output tokens, those that the model thought with and did not say."""
    model_calls: int = 0
    wasted_calls: int = 0
    """Calls made again because an earlier owner may have lost the answer, by a crash or by handing over."""
    tool_calls: int = 0
    cost: float = 0.0
    """US dollars, by the price table; without the calls whose price is not known."""
    unpriced_calls: int = 0
    """Model calls whose price is not known."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            model_calls=self.model_calls + other.model_calls,
            wasted_calls=self.wasted_calls + other.wasted_calls,
            tool_calls=self.tool_calls + other.tool_calls,
            cost=self.cost + other.cost,
            unpriced_calls=self.unpriced_calls + other.unpriced_calls,
        )
