"""Counted tokens: by the vocabulary of the model that is meant, where it is known."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, Final

from tertulia.errors import MissingExtra
from tertulia.memory.shortening import shortened
from tertulia.memory.tokens import IMAGE_TOKENS, MESSAGE_TOKENS, estimate, tokens_of
from tertulia.messages import Message
from tertulia.parts import Media, Part, Text, ToolCall, ToolResult
from tertulia.registry import load

ESTIMATE: Final = "estimate"
"""What a count is called that no vocabulary stands behind."""

_LIBRARY: Final = "bpe_openai"
_VOCABULARIES: Final = (
    ("o200k_base", re.compile(r"(chatgpt-|gpt-)?(4o|4\.1|4\.5|5)\b|gpt-oss|o[1-9]\d*\b|codex|computer-use")),
    ("cl100k_base", re.compile(r"gpt-(4|3\.5|35)\b|text-embedding-(3|ada-002)")),
)
"""Which names of models have which vocabulary; the first that fits counts."""


@dataclass(frozen=True, slots=True)
class Counter:
    """Counts the tokens of a text."""

    vocabulary: str
    """By which it counts, as ``o200k_base``; or ``estimate``."""
    _count: Callable[[str], int]

    def __call__(self, text: str) -> int:
        """Return how many tokens a text has."""
        return self._count(text)


ESTIMATED: Final = Counter(ESTIMATE, estimate)


def counter(model: str | None) -> Counter:
    """Return what counts the tokens of texts as this model does, ``provider:model`` or ``model``.

    If its vocabulary is not known, or no model is named, that is the estimate of
    :mod:`tertulia.memory.tokens`. Raises :class:`~tertulia.errors.MissingExtra` if the vocabulary is
    known and the package that has it is not installed. The first counter of a vocabulary takes a moment.
    """
    bare = (model or "").rpartition(":")[2].rpartition("/")[2].lower()
    for vocabulary, names in _VOCABULARIES:
        if names.match(bare):
            return Counter(vocabulary, _loaded(vocabulary))
    return ESTIMATED


def message_tokens(message: Message, count: Counter = ESTIMATED) -> int:
    """Return the tokens of a message as later turns are shown it, calls of tools and results included.

    What was thought is not shown then, and of what a tool has given no more than its beginning.
    """
    if count is ESTIMATED:
        return tokens_of(message.content)
    return MESSAGE_TOKENS + sum(_part_tokens(part, count) for part in message.content)


def _part_tokens(part: Part, count: Counter) -> int:
    match part:
        case Text():
            return count(part.text)
        case ToolResult():
            return count(shortened(part).text)
        case ToolCall():
            return count(part.name) + count(part.arguments) + MESSAGE_TOKENS
        case Media(kind="image"):
            return IMAGE_TOKENS
        case _:
            return tokens_of((part,)) - MESSAGE_TOKENS


@cache
def _loaded(vocabulary: str) -> Callable[[str], int]:
    if find_spec(_LIBRARY) is None:
        raise MissingExtra(
            "counting tokens as this model does needs a library: pip install tertulia[tokens]; "
            "or name no model, and they are estimated"
        )
    with warnings.catch_warnings():
        # It reads its own files in a way that Python calls old.
        warnings.simplefilter("ignore", DeprecationWarning)
        encoding: Any = load(f"{_LIBRARY}:get_encoding")(vocabulary)

    def count(text: str) -> int:
        return len(encoding.encode_ordinary(text))

    return count
