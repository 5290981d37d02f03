"""Estimated tokens: how much of a model's window a text will take, without a vocabulary.

An estimate, and labelled so wherever it is shown. What a provider counts goes into a run's usage;
what is decided before the call (where the shown history starts) needs a number that is quick, the
same on every machine, and rather too high than too low. It counts three kinds of things:

* 1/4 token for each character of prose: English measures a little less.
* 2/3 token for each ASCII digit, mark or line end. Vocabularies that group digits and brackets take
  half of that, those that do not take one token for each.
* 3/4 token for each further byte that a character has in UTF-8. So an accented Latin or a Cyrillic
  letter comes to 1 token, a Chinese, Japanese or Korean character to 1.75, an emoji to 2.5. Counting
  four characters a token there is too low by a factor of four to ten.

Measured against the vocabulary of SmolLM2 (49,000 entries, mostly English, so harder to meet than
larger ones) that gives 1.0 to 1.3 times the true number for English, Python, Markdown, Japanese,
Chinese, Russian, Arabic and Hindi; 0.9 for C, JSON and emoji; 0.7 for Korean and German; and 0.5 to
0.7 for nothing but digits.
"""

import string
from collections.abc import Iterable
from typing import Final

from tertulia.memory.shortening import shortened
from tertulia.parts import Media, Part, Text, ToolCall, ToolResult

MESSAGE_TOKENS: Final = 4
"""What a message costs beside its text: its role, its name and the marks around it."""
IMAGE_TOKENS: Final = 1200
"""What an image takes, roughly: providers scale large ones down."""

_MEDIA_BASE64: Final = 100
"""Characters of a recording or a document, in Base64, for one token."""
_UNIT: Final = 12
_CHARACTER: Final = 3
_MARK_MORE: Final = 5
_FURTHER_BYTE: Final = 9
_PROSE: Final = (string.ascii_letters + " ").encode() + bytes(range(0x80, 0x100))


def tokens_of(content: Iterable[Part]) -> int:
    """Return the estimated tokens of a message with this content, as later turns are shown it.

    What was thought is not shown then, and of what a tool has given no more than its beginning.
    """
    return MESSAGE_TOKENS + sum(_part_tokens(part) for part in content)


def _part_tokens(part: Part) -> int:
    match part:
        case Text():
            return estimate(part.text)
        case ToolResult():
            return estimate(shortened(part).text)
        case ToolCall():
            return estimate(part.name) + estimate(part.arguments) + MESSAGE_TOKENS
        case Media(kind="image"):
            return IMAGE_TOKENS
        case Media():
            return IMAGE_TOKENS + len(part.base64) // _MEDIA_BASE64
        case _:
            return 0


def estimate(text: str) -> int:
    """Return about how many tokens a text has; zero for an empty one only."""
    encoded = text.encode("utf-8", "surrogatepass")
    characters = len(text)
    marks = len(encoded.translate(None, _PROSE))
    further = len(encoded) - characters
    return -(-(_CHARACTER * characters + _MARK_MORE * marks + _FURTHER_BYTE * further) // _UNIT)
