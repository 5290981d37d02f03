"""What an answer cost, as servers of OpenAI's older wires tell it."""

from typing import Final

from tertulia.usage import Usage

_MAX_COUNT: Final = 2**53
"""Tokens beyond which a count is no count."""


def usage_of(found: object) -> Usage:
    """Return the usage of one call; zero for every count that was not told."""
    if not isinstance(found, dict):
        return Usage(model_calls=1)
    asked, said = count(found, "prompt_tokens"), count(found, "completion_tokens")
    thought = count(found.get("completion_tokens_details"), "reasoning_tokens")
    if thought and count(found, "total_tokens") == asked + said + thought:
        # Some servers count thinking beside what is said, and not as part of it.
        said += thought
    return Usage(
        input_tokens=asked,
        output_tokens=said,
        cached_tokens=count(found.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=thought,
        model_calls=1,
    )


def count(found: object, name: str) -> int:
    """Return a count by its name; zero if there is none that can be."""
    number = found.get(name) if isinstance(found, dict) else None
    return min(number, _MAX_COUNT) if isinstance(number, int) and number > 0 else 0
