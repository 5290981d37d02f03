"""Bytes as text: by what is said of them, by what they say of themselves, and as UTF-8 otherwise."""

import codecs
import re
from typing import Final

from tertulia.errors import InvalidInput
from tertulia.messages import clean_text

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CHARSETS: Final = re.compile(r"utf|iso8859|latin|ascii|cp\d|gb|big5|shift_jis|euc|koi8|mac")
"""Python's names of what text is written in; what else it can decode is no text, or takes long."""
_ASIDE: Final = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE)
_HEAD: Final = 2048
_SHOWN: Final = 40


def decoded(content: bytes, *, charset: str = "") -> str:
    """Return a text with line ends as ``\\n`` and nothing in it that cannot be stored.

    Raises :class:`~tertulia.errors.InvalidInput` if it is written in something else than it says.
    """
    known = (
        next((name for mark, name in _MARKS if content.startswith(mark)), "") or _known(charset) or "utf-8"
    )
    try:
        text = content.decode(known)
    except UnicodeDecodeError:
        raise InvalidInput(
            f"this is no {known.upper()} text: save it as UTF-8, or say what it is written in "
            "(Content-Type: text/plain; charset=…)"
        ) from None
    return clean_text(text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n"))


def checked(charset: str) -> str:
    """Return what somebody says that a text is written in, or an empty text.

    Raises :class:`~tertulia.errors.InvalidInput` if that is nothing known: guessed wrongly, the text
    would be spoilt.
    """
    if charset and not _known(charset):
        raise InvalidInput(
            f"what {charset[:_SHOWN]!r} is, in which this text is said to be written, is not known here: "
            "save it as UTF-8, and say charset=utf-8"
        )
    return charset


def charset_in(html: bytes) -> str:
    """Return what a web page says that it is written in; empty if it does not say it."""
    found = _ASIDE.search(html[:_HEAD])
    return found[1].decode("ascii", "replace") if found else ""


def _known(charset: str) -> str:
    """Return Python's name of a charset; empty if it is none that text is written in."""
    try:
        name = codecs.lookup(charset).name if charset else ""
    except (LookupError, ValueError):
        return ""
    return name if _CHARSETS.match(name.replace("-", "")) else ""
