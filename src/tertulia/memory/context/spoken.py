"""What people plainly say about themselves in English, found without a model.

It had rather miss something than learn what was not meant: what is denied, doubted, asked, played,
translated, or said by somebody else counts for nothing.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from tertulia.memory.context.spoken_words import (
    LINKS,
    NO_NAMES,
    NO_NAMES_ENDING,
    NO_PLACES,
    OPEN,
    OTHERS_WORDS,
    STAGED,
    UNSURE,
    VERBS,
)

LONGEST: Final = 2000
"""Characters of a text that are looked at; what stands behind them is not."""

_Reading: TypeAlias = Callable[[str], str]
"""Returns a value as it is kept, empty if it is none."""

_LONGEST_VALUE: Final = 100
_MOST_WORDS: Final = 10
_OLDEST: Final = 120
_MOST_NAMES: Final = 4
_MOST_JOINED: Final = 2
_ABBREVIATED: Final = 3
_DASHES: Final = (" - ", "\N{EN DASH}", "\N{EM DASH}", "(")
# Sentences have single blanks between their words. No pattern repeats anything without a limit, so that
# no text takes longer than its length.
_SENTENCE_END: Final = re.compile(r"[.!?;…](?=\s|$)|[\n\r]")
_NEXT: Final = re.compile(
    r"(?:, (?:and |but |so |also )?| (?:and|but|so|also) )(?=(?:i|i'm|i've|i'll|my|mine|you|we|our|he|she|"
    r"they|it|it's|his|hers|their|theirs|there|can|call|let|please|nice|thanks|thank)\b)",
    re.IGNORECASE,
)
_OF_THE_SPEAKER: Final = re.compile(
    r"(?:i|i'm|i've|i'll|you can|let|please|nice|thanks|thank|hi|hello|hey|greetings|good|yes|yeah|well|oh|"
    r"ok|okay|so|and|but|also|actually|btw|by the way)\b",
    re.IGNORECASE,
)
_OF_OTHERS: Final = re.compile(r"(?:he|she|they)\b", re.IGNORECASE)
_GREETING: Final = re.compile(
    r"(?:hi|hello|hey|greetings|good (?:morning|afternoon|evening))\b", re.IGNORECASE
)
_LEAD: Final = re.compile(
    r"(?:hi|hello|hey|well|oh|ok|okay|yes|yeah|no|so|and|but|also|actually|btw|by the way|please|you can)"
    r"(?: there)?,? ",
    re.IGNORECASE,
)
_TAIL: Final = re.compile(
    r",? (?:please|thanks|a lot|very much|so much|as well|right now|now|currently|these days|at the moment)$",
    re.IGNORECASE,
)
_DISLIKE: Final = re.compile(r"\bi (?:do not|don't) (?:really )?like\b", re.IGNORECASE)


def spoken_facts(text: str, known: dict[str, Any]) -> dict[str, str]:
    """Return what a text says of its speaker: name, home, age, work, likes and dislikes, favourites.

    Of two things of one kind the one that was said last counts; what is known already does not matter.
    """
    heard = text[:LONGEST].replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    if STAGED.search(heard):
        return {}
    is_greeting = _GREETING.match(heard) is not None
    found: dict[str, str] = {}
    for sentence in _plain_sentences(heard, is_whole=len(text) <= LONGEST):
        for key, value in _stated(sentence, is_greeting=is_greeting):
            found.pop(key, None)
            found[key] = value
    return found


def _plain_sentences(text: str, *, is_whole: bool) -> Iterator[str]:
    """Return the sentences that say something, up to where somebody else may speak."""
    for sentence, end in _sentences(text, is_whole=is_whole):
        if OTHERS_WORDS.search(sentence):
            return
        if end != "?" and not UNSURE.search(_DISLIKE.sub("", sentence)):
            yield sentence


def _stated(sentence: str, *, is_greeting: bool) -> Iterator[tuple[str, str]]:
    """Return what is learned from a sentence, as long as it stays with its speaker."""
    clauses = [clause.strip(" ,") for clause in _NEXT.split(sentence)]
    if any(map(_OF_OTHERS.match, clauses)):
        return
    for clause in clauses:
        said = list(_said(clause, is_greeting=is_greeting))
        if not said and not _OF_THE_SPEAKER.match(clause):
            return
        yield from said


def _sentences(text: str, *, is_whole: bool) -> Iterator[tuple[str, str]]:
    """Return sentences, and what each ends in; one that was cut off is left out."""
    start = 0
    for end in _SENTENCE_END.finditer(text):
        yield " ".join(text[start : end.start()].split()), end[0]
        start = end.end()
    if is_whole:
        yield " ".join(text[start:].split()), ""


def _said(clause: str, *, is_greeting: bool) -> Iterator[tuple[str, str]]:
    """Return what is learned from a clause, if anything is."""
    for _ in range(3):
        clause = _LEAD.sub("", clause, count=1) if _LEAD.match(clause) else clause
    for key, pattern, reading in _STATEMENTS:
        if (match := pattern.fullmatch(clause)) and (value := reading(match["value"])):
            yield (key or f"favourite {match['what'].lower()}"), value
            return
    if match := _I_AM.fullmatch(clause):
        name = _name(match["value"])
        if name and (is_greeting or not name.split()[0].endswith(NO_NAMES_ENDING)) and not name.isupper():
            yield "name", name


def _name(value: str) -> str:
    """Return a name: up to four words with capitals, and what follows after a comma or "and" left out."""
    name = re.split(r", | (?:and|but) ", value, maxsplit=1)[0].strip(" ,")
    words = name.split()
    is_initial = len(name) == 1 and name.isascii()
    return name if 0 < len(words) <= _MOST_NAMES and all(map(_is_name, words)) and not is_initial else ""


def _is_name(word: str) -> bool:
    if not word[0].isalpha() or word[0].islower() or word.endswith("'s"):
        return False
    is_shouted = word.isupper() and len(word) > _ABBREVIATED
    return (
        not is_shouted and word.lower() not in NO_NAMES and word.replace("'", "").replace("-", "").isalnum()
    )


def _thing(value: str) -> str:
    """Return something that may be liked: a few words, or several such with "and" before the last."""
    value = _TAIL.sub("", value)
    first, joined, rest = value.partition(" and ")
    words = value.lower().replace(",", " ").split()
    if joined and _begins_anew(rest):
        return _thing(first)
    is_list = bool(joined) and " and " not in rest and len(rest.split()) <= _MOST_JOINED
    if (joined or "," in value) and not is_list:
        return ""
    is_sound = 0 < len(words) <= _MOST_WORDS and OPEN.isdisjoint(words) and len(value) <= _LONGEST_VALUE
    return value if is_sound and value[0].isalnum() and not _has_dash(value) else ""


def _unliked(value: str) -> str:
    return "" if value.lower().startswith("to ") else _thing(value)


def _place(value: str) -> str:
    """Return a place or a house of business: words with capitals."""
    value = _TAIL.sub("", value)
    first, joined, rest = value.partition(" and ")
    if joined and _begins_anew(rest):
        value = first
    words = value.replace(",", " ").split()
    if not 0 < len(words) <= _MOST_WORDS or len(value) > _LONGEST_VALUE or _has_dash(value):
        return ""
    if not all(_is_capital(word) for word in words) or words[-1].lower() in LINKS:
        return ""
    return "" if {word.lower() for word in words} & NO_PLACES or words[0] in {"and", "of"} else value


def _is_capital(word: str) -> bool:
    return word in LINKS or (word[0].isalnum() and not word[0].islower())


def _age(value: str) -> str:
    return value if 0 < int(value) <= _OLDEST else ""


def _begins_anew(rest: str) -> bool:
    return rest.partition(" ")[0].lower() in VERBS


def _has_dash(value: str) -> bool:
    return any(dash in value for dash in _DASHES)


def _pattern(opening: str, value: str = ".{1,120}") -> re.Pattern[str]:
    return re.compile(rf"{opening} (?P<value>{value})", re.IGNORECASE)


_STATEMENTS: Final[tuple[tuple[str, re.Pattern[str], _Reading], ...]] = (
    ("name", _pattern("(?:my name is|my name's|call me)"), _name),
    ("home", _pattern("i live in"), _place),
    ("age", re.compile(r"(?:i am|i'm) (?P<value>\d{1,3}) years old", re.IGNORECASE | re.ASCII), _age),
    ("work", _pattern("i work as", "(?:a|an|the) .{1,120}"), _thing),
    ("work", _pattern("i work (?:for|at)"), _place),
    ("prefers", _pattern("i prefer"), _thing),
    ("likes", _pattern("i (?:really |do )?(?:like|love)"), _thing),
    ("dislikes", _pattern("i (?:do not|don't) (?:really )?like"), _unliked),
    ("dislikes", _pattern("i hate"), _unliked),
    ("allergic to", _pattern("(?:i am|i'm) allergic to"), _thing),
    (
        "",
        _pattern("my favou?rite (?P<what>(?!part|thing|one|time|is)[a-z]{2,30}(?: [a-z]{2,30})?) is"),
        _thing,
    ),
)
_I_AM: Final = _pattern("(?:i am|i'm)")
