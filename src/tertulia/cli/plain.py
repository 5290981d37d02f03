"""What people and models wrote, made harmless for a terminal."""

import re
from typing import Final

_CONTROLS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and line feed, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of writing
    "\ud800-\udfff]"  # halves of characters, which no terminal can be sent
)


def plain(text: str) -> str:
    """Return a text that a terminal shows and does not obey; what it would obey becomes U+FFFD.

    Control sequences set titles, fill clipboards and hide text, and marks of direction (Unicode's
    Bidi_Control) reorder it; both may stand in whatever a model or another person wrote.
    """
    return _CONTROLS.sub("\ufffd", text.replace("\r\n", "\n"))
