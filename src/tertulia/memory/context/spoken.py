"""What people plainly say about themselves in English, found without a model."""

import re
from typing import Any, Final

_NAME: Final = r"(?P<value>[^\W\d_][\w'-]*(?: [A-Z][\w'-]*){0,3})"
_WORDS: Final = r"(?P<value>[^\s.,;:!?\n][^.,;:!?\n]{0,99})"
_OPENING: Final = r"(?:^|[.,;:!?\n]|\band\b|\bbut\b)\s*"
_PATTERNS: Final = tuple(
    (key, re.compile(_OPENING + pattern, re.IGNORECASE if _NAME not in pattern else 0))
    for key, pattern in (
        ("name", rf"(?:[Hh]i|[Hh]ello|[Hh]ey)?,? ?(?:[Mm]y name is|[Cc]all me|[Mm]y name's) {_NAME}"),
        ("home", rf"i live in {_WORDS}"),
        ("age", r"(?:i am|i'm) (?P<value>\d{1,3}) years old"),
        ("work", rf"i work (?:as|for|at) {_WORDS}"),
        ("prefers", rf"i (?:prefer|would rather have) {_WORDS}"),
        ("likes", rf"i (?:really |do )?(?:like|love) {_WORDS}"),
        ("dislikes", rf"i (?:do not|don't) like {_WORDS}"),
        ("dislikes", rf"i hate {_WORDS}"),
        ("allergic to", rf"(?:i am|i'm) allergic to {_WORDS}"),
    )
)
_FAVOURITE: Final = re.compile(
    rf"{_OPENING}my favou?rite (?P<what>[a-z]{{2,30}}(?: [a-z]{{2,30}})?) is {_WORDS}", re.IGNORECASE
)
_LONGEST: Final = 10_000


def spoken_facts(text: str, known: dict[str, Any]) -> dict[str, str]:
    """Return what a text says of its speaker: name, home, age, work, likes and dislikes, favourites.

    Of two things of one kind the one that was said last counts; what is known already does not matter.
    """
    heard = text[:_LONGEST].replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    found = {key: match["value"].strip() for key, pattern in _PATTERNS for match in pattern.finditer(heard)}
    for match in _FAVOURITE.finditer(heard):
        found[f"favourite {match['what'].lower()}"] = match["value"].strip()
    return found
