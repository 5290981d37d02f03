"""Ranking: which passages of a collection fit a question best, by its words alone.

BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009) with the usual constants;
how rare a term is, is counted within the collection. A passage that shares too little with the
question is not found at all, so that small talk brings nothing in.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Final, TypeAlias

from tertulia.stores.documents import Extent, Posting

K1: Final = 1.2
B: Final = 0.75
MAX_TERMS: Final = 64
"""Terms of a question that are looked for: of a longer one those at its beginning and its end."""

_SHARE: Final = 0.25
"""Of the weight of a question's terms, what a passage must hold at least."""
_ENOUGH: Final = 1.0
"""Terms as rare as can be: so much weight is always enough, however long the question is."""
_EVEN: Final = 20
"""Passages that a collection is thought to have beside its own where shares are counted: in a small
one no term is rare."""
_TAIL: Final = 0.3
"""Of the best passage's score, what another must have at least."""


_Place: TypeAlias = tuple[str, int]
"""A document's id, and the place of a passage in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A passage that fits, and how well."""

    document_id: str
    place: int
    score: float


_SAID_ANYWHERE: Final = """
    fine get go good got great know like mean nice really said say see sure tell think want
"""
_CHATTER: Final = frozenset(_SAID_ANYWHERE.split())
"""What is said in any talk, and tells nothing of what it is about."""


def asked_terms(terms: Sequence[str]) -> list[str]:
    """Return the terms of a question that are looked for, each once."""
    once = [term for term in dict.fromkeys(terms) if term not in _CHATTER]
    if len(once) <= MAX_TERMS:
        return once
    return once[: MAX_TERMS // 2] + once[-(MAX_TERMS // 2) :]


def ranked(
    asked: Sequence[str], postings: Mapping[str, Sequence[Posting]], extent: Extent, *, limit: int
) -> list[Ranked]:
    """Return the passages that fit, best first; of equals the one of the older document, or earlier in it."""
    scores: defaultdict[_Place, float] = defaultdict(float)
    shares: defaultdict[_Place, float] = defaultdict(float)
    usual = extent.length / extent.passages if extent.passages else 0.0
    for found in postings.values():
        rarity = _rarity(len(found), extent.passages) * (K1 + 1)
        share = _rarity(len(found), extent.passages + _EVEN)
        for document_id, place, times, length in found:
            at = (document_id, place)
            scores[at] += rarity * times / (times + K1 * (1 - B + B * (length / usual if usual else 1.0)))
            shares[at] += share
    needed = _needed(asked, postings, extent)
    fitting = [(score, at) for at, score in scores.items() if shares[at] >= needed]
    fitting.sort(key=lambda each: (-each[0], each[1]))
    best = fitting[:limit]
    return [
        Ranked(document_id=document_id, place=place, score=score)
        for score, (document_id, place) in best
        if score >= _TAIL * best[0][0]
    ]


def _rarity(passages_with: int, passages: int) -> float:
    """Return how much a term tells: the more, the fewer passages it stands in."""
    return log(1 + (max(passages, passages_with) - passages_with + 0.5) / (passages_with + 0.5))


def _needed(asked: Sequence[str], postings: Mapping[str, Sequence[Posting]], extent: Extent) -> float:
    """Return the weight of terms that a passage must hold."""
    passages = extent.passages + _EVEN
    whole = sum(_rarity(len(postings.get(term, ())), passages) for term in asked)
    return min(_SHARE * whole, _ENOUGH * _rarity(1, passages))
