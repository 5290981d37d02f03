"""Terms: the words by which a text is found, the same for what is kept and for what is asked.

Words are compared without regard to case, and numbers count as words. Of English plurals the singular
is taken, and English words that stand in every text are left out. Scripts that put no spaces between
words (Chinese, Japanese, Thai and their neighbours; also Korean, whose words end in many ways) are cut
into pairs of neighbouring characters, of which every word of two characters and more is made up.
"""

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

MAX_TERM: Final = 64
"""Characters of a term; of longer words the beginning counts."""

_UNSPACED: Final = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u1100-\u11ff\uac00-\ud7af"  # Korean
    "\u3005-\u3007\u3040-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # Japanese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
)
_SIGNS: Final = (
    "\u0300-\u036f"  # accents that stand for themselves
    "\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc"  # Hebrew, Arabic
    "\u0900-\u0963\u0966-\u0dff"  # the scripts of India, but for their full stops
)
"""What belongs to words beside letters and digits."""
_WORD: Final = f"(?:(?![{_UNSPACED}_])[\\w{_SIGNS}])+"
_RUN: Final = re.compile(f"[{_UNSPACED}]+|{_WORD}(?:'(?:s|t|d|m|ll|re|ve)\\b)?")
_IS_UNSPACED: Final = re.compile(f"[{_UNSPACED}]")
_THOUSANDS: Final = re.compile(r"(?<=\d),(?=\d{3}\b)")

_COMMON: Final = """
    a about after again all also am an and any are aren't as at be because been before being between both
    but by can can't could couldn't did didn't do does doesn't doing don't down during each few for from
    further had hadn't has hasn't have haven't having he her here hers herself him himself his how i if in
    into is isn't it its itself just let many me might more most much must my myself no nor not now of off
    on once only or other our ours ourselves out over own same shall shan't she should shouldn't so some
    such than that the their theirs them themselves then there these they this those through to too under
    until up upon very was wasn't we were weren't what when where which while who whom whose why will with
    won't would wouldn't you your yours yourself yourselves
    bye goodbye hello hey hi ok okay please thank thanks yeah yes
"""
_STOP_WORDS: Final = frozenset(_COMMON.split())


def terms_of(text: str) -> list[str]:
    """Return the terms of a text in their order, each as often as it occurs; none for courtesies alone."""
    return [term for run in _RUN.findall(_folded(text)) for term in _terms_in(run)]


def _folded(text: str) -> str:
    """Return a text as it is compared: wide and ligated letters as plain ones, all of them small."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    return _THOUSANDS.sub("", plain)


def _terms_in(run: str) -> Iterator[str]:
    if _IS_UNSPACED.match(run):
        yield from _pairs(run)
        return
    word = run if run.endswith("n't") else run.partition("'")[0]
    if word not in _STOP_WORDS:
        yield _singular(word)[:MAX_TERM]


def _pairs(run: str) -> Iterator[str]:
    """Yield what neighbours there are in a text without spaces; of a single character itself."""
    if len(run) == 1:
        yield run
    else:
        yield from (first + second for first, second in pairwise(run))


_SHORT: Final = 3
_NO_PLURALS: Final = ("ss", "us", "is")
_WITH_E: Final = ("sses", "shes", "ches", "xes", "zes")
_FROM_Y: Final = "ies"


def _singular(word: str) -> str:
    """Return the singular of an English plural, as far as its end tells it; other words as they are.

    The same is done to questions, so that a word of another language loses nothing by it.
    """
    if len(word) <= _SHORT or not word.isascii() or not word.endswith("s") or word.endswith(_NO_PLURALS):
        return word
    if word.endswith(_FROM_Y) and len(word) > len(_FROM_Y) + 1:
        return f"{word.removesuffix(_FROM_Y)}y"
    return word[:-2] if word.endswith(_WITH_E) else word[:-1]
